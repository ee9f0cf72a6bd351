//! The hidden word by which the binary starts itself again as the launcher.

use crate::wire::Channel;
use crate::{server, sys};

/// First argument of the launcher process.
pub(crate) const LAUNCHER_WORD: &str = "sandbox-launcher";

/// Must be the first call of `main`: when this process was started as the launcher it serves as
/// one and never returns; otherwise it returns at once.
pub fn dispatch_reexec() {
    if std::env::args_os()
        .nth(1)
        .is_none_or(|word| word != LAUNCHER_WORD)
    {
        return;
    }
    match channel_on_stdin() {
        Ok(channel) => server::run(channel, None),
        Err(e) => {
            crate::sys::say!("sandbox launcher: {e}; it is not meant to be started by hand");
            std::process::exit(70);
        }
    }
}

/// The channel came as standard input; a harmless file takes its place.
fn channel_on_stdin() -> std::io::Result<Channel> {
    let stdin = std::io::stdin();
    let fd = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?;
    rustix::net::sockopt::socket_type(&fd)?;
    let null = std::fs::File::open("/dev/null")?;
    sys::dup_onto(std::os::fd::AsFd::as_fd(&null), 0)?;
    Ok(Channel::from(fd))
}
