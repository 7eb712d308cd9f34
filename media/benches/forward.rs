//! The forward path.
fn main() {}
