//! The hidden word by which the binary starts itself again as the launcher.

/// First argument of the launcher process.
pub(crate) const LAUNCHER_WORD: &str = "sandbox-launcher";

/// Must be the first call of `main`: when this process was started as the launcher it serves as
/// one and never returns; otherwise it returns at once.
pub fn dispatch_reexec() {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == LAUNCHER_WORD)
    {
        std::process::exit(70);
    }
}
