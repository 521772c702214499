//! The `mortis` binary.
fn main() {}
