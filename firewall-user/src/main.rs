//! The `fwx` command.
fn main() {}
