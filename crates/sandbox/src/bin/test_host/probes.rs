//! Tries, from inside a jail, what its layers should stop. Prints `ok` when it worked.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

fn call(number: libc::c_long, args: [usize; 4]) -> io::Result<libc::c_long> {
    // SAFETY: every caller passes numbers, null pointers or pointers to locals of the right size.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], 0, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn number(word: &str) -> io::Result<usize> {
    word.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn address(host: &str, port: &str) -> io::Result<SocketAddr> {
    let host = host.parse().map_err(io::Error::other)?;
    Ok(SocketAddr::new(
        host,
        port.parse().map_err(io::Error::other)?,
    ))
}

/// One probe, by name.
pub(crate) fn run(words: &[&str]) -> io::Result<String> {
    fn ok<T>(_: T) -> String {
        "ok".to_owned()
    }
    match words {
        ["unshare", flags] => call(libc::SYS_unshare, [number(flags)?, 0, 0, 0]).map(ok),
        ["personality"] => call(libc::SYS_personality, [0x0040_0000, 0, 0, 0]).map(ok),
        ["socket", family] => call(libc::SYS_socket, [number(family)?, 1, 0, 0]).map(ok),
        ["bpf"] => bpf().map(ok),
        ["io-uring"] => io_uring().map(ok),
        ["keyctl"] => call(libc::SYS_keyctl, [0, usize::MAX - 2, 1, 0]).map(ok),
        ["ptrace", pid] => ptrace(pid).map(ok),
        ["process-vm-readv", pid] => process_vm_readv(pid).map(ok),
        ["read-memory", pid] => read_memory(pid).map(ok),
        ["prlimit", pid] => prlimit(pid).map(ok),
        ["signal", pid, signal] => {
            call(libc::SYS_kill, [number(pid)?, number(signal)?, 0, 0]).map(ok)
        }
        ["mknod", kind] => mknod(kind).map(ok),
        ["umount", path] => {
            let path = std::ffi::CString::new(*path)?;
            call(libc::SYS_umount2, [path.as_ptr().addr(), 2, 0, 0]).map(ok)
        }
        ["write", path] => OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?
            .write_all(b"x")
            .map(ok),
        ["fill", path, mib] => fill(path, number(mib)?),
        ["eat", mib] => Ok(eat(number(mib)?)),
        ["fork", count] => fork(number(count)?),
        ["listen", port] => TcpListener::bind(address("127.0.0.1", port)?).map(ok),
        ["connect", host, port] => TcpStream::connect(address(host, port)?).map(ok),
        ["euid"] => Ok(format!("euid {}", rustix::process::geteuid().as_raw())),
        ["tiocsti"] => tiocsti().map(ok),
        ["int80"] => Ok(int80()),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn bpf() -> io::Result<libc::c_long> {
    // An array map of one element: type, key size, value size, entries.
    let attr: [u32; 18] = {
        let mut a = [0; 18];
        a[..4].copy_from_slice(&[2, 4, 4, 1]);
        a
    };
    call(
        libc::SYS_bpf,
        [0, attr.as_ptr().addr(), size_of_val(&attr), 0],
    )
}

fn io_uring() -> io::Result<libc::c_long> {
    let params = [0_u32; 30];
    call(libc::SYS_io_uring_setup, [1, params.as_ptr().addr(), 0, 0])
}

fn ptrace(pid: &str) -> io::Result<libc::c_long> {
    const SEIZE: usize = 0x4206;
    call(libc::SYS_ptrace, [SEIZE, number(pid)?, 0, 0])
}

fn process_vm_readv(pid: &str) -> io::Result<libc::c_long> {
    // Nothing is transferred: the permission is checked all the same.
    let mut byte = [0_u8; 1];
    let local = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: both vectors hold one element that describes a local byte.
    let result = unsafe {
        libc::syscall(
            libc::SYS_process_vm_readv,
            number(pid)?,
            &raw const local,
            1_usize,
            &raw const remote,
            1_usize,
            0_usize,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Reads the first byte of the first mapping of another process.
fn read_memory(pid: &str) -> io::Result<()> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let first = maps.split('-').next().unwrap_or_default();
    let at = u64::from_str_radix(first, 16).map_err(io::Error::other)?;
    let mut memory = File::open(format!("/proc/{pid}/mem"))?;
    memory.seek(SeekFrom::Start(at))?;
    memory.read_exact(&mut [0_u8; 1])
}

fn prlimit(pid: &str) -> io::Result<libc::c_long> {
    let limit = [1_u64, 1_u64];
    let nofile = usize::try_from(libc::RLIMIT_NOFILE).expect("a small number");
    call(
        libc::SYS_prlimit64,
        [number(pid)?, nofile, limit.as_ptr().addr(), 0],
    )
}

fn mknod(kind: &str) -> io::Result<libc::c_long> {
    let mode = match kind {
        "block" => libc::S_IFBLK,
        _ => libc::S_IFCHR,
    };
    let device = usize::try_from(libc::makedev(1, 3)).expect("a small number");
    let mode = usize::try_from(mode | 0o600).expect("a small number");
    call(
        libc::SYS_mknod,
        [c"/tmp/probe-node".as_ptr().addr(), mode, device, 0],
    )
}

/// Writes until it is stopped; says how many MiB went in.
fn fill(path: &str, mib: usize) -> io::Result<String> {
    let mut file = File::create(path)?;
    let block = vec![1_u8; 1 << 20];
    for done in 0..mib {
        if let Err(e) = file.write_all(&block) {
            return Ok(format!(
                "stopped after {done} errno {}",
                e.raw_os_error().unwrap_or(-1)
            ));
        }
    }
    Ok("ok".to_owned())
}

/// Takes and touches memory.
fn eat(mib: usize) -> String {
    let mut held = Vec::new();
    for _ in 0..mib {
        held.push(vec![1_u8; 1 << 20]);
    }
    format!("ok {}", held.len())
}

/// Forks children that stay; says how many there could be.
fn fork(count: usize) -> io::Result<String> {
    for done in 0..count {
        // SAFETY: the child only waits for a signal.
        match unsafe { libc::fork() } {
            -1 => return Ok(format!("stopped after {done}")),
            // SAFETY: pause has no preconditions.
            0 => unsafe {
                libc::pause();
                libc::_exit(0)
            },
            _ => {}
        }
    }
    Ok("ok".to_owned())
}

fn tiocsti() -> io::Result<libc::c_long> {
    call(libc::SYS_ioctl, [0, 0x5412, c"x".as_ptr().addr(), 0])
}

/// The old 32-bit way into the kernel: `getpid` by its number there.
fn int80() -> String {
    let result: i32;
    // SAFETY: call 20 of the 32-bit table is getpid, which touches nothing.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20_i32 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    format!("ok {}", result > 0)
}
