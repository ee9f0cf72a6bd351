//! The static release binary: built, then proved static from its own ELF header.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, part, read, run, say};

/// What the program is built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;

/// Names the day that the program takes for its own; the build of another day has the same bytes.
const BUILD_DAY: &str = "COFFERDAM_BUILD_DAY";

/// The day that the binary is built with: the one that is set, else that of the commit. `None`
/// outside a repository: the program's own default holds.
fn build_day(root: &Path) -> Result<Option<String>> {
    if let Ok(day) = std::env::var(BUILD_DAY) {
        if !is_day(&day) {
            bail!("{BUILD_DAY} is {day:?}; it must be a day such as 2026-11-26");
        }
        return Ok(Some(day));
    }
    let committed = read(
        Command::new("git")
            .args(["log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d"])
            .env("TZ", "UTC")
            .current_dir(root),
    );
    Ok(committed
        .ok()
        .map(|day| day.trim().to_owned())
        .filter(|day| is_day(day)))
}

/// `YYYY-MM-DD`, as far as its form tells.
fn is_day(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, b)| match at {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        })
}

/// Builds with the `dist` profile and puts the binary at `target/dist/cofferdam`.
pub(crate) fn run_task(root: &Path) -> Result<()> {
    build(root, "dist").map(drop)
}

/// Builds the binary with `profile`, checks that it is static, copies it to
/// `target/<profile>/cofferdam`, says its size.
pub(crate) fn build(root: &Path, profile: &str) -> Result<PathBuf> {
    part(
        &format!("build the static binary, profile {profile}"),
        || {
            let mut command = cargo(root);
            command
                .args(["build", "--quiet", "--locked", "--package", "cofferdam"])
                .args(["--profile", profile, "--target", TARGET]);
            if let Some(day) = build_day(root)? {
                command.env(BUILD_DAY, day);
            }
            run(&mut command)
        },
    )?;
    let built = root
        .join("target")
        .join(TARGET)
        .join(profile)
        .join("cofferdam");
    let bytes =
        std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    prove_static(&bytes).with_context(|| format!("{} is not static", built.display()))?;
    let folder = root.join("target").join(profile);
    std::fs::create_dir_all(&folder)?;
    let out = folder.join("cofferdam");
    std::fs::copy(&built, &out).with_context(|| format!("cannot write {}", out.display()))?;
    let tenths = bytes.len() * 10 / (1 << 20);
    say(&format!(
        "{}: {}.{} MiB, static",
        out.display(),
        tenths / 10,
        tenths % 10
    ));
    Ok(out)
}

/// Refuses a binary that names a program interpreter or a shared library.
fn prove_static(elf: &[u8]) -> Result<()> {
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("no 64-bit little-endian ELF file");
    }
    let headers = at::<8>(elf, 32).map(u64::from_le_bytes)?;
    let size = at::<2>(elf, 54).map(u16::from_le_bytes)?;
    let count = at::<2>(elf, 56).map(u16::from_le_bytes)?;
    for index in 0..u64::from(count) {
        let start = headers + index * u64::from(size);
        match at::<4>(elf, start).map(u32::from_le_bytes)? {
            PT_INTERP => bail!("it asks for a program interpreter (INTERP)"),
            PT_DYNAMIC => {
                let from = at::<8>(elf, start + 8).map(u64::from_le_bytes)?;
                let length = at::<8>(elf, start + 32).map(u64::from_le_bytes)?;
                refuse_needed(elf, from, length)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn refuse_needed(elf: &[u8], from: u64, length: u64) -> Result<()> {
    for entry in 0..length / 16 {
        match at::<8>(elf, from + entry * 16).map(u64::from_le_bytes)? {
            DT_NEEDED => bail!("it asks for a shared library (NEEDED)"),
            0 => break,
            _ => {}
        }
    }
    Ok(())
}

fn at<const N: usize>(elf: &[u8], offset: u64) -> Result<[u8; N]> {
    let start = usize::try_from(offset)?;
    let piece = elf
        .get(start..start + N)
        .context("the ELF file ends early")?;
    Ok(piece.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_itself_is_static_and_the_hosts_shell_is_not() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        prove_static(&own).unwrap();
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(prove_static(&shell).is_err());
    }

    #[test]
    fn the_day_is_the_commits_or_none_and_words_are_no_days() {
        for odd in [
            "",
            "today",
            "2026-1-26",
            "2026/11/26",
            "20261126xx",
            "2026-11-261",
        ] {
            assert!(!is_day(odd), "{odd}");
        }
        assert!(is_day("2026-11-26"));
        let nowhere = tempfile::tempdir().unwrap();
        if std::env::var_os(BUILD_DAY).is_none() {
            assert_eq!(build_day(nowhere.path()).unwrap(), None);
        }
        let git = |words: &[&str], at: &str| {
            let mut command = Command::new("git");
            command
                .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
                .args(words);
            command
                .env("GIT_COMMITTER_DATE", at)
                .current_dir(nowhere.path());
            run(&mut command).unwrap();
        };
        git(&["init", "-q"], "");
        let words = ["commit", "-q", "--allow-empty", "-m", "one"];
        // Late in the evening there is the next day elsewhere: the day is that of UTC.
        git(&words, "2026-03-04T23:30:00-0500");
        if std::env::var_os(BUILD_DAY).is_none() {
            let day = build_day(nowhere.path()).unwrap();
            assert_eq!(day.as_deref(), Some("2026-03-05"));
        }
    }

    #[test]
    fn a_text_and_a_cut_file_are_refused() {
        assert!(prove_static(b"#!/bin/sh\n").is_err());
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(prove_static(&own[..50]).is_err());
    }
}
