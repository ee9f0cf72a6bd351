//! What a program file says of itself: read from its header, before anything of it runs.
//!
//! Refuses what is not a whole, static, 64-bit little-endian program for this machine.
//! Source: System V ABI, "ELF header" and "Program header".

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;

use super::judge::Refusal;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;

/// Most program headers and dynamic entries that are looked at.
const MOST: u64 = 4096;

/// The architecture of this build, as bundles say it.
pub(crate) const HOST: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

/// Judges the program at `path`, which is labelled as one for `arch`.
pub(crate) fn check(path: &Path, arch: &str) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let size = file.metadata()?.len();
    let mut head = Vec::new();
    (&file).take(64).read_to_end(&mut head)?;
    let broken = |reason: &str| Refusal::Binary {
        reason: reason.to_owned(),
    };
    if head.len() < 64 || head[..4] != *b"\x7fELF" {
        return Err(broken("it is no ELF file").into());
    }
    if head[4] != 2 || head[5] != 1 {
        return Err(broken("it is no 64-bit little-endian program").into());
    }
    if !matches!(u16_at(&head, 16), 2 | 3) {
        return Err(broken("it is no executable").into());
    }
    let machine = machine(u16_at(&head, 18));
    if machine != arch || arch != HOST {
        return Err(Refusal::Arch {
            label: arch.to_owned(),
            got: machine,
            this: HOST.to_owned(),
        }
        .into());
    }
    let (at, width, count) = (u64_at(&head, 32), u16_at(&head, 54), u16_at(&head, 56));
    if width != 56 || count == 0 || u64::from(count) > MOST {
        return Err(broken("its program headers are not those of a 64-bit program").into());
    }
    // The table of sections stands last: a file that was cut has lost it.
    let sections = u64::from(u16_at(&head, 58)) * u64::from(u16_at(&head, 60));
    if u64_at(&head, 40).saturating_add(sections) > size {
        return Err(broken("it is cut short").into());
    }
    let mut load = false;
    for index in 0..u64::from(count) {
        let header: [u8; 56] = piece(&file, at.saturating_add(index * 56))?;
        let (offset, length) = (u64_at(&header, 8), u64_at(&header, 32));
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(broken("it is cut short").into());
        }
        match u32_at(&header, 0) {
            PT_LOAD => load = true,
            PT_INTERP => {
                return Err(broken("it is not static: it asks for a program interpreter").into());
            }
            PT_DYNAMIC => refuse_needed(&file, offset, length)?,
            _ => {}
        }
    }
    if load {
        Ok(())
    } else {
        Err(broken("it holds nothing to load").into())
    }
}

fn refuse_needed(file: &File, offset: u64, length: u64) -> anyhow::Result<()> {
    for index in 0..(length / 16).min(MOST) {
        let entry: [u8; 16] = piece(file, offset + index * 16)?;
        match u64_at(&entry, 0) {
            DT_NULL => break,
            DT_NEEDED => {
                let reason = "it is not static: it asks for a shared library".to_owned();
                return Err(Refusal::Binary { reason }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn machine(code: u16) -> String {
    match code {
        62 => "amd64".to_owned(),
        183 => "arm64".to_owned(),
        other => format!("machine {other}"),
    }
}

fn piece<const N: usize>(file: &File, at: u64) -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at)
        .map_err(|_| Refusal::Binary {
            reason: "it is cut short".to_owned(),
        })?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    fn judged(bytes: &[u8], arch: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        check(file.path(), arch).map_or_else(|e| format!("{e:#}"), |()| "good".to_owned())
    }

    #[test]
    fn this_very_program_is_good_also_with_something_behind_it() {
        assert_eq!(judged(&own(), HOST), "good");
        assert_eq!(judged(&[own(), b"more".to_vec()].concat(), HOST), "good");
    }

    #[test]
    fn t42_a_program_for_another_machine_is_refused_whatever_its_label_says() {
        let mut foreign = own();
        foreign[18] = 183;
        assert!(judged(&foreign, HOST).contains("E_ARCH"));
        assert!(judged(&foreign, "arm64").contains("E_ARCH"));
        assert!(judged(&own(), "arm64").contains("E_ARCH"));
    }

    #[test]
    fn what_is_cut_short_dynamic_or_no_program_is_refused() {
        let own = own();
        for end in [0, 4, 63, 64, 100, own.len() / 2] {
            assert!(judged(&own[..end], HOST).contains("E_BINARY"), "{end}");
        }
        assert!(judged(b"#!/bin/sh\nexit 0\n", HOST).contains("E_BINARY"));
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(judged(&shell, HOST).contains("not static"));
    }
}
