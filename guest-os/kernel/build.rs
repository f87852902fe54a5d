//! Placeholder until the linker script exists.
fn main() {}
