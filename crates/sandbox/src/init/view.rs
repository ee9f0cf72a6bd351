//! What a job can see and reach: looked at and tried from inside, under the job's lockdown.

use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};
use rustix::net::{AddressFamily, SocketType};

use crate::facts::{Attempt, View};
use crate::{caps, procfs};

/// Everything that can be found out without help.
pub(super) fn look() -> View {
    let status = procfs::status("self").unwrap_or_default();
    let field = |name: &str| status.get(name).cloned().unwrap_or_default();
    let effective = u64::from_str_radix(&field("CapEff"), 16).unwrap_or(u64::MAX);
    let mounts = procfs::mounts("self").unwrap_or_default();
    View {
        identity: identity(&field("Uid"), &field("Gid")),
        processes: processes(),
        writable: mounts
            .iter()
            .map(|m| m.target.clone())
            .filter(|target| writable(target))
            .collect(),
        mounts: mounts
            .into_iter()
            .map(|m| {
                let mode = if m.options.split(',').any(|o| o == "ro") {
                    "ro"
                } else {
                    "rw"
                };
                format!("{} {} {mode}", m.target, m.kind)
            })
            .collect(),
        devices: devices(),
        interfaces: procfs::interfaces("self")
            .unwrap_or_default()
            .into_iter()
            .map(|(name, _, _)| name)
            .collect(),
        capabilities: caps::names(effective),
        environment: std::env::vars_os()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect(),
        descriptors: descriptors(),
        attempts: attempts(),
    }
}

fn identity(uid: &str, gid: &str) -> Vec<String> {
    let first = |ids: &str| ids.split_whitespace().next().unwrap_or("?").to_owned();
    let mut all = vec![format!("uid {}", first(uid)), format!("gid {}", first(gid))];
    for map in procfs::id_map("self", "uid_map").unwrap_or_default() {
        let last = map.inside + (map.count - 1);
        all.push(format!(
            "ids {} to {last} are {} and up on the host",
            map.inside, map.outside
        ));
    }
    all
}

fn processes() -> Vec<String> {
    let pids = procfs::pids().unwrap_or_default();
    pids.into_iter()
        .map(|pid| {
            let name = procfs::text(pid, "comm").unwrap_or_default();
            format!("{pid} {}", name.trim())
        })
        .collect()
}

/// Whether something can be made in a directory.
fn writable(dir: &str) -> bool {
    let probe = format!("{dir}/.sandbox-view-{}", std::process::id());
    let made = OpenOptions::new().write(true).create_new(true).open(&probe);
    made.is_ok() && std::fs::remove_file(&probe).is_ok()
}

fn devices() -> Vec<String> {
    let mut found = Vec::new();
    for dir in ["/dev", "/dev/pts"] {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            use std::os::unix::fs::FileTypeExt;
            let device = entry
                .file_type()
                .is_ok_and(|t| t.is_char_device() || t.is_block_device());
            if device && OpenOptions::new().read(true).open(entry.path()).is_ok() {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Descriptors other than the standard three and the channel that asked for this.
fn descriptors() -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        let number = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
            .unwrap_or(0);
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let reading_this = target.ends_with("fd") && target.starts_with("/proc");
        if number > 3 && !reading_this {
            found.push(format!("{number} {}", target.display()));
        }
    }
    found
}

type Try = fn() -> io::Result<()>;

/// What a job should not be able to do.
const TRIES: [(&str, Try); 14] = [
    ("read another process's memory (/proc/1/mem)", || {
        open("/proc/1/mem")
    }),
    ("see init's descriptors (/proc/1/fd)", || {
        std::fs::read_dir("/proc/1/fd").map(|_| ())
    }),
    ("reach init's root directory (/proc/1/root/etc)", || {
        std::fs::read_dir("/proc/1/root/etc").map(|_| ())
    }),
    ("read the kernel's memory (/proc/kcore)", || {
        nonempty("/proc/kcore")
    }),
    ("read the host's log (/dev/kmsg)", || open("/dev/kmsg")),
    (
        "change a kernel setting (/proc/sys/kernel/core_pattern)",
        || {
            OpenOptions::new()
                .write(true)
                .open("/proc/sys/kernel/core_pattern")
                .map(|_| ())
        },
    ),
    ("read the host's shadow file", || {
        let text = std::fs::read_to_string("/etc/shadow")?;
        // An image may have one of its own, without any password.
        let set = text
            .lines()
            .any(|l| l.split(':').nth(1).is_some_and(|p| p.starts_with('$')));
        if set {
            Ok(())
        } else {
            Err(io::Error::other("no password in it"))
        }
    }),
    (
        "see block devices of the host (/dev/sda, /dev/vda, /dev/nvme0n1)",
        || {
            open("/dev/sda")
                .or_else(|_| open("/dev/vda"))
                .or_else(|_| open("/dev/nvme0n1"))
        },
    ),
    ("make a block device", || {
        let device = rustix::fs::makedev(8, 0);
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(
            CWD,
            "/tmp/.sandbox-view-disk",
            FileType::BlockDevice,
            mode,
            device,
        )?;
        std::fs::remove_file("/tmp/.sandbox-view-disk")
    }),
    ("make a user namespace", || {
        // SAFETY: one thread; when it works, only this short-lived process changes.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER)? };
        Ok(())
    }),
    ("mount a file system", || {
        let flags = rustix::mount::MountFlags::empty();
        Ok(rustix::mount::mount(
            "none",
            "/mnt",
            "tmpfs",
            flags,
            None::<&std::ffi::CStr>,
        )?)
    }),
    ("open a raw packet socket", || {
        rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, None)?;
        Ok(())
    }),
    ("talk to the hypervisor (vsock)", || {
        rustix::net::socket(AddressFamily::VSOCK, SocketType::STREAM, None)?;
        Ok(())
    }),
    ("reach another computer (192.0.2.1 port 80)", || {
        let there = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 80));
        TcpStream::connect_timeout(&there, Duration::from_millis(500)).map(|_| ())
    }),
];

fn open(path: &str) -> io::Result<()> {
    std::fs::File::open(path).map(|_| ())
}

/// A masked file opens, but holds nothing.
fn nonempty(path: &str) -> io::Result<()> {
    let mut byte = [0_u8; 1];
    match io::Read::read(&mut std::fs::File::open(path)?, &mut byte)? {
        0 => Err(io::Error::other("it is empty")),
        _ => Ok(()),
    }
}

fn attempts() -> Vec<Attempt> {
    TRIES
        .iter()
        .map(|(what, attempt)| {
            let (denied, answer) = match attempt() {
                Ok(()) => (false, "it worked".to_owned()),
                Err(e) => (true, e.to_string()),
            };
            Attempt {
                what: (*what).to_owned(),
                denied,
                answer,
            }
        })
        .collect()
}
