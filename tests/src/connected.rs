//! A connected side by the program alone: keys, a recipe of everything that needs no network, the
//! bundles that are built from it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::appliance::debug_binary;
use testkit::git::Tree;
use testkit::{Result, noise};
use vocab::Digest;

const RECIPE: &str = r#"[bundle]
product = "lab"
channel = "stable"
notes = "NOTES.md"
[[oci]]
name = "lab/tiny"
tags = ["1"]
labels = ["tiny"]
file = "tiny.tar"
[[pypi]]
requirements = ["greeter"]
python = ["3.12"]
folder = "wheels"
[[action]]
repo = "lab/greet"
folder = "greet"
refs = ["v1"]
depth = 1
[[toolcache]]
tool = "python"
version = "3.12.7"
file = "python.tar.gz"
strip = 1
[[doc]]
name = "carrying.md"
path = "NOTES.md"
[[file]]
name = "data/measured.bin"
path = "measured.bin"
"#;

/// Writes a wheel, which is a zip file: folder, name, version.
const WHEEL: &str = r#"
import sys, zipfile
folder, name, version = sys.argv[1:]
info = f'{name}-{version}.dist-info'
with zipfile.ZipFile(f'{folder}/{name}-{version}-py3-none-any.whl', 'w') as z:
    z.writestr(f'{name}/__init__.py', f'version = {version!r}\n')
    z.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    z.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    z.writestr(f'{info}/RECORD', '')
"#;

/// A folder with a recipe, what it names, and the keys that sign.
pub struct Connected {
    at: PathBuf,
}

impl Connected {
    /// In the new folder `at`.
    pub fn new(at: &Path) -> Result<Self> {
        std::fs::create_dir_all(at.join("wheels"))?;
        let side = Self { at: at.to_owned() };
        side.write("demo.toml", RECIPE.as_bytes())?;
        side.write(
            "NOTES.md",
            b"# Carrying bundles\n\nBring the stick *and* the paper.\n",
        )?;
        side.write("measured.bin", &noise(7, 24 << 20))?;
        side.write(
            "python.tar.gz",
            &gzip(&tar(&[("python/bin/python3", b"none")])?)?,
        )?;
        side.write("tiny.tar", &image()?)?;
        side.wheel("greeter", "1.0")?;
        let action = Tree::init(&side.at.join("greet"))?;
        action.write("action.yml", "runs:\n  using: composite\n  steps: []\n")?;
        action.commit("first")?;
        action.git(&["tag", "v1"])?;
        side.run(&["keygen", "release-a", "--no-password"])?;
        side.run(&["keygen", "root-a", "--no-password"])?;
        let keys = [
            "--root",
            "root-a",
            "--release",
            "release-a",
            "--key",
            "root-a",
        ];
        side.run(&[&["root", "init", "--site", "lab"], &keys[..]].concat())?;
        Ok(side)
    }

    /// Writes a file that the recipe may name.
    pub fn write(&self, name: &str, content: &[u8]) -> Result {
        Ok(std::fs::write(self.at.join(name), content)?)
    }

    /// Changes the recipe: every `old` becomes `new`.
    pub fn change(&self, old: &str, new: &str) -> Result {
        let path = self.at.join("demo.toml");
        let text = std::fs::read_to_string(&path)?;
        if !text.contains(old) {
            return Err(format!("the recipe has no {old:?}").into());
        }
        Ok(std::fs::write(path, text.replace(old, new))?)
    }

    /// Adds a wheel to those that the recipe may take.
    pub fn wheel(&self, name: &str, version: &str) -> Result {
        let mut python = Command::new("python3");
        python.args(["-c", WHEEL]).arg(self.at.join("wheels"));
        done(python.args([name, version])).map(drop)
    }

    /// The digits that stand on paper.
    pub fn fingerprint(&self) -> Result<String> {
        Ok(Digest::of(&std::fs::read(self.at.join("trust/ROOT.1.json"))?).hex())
    }

    /// Locks anew and builds the next bundle into `out`; its folder.
    pub fn build(&self, out: &Path) -> Result<PathBuf> {
        self.run(&["lock", "demo.toml"])?;
        let place = out.to_str().ok_or("the path is no text")?;
        let said = self.run(&[
            "build",
            "demo.toml",
            "-o",
            place,
            "--key",
            "release-a",
            "--json",
        ])?;
        let built: Value = serde_json::from_str(&said)?;
        let folder = built["folder"].as_str().ok_or("no folder was told")?;
        Ok(self.at.join(folder))
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(debug_binary()?);
        command.arg("bundle").args(words).current_dir(&self.at);
        done(command.env("XDG_CACHE_HOME", self.at.join("cache")))
    }
}

fn done(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {said}", output.status).into())
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, bytes)?;
    Ok(packed.finish()?)
}

fn tar(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, name, *content)?;
    }
    Ok(tar.into_inner()?)
}

/// An image of one file, as `docker save` wrote it before it wrote OCI layouts.
fn image() -> Result<Vec<u8>> {
    let layer = tar(&[("hello", b"hi\n")])?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer)] },
    })
    .to_string();
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": ["tiny:1"], "Layers": ["layer.tar"] }])
            .to_string();
    tar(&[
        ("config.json", config.as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.as_bytes()),
    ])
}
