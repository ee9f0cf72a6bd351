//! The connected side: keys, trust root, locks, and signed bundles on a stick.

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
        let connected = Connected::set_up(folder, binary, &shared_cache(root))?;
        let recipe = root.join("bundles/demo.toml");
        let stick = connected.bundle(&recipe, &folder.join("stick"), &[])?;
        say(&format!("the stick: {}", stick.display()));
        Ok(Self {
            stick,
            fingerprint: connected.fingerprint,
        })
    }
}

/// Where what registries gave is kept for the next time.
pub(crate) fn shared_cache(root: &Path) -> PathBuf {
    root.join("target/image/cache")
}

/// A machine with a network, on which a site keeps its keys and builds its bundles.
pub(crate) struct Connected {
    /// Where its keys and its trust root are.
    pub(crate) folder: PathBuf,
    /// The program that it builds with.
    pub(crate) binary: PathBuf,
    /// The fingerprint of the site's root, as the paper has it.
    pub(crate) fingerprint: String,
    cache: PathBuf,
}

impl Connected {
    /// Makes the site's keys and its trust root in `folder`.
    pub(crate) fn set_up(folder: &Path, binary: &Path, cache: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut connected = Self {
            folder: folder.to_owned(),
            binary: binary.to_owned(),
            fingerprint: String::new(),
            cache: cache.to_owned(),
        };
        connected.fingerprint = part("make the site's keys and its trust root", || {
            connected.make_keys()
        })?;
        Ok(connected)
    }

    fn make_keys(&self) -> Result<String> {
        for key in ["root-a", "release-a"] {
            run(&mut self.program(&["keygen", key, "--no-password"]))?;
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
        run(&mut self.program(&words))?;
        let shown = read(&mut self.program(&["root", "show", "--json"]))?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let first = shown["statements"][0]["fingerprint"].as_str();
        first
            .map(str::to_owned)
            .context("`bundle root show` tells no fingerprint")
    }

    /// Locks `recipe`, builds it into `out` with further `words` and signs it; the bundle's folder.
    pub(crate) fn bundle(&self, recipe: &Path, out: &Path, words: &[&str]) -> Result<PathBuf> {
        std::fs::create_dir_all(out)?;
        let name = recipe.file_name().unwrap_or_default().to_string_lossy();
        part(&format!("lock {name}: names become digests"), || {
            run(self
                .program(&["lock"])
                .arg("--cache")
                .arg(&self.cache)
                .arg(recipe))
        })?;
        part("build the bundle and sign it", || {
            run(self
                .program(&["build", "--key", "release-a", "--trust"])
                .arg(self.folder.join("trust"))
                .arg("--cache")
                .arg(&self.cache)
                .args(words)
                .arg("--out")
                .arg(out)
                .arg(recipe))
        })?;
        only_folder(out)
    }

    fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("bundle")
            .args(words)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }
}

fn only_folder(dir: &Path) -> Result<PathBuf> {
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
