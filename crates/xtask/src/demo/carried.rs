//! The connected side of the demonstration: keys, trust root, lock, and a signed bundle on a stick.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell::{part, read, run, say};

/// What is carried across, and the paper that goes with it.
pub(crate) struct Carried {
    /// The folder that stands for the stick.
    pub(crate) stick: PathBuf,
    /// The fingerprint of the site's root, as the paper has it.
    pub(crate) fingerprint: String,
}

impl Carried {
    /// Makes keys, locks `bundles/demo.toml`, builds and signs.
    pub(crate) fn make(root: &Path, folder: &Path, binary: &Path) -> Result<Self> {
        let trust = folder.join("trust");
        let recipe = root.join("bundles/demo.toml");
        let cache = root.join("target/image/cache");
        let stick = folder.join("stick");
        std::fs::create_dir_all(&stick)?;
        let bundle = |words: &[&str]| {
            let mut command = Command::new(binary);
            command
                .arg("bundle")
                .args(words)
                .current_dir(folder)
                .stdin(Stdio::null());
            command
        };
        let fingerprint = part("make the site's keys and its trust root", || {
            keys(folder, binary)
        })?;
        part("lock bundles/demo.toml: names become digests", || {
            run(bundle(&["lock"]).arg("--cache").arg(&cache).arg(&recipe))
        })?;
        part("build the bundle and sign it", || {
            run(bundle(&["build", "--key", "release-a", "--trust"])
                .arg(&trust)
                .arg("--cache")
                .arg(&cache)
                .arg("--out")
                .arg(&stick)
                .arg(&recipe))
        })?;
        let stick = only_folder(&stick)?;
        say(&format!("the stick: {}", stick.display()));
        Ok(Self { stick, fingerprint })
    }
}

/// Makes keys in `folder` and a trust root of site `lab` under `folder`/trust; its fingerprint.
pub(crate) fn keys(folder: &Path, binary: &Path) -> Result<String> {
    let bundle = |words: &[&str]| {
        let mut command = Command::new(binary);
        command
            .arg("bundle")
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null());
        command
    };
    for key in ["root-a", "release-a"] {
        run(&mut bundle(&["keygen", key, "--no-password"]))?;
    }
    let words = [
        "root",
        "init",
        "--site",
        "lab",
        "--root",
        "root-a",
        "--release",
        "release-a",
        "--key",
        "root-a",
    ];
    run(&mut bundle(&words))?;
    let shown = read(&mut bundle(&["root", "show", "--json"]))?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    let first = shown["statements"][0]["fingerprint"].as_str();
    first
        .map(str::to_owned)
        .context("`bundle root show` tells no fingerprint")
}

/// The only folder in `dir`.
pub(crate) fn only_folder(dir: &Path) -> Result<PathBuf> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    match folders.as_slice() {
        [one] => Ok(one.clone()),
        _ => bail!("{} should hold one bundle", dir.display()),
    }
}
