//! caside
mod auth;
mod config;
mod limit;
fn main() {}
