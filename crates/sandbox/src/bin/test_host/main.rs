//! The program that the integration tests re-exec as the launcher.

fn main() {
    sandbox::dispatch_reexec();
}
