//! The system calls that a job may make: a compact BPF program, made from one table.
//!
//! Everything not named is allowed up to the last call that this table knows; later calls do not
//! exist. Calls by another architecture's numbers end the process.

use libc::sock_filter;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;
const EPROTONOSUPPORT: u32 = 93;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;

/// Last call looked at when the table was made (`file_setattr`, Linux 6.17).
const LAST_KNOWN: u32 = 469;

/// What happens on one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Errno(u32),
    /// Decided by arguments, by the numbered check.
    Check(Check),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Argument 0 must hold none of the namespace flags.
    NamespaceFlags,
    /// Argument 0 must be 0 or the question.
    Personality,
    /// Argument 0 is a socket family, argument 2 a protocol.
    Socket,
    /// Argument 1 must not push characters into a terminal.
    Ioctl,
}

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME.
const NAMESPACE_FLAGS: u32 = 0x0002_0000
    | 0x0200_0000
    | 0x0400_0000
    | 0x0800_0000
    | 0x1000_0000
    | 0x2000_0000
    | 0x4000_0000
    | 0x0000_0080;

/// CLONE_NEWTIME shares its bit with the exit signal of `clone`, so only `unshare` checks it.
const CLONE_NAMESPACE_FLAGS: u32 = NAMESPACE_FLAGS & !0xff;

fn verdict(call: u32) -> Verdict {
    use Verdict::{Allow, Check as By, Errno};
    let Ok(number) = libc::c_long::try_from(u64::from(call)) else {
        return Errno(ENOSYS);
    };
    match number {
        libc::SYS_clone | libc::SYS_unshare => By(Check::NamespaceFlags),
        libc::SYS_personality => By(Check::Personality),
        libc::SYS_socket | libc::SYS_socketpair => By(Check::Socket),
        libc::SYS_ioctl => By(Check::Ioctl),
        // A library falls back to the older call, whose flags can be checked.
        libc::SYS_clone3
        | libc::SYS_io_uring_setup
        | libc::SYS_io_uring_enter
        | libc::SYS_io_uring_register => Errno(ENOSYS),
        // Mounts and namespaces.
        libc::SYS_mount
        | libc::SYS_umount2
        | libc::SYS_pivot_root
        | libc::SYS_setns
        | libc::SYS_fsopen
        | libc::SYS_fsconfig
        | libc::SYS_fsmount
        | libc::SYS_fspick
        | libc::SYS_move_mount
        | libc::SYS_open_tree
        | libc::SYS_mount_setattr
        // Other processes' memory and descriptors, beyond what ptrace allows.
        | libc::SYS_process_vm_readv
        | libc::SYS_process_vm_writev
        | libc::SYS_process_madvise
        | libc::SYS_pidfd_getfd
        | libc::SYS_kcmp
        // Kernel interfaces that have been ways out.
        | libc::SYS_bpf
        | libc::SYS_perf_event_open
        | libc::SYS_userfaultfd
        | libc::SYS_keyctl
        | libc::SYS_add_key
        | libc::SYS_request_key
        | libc::SYS_fanotify_init
        | libc::SYS_fanotify_mark
        | libc::SYS_open_by_handle_at
        | libc::SYS_lookup_dcookie
        | libc::SYS_modify_ldt
        // The machine.
        | libc::SYS_init_module
        | libc::SYS_finit_module
        | libc::SYS_delete_module
        | libc::SYS_kexec_load
        | libc::SYS_kexec_file_load
        | libc::SYS_reboot
        | libc::SYS_swapon
        | libc::SYS_swapoff
        | libc::SYS_syslog
        | libc::SYS_acct
        | libc::SYS_quotactl
        | libc::SYS_quotactl_fd
        | libc::SYS_settimeofday
        | libc::SYS_clock_settime
        | libc::SYS_clock_adjtime
        | libc::SYS_adjtimex
        | libc::SYS_iopl
        | libc::SYS_ioperm
        | libc::SYS_vhangup
        | libc::SYS_nfsservctl
        | libc::SYS__sysctl
        | libc::SYS_uselib
        | libc::SYS_ustat
        | libc::SYS_sysfs
        | libc::SYS_sethostname
        | libc::SYS_setdomainname
        | libc::SYS_move_pages
        | libc::SYS_migrate_pages => Errno(EPERM),
        // statmount, listmount, the lsm calls and open_tree_attr are too new to be missed.
        457..=461 | 467 => Errno(ENOSYS),
        n if n > libc::c_long::from(LAST_KNOWN) => Errno(ENOSYS),
        // Between the last old number and the first shared one there are no calls.
        336..=423 => Errno(ENOSYS),
        _ => Allow,
    }
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

fn step(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn ret(k: u32) -> sock_filter {
    step(RETURN, k, 0, 0)
}

/// Loads the low half of an argument.
fn load_arg(n: u32) -> sock_filter {
    step(LOAD, 16 + 8 * n, 0, 0)
}

fn leaf(verdict: Verdict, call: u32) -> Vec<sock_filter> {
    match verdict {
        Verdict::Allow => vec![ret(ALLOW)],
        Verdict::Errno(e) => vec![ret(ERRNO | e)],
        Verdict::Check(Check::NamespaceFlags) => {
            let unshare = u32::try_from(libc::SYS_unshare).expect("a small number");
            let mask = if call == unshare {
                NAMESPACE_FLAGS
            } else {
                CLONE_NAMESPACE_FLAGS
            };
            vec![
                load_arg(0),
                step(JUMP_ANY_BIT, mask, 0, 1),
                ret(ERRNO | EPERM),
                ret(ALLOW),
            ]
        }
        Verdict::Check(Check::Personality) => vec![
            load_arg(0),
            step(JUMP_EQUAL, 0, 2, 0),
            step(JUMP_EQUAL, u32::MAX, 1, 0),
            ret(ERRNO | EPERM),
            ret(ALLOW),
        ],
        Verdict::Check(Check::Socket) => vec![
            load_arg(0),
            step(JUMP_EQUAL, 1, 7, 0),
            step(JUMP_EQUAL, 2, 6, 0),
            step(JUMP_EQUAL, 10, 5, 0),
            step(JUMP_EQUAL, 16, 1, 0),
            ret(ERRNO | EAFNOSUPPORT),
            load_arg(2),
            step(JUMP_EQUAL, 0, 1, 0),
            ret(ERRNO | EPROTONOSUPPORT),
            ret(ALLOW),
        ],
        Verdict::Check(Check::Ioctl) => vec![
            load_arg(1),
            step(JUMP_EQUAL, 0x5412, 1, 0),
            step(JUMP_EQUAL, 0x541c, 0, 1),
            ret(ERRNO | EPERM),
            ret(ALLOW),
        ],
    }
}

/// Numbers from `first` to the next span's share one verdict.
struct Span {
    first: u32,
    verdict: Verdict,
}

fn spans() -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for call in 0..=LAST_KNOWN + 1 {
        let now = verdict(call);
        let same = spans.last().is_some_and(|s| s.verdict == now);
        // A check may depend on the call, so each has a span of its own.
        if !same || matches!(now, Verdict::Check(_)) {
            spans.push(Span {
                first: call,
                verdict: now,
            });
        }
    }
    spans
}

/// A binary search among the spans.
fn search(spans: &[Span]) -> Vec<sock_filter> {
    if let [one] = spans {
        return leaf(one.verdict, one.first);
    }
    let (low, high) = spans.split_at(spans.len() / 2);
    let first_high = high[0].first;
    let (low, high) = (search(low), search(high));
    let mut out = Vec::new();
    match u8::try_from(low.len()) {
        Ok(over) => out.push(step(JUMP_GREATER_OR_EQUAL, first_high, over, 0)),
        Err(_) => {
            let over = u32::try_from(low.len()).expect("a program is short");
            out.push(step(JUMP_GREATER_OR_EQUAL, first_high, 0, 1));
            out.push(step(JUMP, over, 0, 0));
        }
    }
    out.extend(low);
    out.extend(high);
    out
}

/// The whole program.
pub(crate) fn program() -> Vec<sock_filter> {
    let mut out = vec![
        step(LOAD, 4, 0, 0),
        step(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        ret(KILL),
        step(LOAD, 0, 0, 0),
        step(JUMP_GREATER_OR_EQUAL, X32_BIT, 0, 1),
        ret(KILL),
    ];
    out.extend(search(&spans()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[sock_filter], nr: u32, arch: u32, args: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(nr.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend(0_u64.to_le_bytes());
        for arg in args {
            data.extend(arg.to_le_bytes());
        }
        let (mut at, mut acc) = (0_usize, 0_u32);
        loop {
            let i = program[at];
            at += 1;
            let branch = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LOAD => {
                    let from = usize::try_from(i.k).unwrap();
                    acc = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                JUMP => at += usize::try_from(i.k).unwrap(),
                JUMP_EQUAL => at += branch(acc == i.k),
                JUMP_GREATER_OR_EQUAL => at += branch(acc >= i.k),
                JUMP_ANY_BIT => at += branch(acc & i.k != 0),
                RETURN => return i.k,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn call(nr: libc::c_long, args: [u64; 6]) -> u32 {
        run(
            &program(),
            u32::try_from(nr).unwrap(),
            AUDIT_ARCH_X86_64,
            args,
        )
    }

    #[test]
    fn the_program_decides_as_the_table_for_every_number() {
        let program = program();
        for nr in 0..=LAST_KNOWN + 40 {
            let got = run(&program, nr, AUDIT_ARCH_X86_64, [0; 6]);
            match verdict(nr) {
                Verdict::Allow => assert_eq!(got, ALLOW, "call {nr}"),
                Verdict::Errno(e) => assert_eq!(got, ERRNO | e, "call {nr}"),
                Verdict::Check(Check::Socket) => assert_eq!(got, ERRNO | EAFNOSUPPORT),
                Verdict::Check(_) => assert_eq!(got, ALLOW, "call {nr}"),
            }
        }
    }

    #[test]
    fn the_program_is_compact() {
        assert!(program().len() < 260, "{} instructions", program().len());
    }

    #[test]
    fn foreign_numbers_end_the_process() {
        let program = program();
        assert_eq!(run(&program, 0, 0x4000_0003, [0; 6]), KILL);
        assert_eq!(run(&program, X32_BIT | 1, AUDIT_ARCH_X86_64, [0; 6]), KILL);
    }

    #[test]
    fn a_thread_may_be_made_but_no_namespace() {
        let thread = 0x003d_0f00;
        assert_eq!(call(libc::SYS_clone, [thread, 0, 0, 0, 0, 0]), ALLOW);
        for bit in [0x0002_0000_u64, 0x1000_0000, 0x4000_0000] {
            assert_eq!(
                call(libc::SYS_clone, [bit | 17, 0, 0, 0, 0, 0]),
                ERRNO | EPERM
            );
            assert_eq!(call(libc::SYS_unshare, [bit, 0, 0, 0, 0, 0]), ERRNO | EPERM);
        }
        assert_eq!(
            call(libc::SYS_unshare, [0x80, 0, 0, 0, 0, 0]),
            ERRNO | EPERM
        );
        assert_eq!(call(libc::SYS_unshare, [0x400, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(call(libc::SYS_clone3, [0; 6]), ERRNO | ENOSYS);
    }

    #[test]
    fn only_ordinary_sockets_open() {
        for family in [1, 2, 10, 16] {
            assert_eq!(call(libc::SYS_socket, [family, 1, 0, 0, 0, 0]), ALLOW);
        }
        for family in [17, 38, 40, 44] {
            assert_eq!(
                call(libc::SYS_socket, [family, 1, 0, 0, 0, 0]),
                ERRNO | EAFNOSUPPORT
            );
        }
        assert_eq!(
            call(libc::SYS_socket, [16, 3, 9, 0, 0, 0]),
            ERRNO | EPROTONOSUPPORT
        );
    }

    #[test]
    fn terminals_are_not_typed_into_and_personalities_stay() {
        assert_eq!(
            call(libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]),
            ERRNO | EPERM
        );
        assert_eq!(
            call(libc::SYS_ioctl, [0, 0x541c, 0, 0, 0, 0]),
            ERRNO | EPERM
        );
        assert_eq!(call(libc::SYS_ioctl, [0, 0x5413, 0, 0, 0, 0]), ALLOW);
        assert_eq!(
            call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]),
            ALLOW
        );
        assert_eq!(
            call(libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0]),
            ERRNO | EPERM
        );
        assert_eq!(call(libc::SYS_ptrace, [0; 6]), ALLOW);
    }
}
