//! What is carried to the booted hosts: two sticks of signed bundles, and the programs in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;
use testkit::noise;

use super::sha256_of;
use crate::demo::carried::{Connected, shared_cache};
use crate::shell::{cargo, part, run};

/// What the second bundle brings beside the program: as much as makes its import take a while, in
/// pieces, because what was read to its end is what an import that was cut short keeps.
const SAMPLES: usize = 8;
const SAMPLE_BYTES: usize = 16 << 20;

/// The version of the second bundle's program, and of the third's, which is bad.
pub(super) const NEXT: &str = "0.2.0";
pub(super) const BAD: &str = "0.3.0";

/// Both sticks and the paper that goes with them.
pub(super) struct Sticks {
    /// Bundle 1, and an application that a developer has.
    pub(super) first: PathBuf,
    /// Bundles 2 and 3.
    pub(super) next: PathBuf,
    /// The root's fingerprint, on the paper.
    pub(super) fingerprint: String,
    /// SHA-256 of the program in bundle 1, on the paper.
    pub(super) program_sha256: String,
    /// SHA-256 of the program in bundle 2.
    pub(super) next_sha256: String,
    /// Bytes of bundle 2 that bundle 1 does not have.
    pub(super) new_bytes: u64,
}

impl Sticks {
    /// Builds the bundles as a site does, `program` being what the first one brings.
    pub(super) fn fill(root: &Path, program: &Path, candidate: &Path) -> Result<Self> {
        let folder = root.join("target/hosts/sticks");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let recipes = folder.join("bundles");
        fs::create_dir_all(&recipes)?;
        // The recipe names files beside the folder that it is in.
        std::os::unix::fs::symlink(root.join("appliance"), folder.join("appliance"))?;
        let recipe = recipes.join("demo.toml");
        let text = fs::read_to_string(root.join("bundles/demo.toml"))?;
        let connected = Connected::set_up(&folder, program, &shared_cache(root))?;

        fs::write(&recipe, &text)?;
        let one = connected.bundle(&recipe, &folder.join("one"), &[])?;

        let next = recipes.join("next");
        build(candidate, &next, NEXT, "")?;
        let mut samples = String::new();
        for (n, bytes) in noise(1, SAMPLES * SAMPLE_BYTES)
            .chunks(SAMPLE_BYTES)
            .enumerate()
        {
            let name = format!("sample-{n}.bin");
            fs::write(recipes.join(&name), bytes)?;
            samples += &format!("[[file]]\nname = \"{name}\"\npath = \"{name}\"\n\n");
        }
        fs::write(&recipe, with_program(&text, &samples, "next")?)?;
        let two = connected.bundle(&recipe, &folder.join("two"), &[])?;

        build(candidate, &recipes.join("bad"), BAD, "exits at once")?;
        fs::write(&recipe, with_program(&text, &samples, "bad")?)?;
        let three = connected.bundle(&recipe, &folder.join("three"), &[])?;

        let app = root.join("appliance/tasks-app");
        let sticks = Self {
            first: folder.join("stick.img"),
            next: folder.join("next.img"),
            fingerprint: connected.fingerprint,
            program_sha256: sha256_of(program)?,
            next_sha256: sha256_of(&next)?,
            new_bytes: (SAMPLES * SAMPLE_BYTES) as u64 + fs::metadata(&next)?.len(),
        };
        part("fill two sticks", || {
            stick(&sticks.first, &[&one, &app])?;
            stick(&sticks.next, &[&two, &three])
        })?;
        for bundle in ["one", "two", "three"] {
            fs::remove_dir_all(folder.join(bundle))?;
        }
        Ok(sticks)
    }
}

/// The program and what other builds are made of, for machines that are emulated: as the tests
/// have them, without what only a debugger reads.
pub(super) fn programs(root: &Path) -> Result<(PathBuf, PathBuf)> {
    part("build the program, and the next one", || {
        // The whole workspace, so that the tests find everything built as they need it.
        run(cargo(root).args(["build", "--quiet", "--locked", "--workspace", "--bins"]))
    })?;
    let built = root.join("target").join(crate::dist::TARGET).join("debug");
    let folder = root.join("target/hosts/programs");
    fs::create_dir_all(&folder)?;
    let lean = |name: &str| -> Result<PathBuf> {
        let out = folder.join(name);
        run(Command::new("strip")
            .arg("-o")
            .arg(&out)
            .arg(built.join(name)))?;
        Ok(out)
    };
    Ok((lean("cofferdam")?, lean("candidate")?))
}

/// Writes another build: what it is stands at its end.
fn build(candidate: &Path, out: &Path, version: &str, fault: &str) -> Result<()> {
    let mut bytes =
        fs::read(candidate).with_context(|| format!("cannot read {}", candidate.display()))?;
    let what = json!({ "version": version, "fault": fault });
    bytes.extend_from_slice(format!("\n#candidate {what}").as_bytes());
    fs::write(out, bytes)?;
    run(Command::new("chmod").arg("+x").arg(out))
}

/// The recipe with more in it, and with `program` in the place of the one that builds.
fn with_program(text: &str, more: &str, program: &str) -> Result<String> {
    match text.trim_end().strip_suffix("[self]") {
        Some(head) => Ok(format!("{head}[self]\nprogram = \"{program}\"\n\n{more}")),
        None => bail!("bundles/demo.toml does not end with [self]"),
    }
}

/// A FAT32 stick with these folders at its top, and some room.
fn stick(out: &Path, folders: &[&Path]) -> Result<()> {
    let mut bytes = 0;
    for folder in folders {
        bytes += size_of(folder)?;
    }
    let room = bytes + bytes / 16 + (48 << 20);
    fs::File::create(out)?.set_len(room.next_multiple_of(1 << 20))?;
    run(Command::new("mkfs.vfat")
        .args(["-F", "32", "-n", "STICK"])
        .arg(out)
        .stdout(std::process::Stdio::null()))?;
    run(Command::new("mcopy")
        .args(["-s", "-i"])
        .arg(out)
        .args(folders)
        .arg("::"))
}

fn size_of(path: &Path) -> Result<u64> {
    if !path.is_dir() {
        return Ok(fs::metadata(path)?.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += size_of(&entry?.path())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_takes_another_program() {
        let text = include_str!("../../../../bundles/demo.toml");
        let changed = with_program(text, "[[file]]\n", "next").unwrap();
        assert!(changed.ends_with("[self]\nprogram = \"next\"\n\n[[file]]\n"));
        assert!(with_program("[bundle]\n", "", "next").is_err());
    }

    #[test]
    fn the_stick_has_room_for_every_file_below_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), [0; 1000]).unwrap();
        fs::write(dir.path().join("c"), [0; 24]).unwrap();
        assert_eq!(size_of(dir.path()).unwrap(), 1024);
    }
}
