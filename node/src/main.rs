//! caside
fn main() {}
