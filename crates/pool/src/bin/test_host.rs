//! The program that the integration tests start as the sandbox's launcher.

fn main() {
    sandbox::dispatch_reexec();
}
