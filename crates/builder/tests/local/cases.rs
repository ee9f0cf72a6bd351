//! Recipes of what lies on this host: locked, built, built again, carried as a delta.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::site::{Site, files, run, wheel};
use builder::{BuildError, Lock, RelockError, Update};
use bundle::manifest::ToolFormat;
use bundle::slip::{Have, Need, Wanted};
use bundle::{Item, Sealed, Trust};
use vocab::Digest;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// One of everything that needs no network.
fn full() -> Site {
    let site = Site::new(
        "volume = \"100kB\"\nnotes = \"NOTES.md\"\n\
         [[oci]]\nname = \"lab/tiny\"\ntags = [\"1\", \"latest\"]\nlabels = [\"tiny\"]\nfile = \"tiny.tar\"\n\
         [[pypi]]\nrequirements = [\"app\"]\npython = [\"3.10\", \"3.11\"]\nfolder = \"wheels\"\n\
         [[action]]\nrepo = \"Lab/Greet\"\nfolder = \"greet\"\nrefs = [\"v1\", \"main\"]\ndepth = 1\n\
         [[toolcache]]\ntool = \"python\"\nversion = \"3.12.7\"\nfile = \"python.tar.gz\"\nstrip = 1\n\
         [[file]]\nname = \"data/big.bin\"\npath = \"big.bin\"\n\
         [[doc]]\nname = \"readme.md\"\npath = \"README.md\"\n",
    );
    site.write("NOTES.md", b"# New\n");
    site.write("README.md", b"# Read me\n");
    site.write("python.tar.gz", &gzip(b"a tar"));
    let big: Vec<u8> = (0..250_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    site.write("big.bin", &big);
    docker_archive(&site);
    wheel(
        &site.path("wheels"),
        "app",
        "1.0",
        &[
            "Requires-Python: >=3.8",
            "Requires-Dist: old; python_version < '3.11'",
            "Requires-Dist: windows; sys_platform == 'win32'",
            "Requires-Dist: dep",
        ],
    );
    for name in ["old", "windows", "dep"] {
        wheel(&site.path("wheels"), name, "2.0", &[]);
    }
    let greet = site.path("greet");
    fs::create_dir(&greet).unwrap();
    site.write(
        "greet/action.yml",
        b"runs:\n  using: composite\n  steps: []\n",
    );
    git(&site, &["init", "-q", "-b", "main"]);
    git(&site, &["add", "."]);
    git(&site, &["commit", "-q", "-m", "one"]);
    git(&site, &["tag", "-a", "v1", "-m", "first"]);
    site.write("greet/README", b"later\n");
    git(&site, &["add", "."]);
    git(&site, &["commit", "-q", "-m", "two"]);
    site
}

fn git(site: &Site, words: &[&str]) -> String {
    let who = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
    run(&site.path("greet"), "git", &[&who[..], words].concat())
}

/// What `docker save` wrote before it wrote OCI layouts: one plain layer.
fn docker_archive(site: &Site) {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "hello", b"hi\n");
    let layer = layer.into_inner().unwrap();
    let config = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{}},\
         \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{}\"]}}}}",
        Digest::of(&layer)
    );
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "config.json", config.as_bytes());
    append(&mut archive, "layer.tar", &layer);
    let manifest = br#"[{"Config":"config.json","RepoTags":["tiny:1"],"Layers":["layer.tar"]}]"#;
    append(&mut archive, "manifest.json", manifest);
    site.write("tiny.tar", &archive.into_inner().unwrap());
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, name, content).unwrap();
}

fn item<'a>(items: &'a [Item], key: &str) -> &'a Item {
    items
        .iter()
        .find(|item| item.key() == key)
        .unwrap_or_else(|| panic!("no {key} in {items:?}"))
}

#[test]
fn one_of_everything_is_locked_and_built_and_an_appliance_would_believe_it() {
    let site = full();
    let lock = site.lock().lock;
    let items = lock.items().unwrap();
    let keys: Vec<String> = items.iter().map(Item::key).collect();
    assert_eq!(
        keys,
        [
            "action:lab/greet",
            "doc:readme.md",
            "file:data/big.bin",
            "oci:lab/tiny:1",
            "oci:lab/tiny:latest",
            "pypi:app",
            "pypi:dep",
            "pypi:old",
            "toolcache:Python:3.12.7:x64",
        ]
    );
    let Item::Toolcache(tool) = item(&items, "toolcache:Python:3.12.7:x64") else {
        panic!()
    };
    assert_eq!((tool.format, tool.strip), (ToolFormat::TarGz, 1));
    let Item::Action(action) = item(&items, "action:lab/greet") else {
        panic!()
    };
    let tag = git(&site, &["rev-parse", "v1^{commit}"]);
    assert_eq!(action.refs["refs/tags/v1"], tag.trim());
    let main = git(&site, &["rev-parse", "main"]);
    assert!(action.shallow.contains(&main.trim().to_owned()));
    let text = lock.text();
    assert!(!text.contains(site.dir.path().to_str().unwrap()), "{text}");

    let built = site.build("stick", "cache");
    assert_eq!(built.folder, site.path("stick/lab-stable-000001"));
    assert!(
        built.manifest.volumes.len() > 1,
        "the volumes were not split"
    );
    let sealed = Sealed::open(&built.folder).unwrap();
    assert!(sealed.strays.is_empty(), "{:?}", sealed.strays);
    let first = sealed.roots[&1].fingerprint();
    let verified = sealed.verify(&Trust::Pinned(first)).unwrap();
    assert_eq!(verified.manifest, built.manifest);
    let said = run(&built.folder, "sh", &["verify.sh", "../../release.pub"]);
    assert!(
        said.contains(&format!("blobs: {}", built.manifest.blobs.len())),
        "{said}"
    );
}

#[test]
fn markers_are_those_of_the_target_whatever_python_runs_pip() {
    let site = full();
    let lock = site.lock().lock;
    let pin = lock
        .pins
        .iter()
        .find(|pin| pin.entry.starts_with("pypi"))
        .unwrap();
    let of = |version: &str| {
        let found = pin
            .wheels
            .iter()
            .find(|(target, _)| target.starts_with(version));
        found.unwrap().1.join(" ")
    };
    assert_eq!(
        of("3.11"),
        "app-1.0-py3-none-any.whl dep-2.0-py3-none-any.whl"
    );
    assert_eq!(
        of("3.10"),
        "app-1.0-py3-none-any.whl dep-2.0-py3-none-any.whl old-2.0-py3-none-any.whl"
    );
}

#[test]
fn the_same_lock_gives_the_same_bytes_from_another_cache_and_whatever_the_host_is_like() {
    let site = full();
    site.lock();
    let first = site.build("a", "cache");
    // Another time zone, umask and day; nothing fetched yet.
    let second = site.build("b", "other-cache");
    let (a, b) = (files(&first.folder), files(&second.folder));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, content) in &a {
        // A signature holds noise; that it is there is enough.
        assert!(
            name.ends_with(".minisig") || b[name] == *content,
            "{name} differs"
        );
        let mode = |root: &std::path::Path| {
            fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode(&first.folder), mode(&second.folder));
    }
}

#[test]
fn a_damaged_volume_or_blob_is_found_by_hand_with_minisign_and_with_openssl() {
    let site = full();
    site.lock();
    let built = site.build("stick", "cache");
    // A PATH without minisign, so that openssl must do.
    let bin = site.path("bin");
    fs::create_dir(&bin).unwrap();
    for program in [
        "sh",
        "openssl",
        "grep",
        "head",
        "tail",
        "sed",
        "tr",
        "cut",
        "od",
        "base64",
        "sha256sum",
        "tar",
        "mktemp",
        "rm",
        "cat",
        "wc",
        "dirname",
    ] {
        let found = run(
            site.dir.path(),
            "sh",
            &["-c", &format!("command -v {program}")],
        );
        std::os::unix::fs::symlink(found.trim(), bin.join(program)).unwrap();
    }
    let verify = || {
        std::process::Command::new("/bin/sh")
            .args(["verify.sh", "../../release.pub"])
            .current_dir(&built.folder)
            .env("PATH", &bin)
            .output()
            .unwrap()
    };
    let good = verify();
    assert!(
        good.status.success(),
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    let manifest = built.folder.join("MANIFEST.json");
    let whole = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, whole.replace("stable", "stablE")).unwrap();
    let bad = verify();
    assert!(
        String::from_utf8_lossy(&bad.stderr).contains("signature"),
        "{bad:?}"
    );
    fs::write(&manifest, whole).unwrap();
    let volume = built.folder.join(&built.manifest.volumes[0].name);
    let mut bytes = fs::read(&volume).unwrap();
    bytes[2000] ^= 1;
    fs::write(&volume, bytes).unwrap();
    let bad = verify();
    assert!(
        String::from_utf8_lossy(&bad.stderr).contains("damaged or missing"),
        "{bad:?}"
    );
}

#[test]
fn what_cannot_be_reached_is_told_with_its_line_and_the_rest_is_locked() {
    let site = Site::new(
        "[[doc]]\nname = \"a\"\npath = \"a.md\"\n\
         [[file]]\nname = \"b\"\npath = \"missing.bin\"\n\
         [[action]]\nrepo = \"lab/gone\"\nfolder = \"gone\"\nrefs = [\"v1\"]\n\
         [[pypi]]\nrequirements = [\"nothing\"]\npython = [\"3.11\"]\nfolder = \"wheels\"\n",
    );
    site.write("a.md", b"a");
    fs::create_dir(site.path("wheels")).unwrap();
    let locked = site.try_lock(Update::Nothing).unwrap();
    let told: BTreeMap<usize, String> = locked
        .failures
        .iter()
        .map(|f| (f.line, f.error.to_string()))
        .collect();
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), [7, 10, 14]);
    assert!(
        told[&14].contains("No matching distribution"),
        "{}",
        told[&14]
    );
    let written = Lock::read(&site.path("demo.lock")).unwrap().unwrap();
    assert_eq!(written.pins.len(), 1);
    let said = site.try_build("out", "cache", None, None).unwrap_err();
    assert!(
        matches!(&said, BuildError::NotLocked { line: 7, .. }),
        "{said}"
    );
    assert!(!site.path("out").exists());
}

#[test]
fn a_lock_that_still_holds_is_left_alone_and_a_move_is_said() {
    let mut site = full();
    site.lock();
    let before = fs::read_to_string(site.path("demo.lock")).unwrap();
    site.today = "2026-12-01";
    let again = site.lock();
    assert!(!again.changed);
    assert_eq!(fs::read_to_string(site.path("demo.lock")).unwrap(), before);

    site.write("big.bin", b"small now");
    git(&site, &["tag", "-f", "v1", "main"]);
    let moved = site.lock();
    assert_eq!(moved.lock.seq, 2);
    assert_eq!(moved.moved, ["action:lab/greet@v1", "file:data/big.bin"]);
    assert_eq!(moved.lock.day, "2026-12-01");

    let head = "keep_tags = \"refuse\"\n";
    site.recipe_is(&format!(
        "{head}[[file]]\nname = \"data/big.bin\"\npath = \"big.bin\"\n"
    ));
    site.write("big.bin", b"again");
    let refused = site.try_lock(Update::Nothing).unwrap_err();
    assert!(matches!(refused, RelockError::Moved { .. }), "{refused}");
    let unknown = site
        .try_lock(Update::Named(vec!["nobody".to_owned()]))
        .unwrap_err();
    assert!(unknown.to_string().contains("'nobody'"), "{unknown}");
}

#[test]
fn a_delta_leaves_out_what_the_appliance_has_and_brings_again_what_is_damaged() {
    let site = full();
    let lock = site.lock().lock;
    let all = lock.blobs().unwrap();
    let have = Have {
        cofferdam_have: 1,
        appliance: "lab-1".to_owned(),
        version: "0.1.0".to_owned(),
        arch: "amd64".to_owned(),
        day: "2026-11-20".to_owned(),
        product: String::new(),
        channel: String::new(),
        seq: 0,
        root: 1,
        free_bytes: 1,
        manifest: None,
        pins: Vec::new(),
        keys: vec!["doc:old.md".to_owned()],
        log: None,
        blobs: all.iter().map(|blob| blob.d.hex()).collect(),
    };
    let have = (have, Digest::of(b"slip"));
    let delta = site.try_build("delta", "cache", Some(&have), None).unwrap();
    let base = delta.manifest.base.as_ref().unwrap();
    assert_eq!(
        (base.assumed.len(), delta.manifest.blobs.len()),
        (all.len(), 0)
    );
    assert_eq!(delta.manifest.removes, ["doc:old.md"]);
    let size: u64 = files(&delta.folder).values().map(|f| f.len() as u64).sum();
    assert!(size < 200_000, "an unchanged delta takes {size} bytes");

    let wanted = |kind: &str, name: &str| Wanted {
        kind: kind.to_owned(),
        name: name.to_owned(),
        asks: 1,
    };
    let need = Need {
        cofferdam_need: 1,
        appliance: "lab-1".to_owned(),
        day: "2026-11-20".to_owned(),
        seq: 0,
        wants: vec![
            wanted("pypi", "Dep>=2"),
            wanted("action", "lab/greet/sub@v1"),
            wanted("action", "lab/greet@v2"),
            wanted("oci", "lab/tiny"),
            wanted("toolcache", "python@3.12"),
            wanted("pypi", "numpy"),
        ],
        damaged: vec![all[0].d],
    };
    let repaired = site
        .try_build("repair", "cache", Some(&have), Some(&need))
        .unwrap();
    assert_eq!(repaired.manifest.blobs.len(), 1);
    assert_eq!(repaired.wants.unmet, ["action:lab/greet@v2", "pypi:numpy"]);
    let ahead = (
        Have {
            seq: 7,
            product: "lab".into(),
            channel: "stable".into(),
            ..have.0.clone()
        },
        have.1,
    );
    let behind = site
        .try_build("late", "cache", Some(&ahead), None)
        .unwrap_err();
    assert!(behind.to_string().contains("--seq 8"), "{behind}");
}

#[test]
fn an_image_that_lies_about_its_layers_is_refused() {
    let site = full();
    let bytes = fs::read(site.path("tiny.tar")).unwrap();
    let at = bytes.windows(3).position(|w| w == b"hi\n").unwrap();
    let mut changed = bytes.clone();
    changed[at] = b'H';
    site.write("tiny.tar", &changed);
    let locked = site.try_lock(Update::Nothing).unwrap();
    assert_eq!(locked.failures.len(), 1);
    let said = locked.failures[0].error.to_string();
    assert!(
        said.contains("tiny.tar is no image that can be carried"),
        "{said}"
    );
}

#[test]
fn a_key_that_may_not_sign_and_a_cache_that_rotted_stop_a_build() {
    let mut site = full();
    site.lock();
    let other = Site::new("[[doc]]\nname = \"a\"\npath = \"a\"\n");
    let own = std::mem::replace(&mut site.key, other.key);
    let refused = site.try_build("out", "cache", None, None).unwrap_err();
    assert!(refused.to_string().contains("may not sign"), "{refused}");
    site.key = own;
    let lock = Lock::read(&site.path("demo.lock")).unwrap().unwrap();
    let blob = &lock.blobs().unwrap()[0];
    let path = site.path("cache/blobs/sha256").join(blob.d.hex());
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = site.try_build("out", "cache", None, None).unwrap_err();
    assert!(refused.to_string().contains("not what it was"), "{refused}");
    let left: Vec<_> = fs::read_dir(site.path("out")).unwrap().collect();
    assert!(left.is_empty(), "a failed build leaves {left:?}");
}
