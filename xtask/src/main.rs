//! Developer commands of Mortis.
fn main() {}
