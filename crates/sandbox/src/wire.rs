//! Messages with descriptors between the caller, the launcher and the inits.
//!
//! One SOCK_SEQPACKET packet each: one byte of kind, then JSON. What is too long for a packet
//! travels in a memfd that is the last descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Serialize, de::DeserializeOwned};

/// Longer messages travel in a memfd.
const INLINE_BYTES: usize = 32 << 10;
/// Longest message that is taken at all.
const LONGEST_BYTES: u64 = 32 << 20;
/// Most descriptors in one message.
pub(crate) const FDS: usize = 64;

const INLINE: u8 = b'I';
const IN_MEMFD: u8 = b'M';

/// One end of a packet socket.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Channel {
    /// Two connected ends, both close-on-exec.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(a), Self(b)))
    }

    /// The descriptor alone.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends one message; blocks while the other end's queue is full.
    pub(crate) fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        if json.len() <= INLINE_BYTES {
            return self.send_packet(INLINE, &json, fds);
        }
        let memfd = memfd_with(&json)?;
        let mut all = fds.to_vec();
        all.push(memfd.as_fd());
        self.send_packet(IN_MEMFD, &[], &all)
    }

    fn send_packet(&self, kind: u8, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many descriptors",
            ));
        }
        let parts = [
            IoSlice::new(std::slice::from_ref(&kind)),
            IoSlice::new(bytes),
        ];
        loop {
            match rustix::net::sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Waits for one message; none at the end of the stream.
    pub(crate) fn recv<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = vec![0_u8; INLINE_BYTES + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                Err(e) => return Err(e.into()),
                Ok(got) => break got,
            }
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 {
            return Ok(None);
        }
        if got
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message was cut short",
            ));
        }
        let json = match bytes[0] {
            INLINE => bytes[1..got.bytes].to_vec(),
            IN_MEMFD => {
                let memfd = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
                read_memfd(memfd, LONGEST_BYTES)?
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Some((serde_json::from_slice(&json)?, fds)))
    }

    /// Whether a message (or the end) can be had within `timeout`; none waits for ever.
    pub(crate) fn ready(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let limit = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        loop {
            let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
            match rustix::event::poll(&mut polled, limit.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
                Ok(n) => return Ok(n > 0),
            }
        }
    }
}

/// A memfd that holds `bytes`, at its beginning.
pub(crate) fn memfd_with(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("sandbox-message", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// The content of a memfd, refused beyond `max_bytes`.
pub(crate) fn read_memfd(memfd: OwnedFd, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = File::from(memfd);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message is too long",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_longer_than_a_packet_arrives_whole_with_its_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let long = "x".repeat(3 << 20);
        a.send(&long, &[a.as_fd()]).unwrap();
        let (got, fds) = b.recv::<String>().unwrap().unwrap();
        assert_eq!(got, long);
        assert_eq!(fds.len(), 1);
    }

    #[test]
    fn a_closed_end_reads_as_none() {
        let (a, b) = Channel::pair().unwrap();
        drop(a);
        assert!(b.recv::<String>().unwrap().is_none());
    }
}
