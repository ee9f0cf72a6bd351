//! The Cofferdam binary.
use std::process::ExitCode;

fn main() -> ExitCode {
    cofferdam::run(cofferdam::Program::THIS)
}
