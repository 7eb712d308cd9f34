//! caside
mod auth;
mod config;
mod http;
mod limit;
mod ws;
fn main() {}
