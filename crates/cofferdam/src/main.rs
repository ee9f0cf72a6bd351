//! The Cofferdam binary: flags, config, wiring.

fn main() {}
