//! File work done by init's own code in a job's stead: under the job's ids and lockdown, so that
//! nobody outside ever walks a path that a job controls.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::Mode;

use super::child::{self, Ids};
use super::{Jailed, unpack, view};
use crate::error::FileError;
use crate::protocol::{Answer, Builtin, FromExec, ToExec};
use crate::sys;
use crate::wire::Channel;

/// Runs one builtin in this fresh fork of init. Never returns.
pub(super) fn main(
    jailed: &Jailed,
    builtin: Builtin,
    (uid, gid): (u32, u32),
    channel: Channel,
    data: Option<OwnedFd>,
) -> ! {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run(
            jailed,
            builtin,
            Ids {
                uid,
                gid,
                groups: Vec::new(),
            },
            channel,
            data,
        )
    }));
    sys::exit_now(i32::from(!matches!(ended, Ok(Ok(())))))
}

fn run(
    jailed: &Jailed,
    builtin: Builtin,
    ids: Ids,
    channel: Channel,
    data: Option<OwnedFd>,
) -> io::Result<()> {
    child::join_job_group(jailed)?;
    let (channel, data) = only_these(channel, data)?;
    rustix::process::setsid()?;
    let whiteouts = matches!(builtin, Builtin::UnpackLayer { .. });
    let in_force = match child::lock_down(jailed, &ids, Some("/"), whiteouts) {
        Ok(in_force) => in_force,
        Err(why) => return channel.send(&FromExec::NotStarted(why), &[]),
    };
    let pid = std::process::id();
    channel.send(&FromExec::Started { pid }, &[])?;
    let held = matches!(builtin, Builtin::Hold);
    let answer = match builtin {
        Builtin::UnpackTar { dest, strip } => unpack::tree(&dest, file(data)?, strip),
        Builtin::UnpackLayer { limits } => unpack::layer("/layer", file(data)?, limits),
        Builtin::ReadFile { path, max_bytes } => read_file(&path, max_bytes, file(data)?),
        Builtin::WriteFile { path, mode } => write_file(&path, mode, file(data)?),
        Builtin::Remove { path } => remove(&path),
        Builtin::Mkdir { path, mode } => mkdir(&path, mode),
        Builtin::Hold => Ok(Answer::Holding {
            landlock_abi: in_force.abi,
            landlock_enforced: in_force.enforced,
        }),
        Builtin::View => Ok(Answer::View(Box::new(view::look()))),
    };
    channel.send(&FromExec::Answer(answer), &[])?;
    if held {
        // Until the caller lets go; there is nothing else to be told.
        while channel.recv::<ToExec>()?.is_some() {}
    }
    Ok(())
}

/// Descriptors 0 to 2 lead nowhere, 3 and 4 are these, everything else is closed.
fn only_these(
    mut channel: Channel,
    data: Option<OwnedFd>,
) -> io::Result<(Channel, Option<OwnedFd>)> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    // High numbers first, so that none is overwritten before it is moved.
    let high = rustix::io::fcntl_dupfd_cloexec(channel.as_fd(), 100)?;
    drop(std::mem::replace(&mut channel, Channel::from(high)));
    let data = data
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 100))
        .transpose()?;
    for number in 0..3 {
        sys::dup_onto(null.as_fd(), number)?;
    }
    sys::dup_onto(channel.as_fd(), 3)?;
    if let Some(fd) = &data {
        sys::dup_onto(fd.as_fd(), 4)?;
    }
    let some = data.is_some();
    // Closed by number below; their owners must not close the numbers again.
    std::mem::forget((null, channel, data));
    sys::close_from(if some { 5 } else { 4 })?;
    Ok((Channel::from(sys::adopt(3)), some.then(|| sys::adopt(4))))
}

fn file(data: Option<OwnedFd>) -> io::Result<File> {
    data.map(File::from)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// An error about one path.
pub(super) fn failed(what: &str, path: &str) -> impl Fn(io::Error) -> FileError + use<> {
    let (what, path) = (what.to_owned(), path.to_owned());
    move |e| FileError::Failed {
        what: what.clone(),
        path: path.clone(),
        why: e.to_string(),
        errno: e.raw_os_error().unwrap_or(0),
    }
}

fn read_file(path: &str, max_bytes: u64, mut to: File) -> Result<Answer, FileError> {
    let failed = failed("reading", path);
    // A pipe or terminal in the place of the file must not make this wait.
    let from = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(&failed)?;
    if !from.metadata().map_err(&failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let copied = io::copy(&mut from.take(max_bytes + 1), &mut to).map_err(&failed)?;
    if copied > max_bytes {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            max_bytes,
        });
    }
    Ok(Answer::Done)
}

fn write_file(path: &str, mode: u32, mut from: File) -> Result<Answer, FileError> {
    let failed = failed("writing", path);
    if let Some(parent) = Path::new(path).parent() {
        std::fs::create_dir_all(parent).map_err(&failed)?;
    }
    let mut to = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(&failed)?;
    io::copy(&mut from, &mut to).map_err(&failed)?;
    to.flush().map_err(&failed)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(mode)).map_err(|e| failed(e.into()))?;
    Ok(Answer::Done)
}

fn remove(path: &str) -> Result<Answer, FileError> {
    let failed = failed("removing", path);
    let done = match std::fs::symlink_metadata(path) {
        Err(e) => Err(e),
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    };
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Answer::Done),
        other => other.map(|()| Answer::Done).map_err(failed),
    }
}

fn mkdir(path: &str, mode: u32) -> Result<Answer, FileError> {
    let failed = failed("making directory", path);
    if let Some(parent) = Path::new(path).parent() {
        std::fs::create_dir_all(parent).map_err(&failed)?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && Path::new(path).is_dir() => {
            return Ok(Answer::Done);
        }
        Err(e) => return Err(failed(e)),
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(|e| failed(e.into()))?;
    Ok(Answer::Done)
}
