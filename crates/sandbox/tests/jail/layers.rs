//! Image layers: unpacked in a jail, shown as one root directory, refused when they break rules.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sandbox::{FileError, JailSpec, LayerLimits, Root, UnpackError};
use tar::{Builder, EntryType, Header};

use crate::common::{HOST, launcher, run};

/// An archive in the making.
struct Layer(Builder<File>);

impl Layer {
    fn new() -> Self {
        Self(Builder::new(
            tempfile::tempfile().expect("a scratch archive"),
        ))
    }

    fn entry(mut self, kind: EntryType, name: &str, mode: u32, owner: u64, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1_000_000_000);
        header.set_size(u64::try_from(data.len()).expect("a scratch archive"));
        // Names that break the rules are what these tests are about.
        header.as_gnu_mut().expect("a scratch archive").name[..name.len()]
            .copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).expect("a scratch archive");
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, 0o644, 0, data)
    }

    fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, 0o755, 0, b"")
    }

    fn link(mut self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.as_gnu_mut().expect("a scratch archive").name[..name.len()]
            .copy_from_slice(name.as_bytes());
        header.as_gnu_mut().expect("a scratch archive").linkname[..target.len()]
            .copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.append(&header, &b""[..]).expect("a scratch archive");
        self
    }

    fn done(self) -> OwnedFd {
        let mut file = self.0.into_inner().expect("a scratch archive");
        file.rewind().expect("a scratch archive");
        file.into()
    }
}

fn base() -> Layer {
    let program = std::fs::read(HOST).expect("a scratch archive");
    Layer::new()
        .dir("./")
        .dir("bin/")
        .entry(EntryType::Regular, "bin/probe", 0o4755, 0, &program)
        .file("keep", b"below")
        .file("gone", b"below")
        .dir("full/")
        .file("full/old", b"below")
        .entry(EntryType::Regular, "mine", 0o600, 1000, b"owned")
        .link(EntryType::Symlink, "absolute", "/keep")
        .link(EntryType::Link, "hard", "keep")
        .entry(EntryType::Char, "device", 0o666, 0, b"")
}

fn upper() -> Layer {
    Layer::new()
        .file(".wh.gone", b"")
        .dir("full/")
        .file("full/.wh..wh..opq", b"")
        .file("full/new", b"above")
        .file("added", b"above")
}

#[test]
fn two_layers_make_one_root_directory() {
    let Some(launcher) = launcher() else { return };
    let dir = tempfile::tempdir().unwrap();
    let limits = LayerLimits::default();
    let facts = launcher
        .unpack_layer(dir.path(), "one", base().done(), limits)
        .unwrap();
    assert_eq!(facts.skipped, ["device: a device node"]);
    let facts = launcher
        .unpack_layer(dir.path(), "two", upper().done(), limits)
        .unwrap();
    assert_eq!((facts.whiteouts, facts.opaque), (1, 1));
    // On disk the layer has the owners, modes and times that the archive names.
    let one = dir.path().join("one");
    let meta = |name: &str| std::fs::symlink_metadata(one.join(name)).unwrap();
    assert_eq!(
        (meta("keep").uid(), meta("mine").uid(), meta("mine").gid()),
        (0, 1000, 1000)
    );
    assert_eq!(meta("bin/probe").mode() & 0o7777, 0o4755);
    assert_eq!(meta("keep").mtime(), 1_000_000_000);
    assert_eq!(meta("keep").ino(), meta("hard").ino());
    let whiteout = std::fs::symlink_metadata(dir.path().join("two/gone")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);

    let layers = vec![dir.path().join("one"), dir.path().join("two")];
    let jail = launcher
        .create(&JailSpec::new(Root::Layers(layers)))
        .unwrap();
    let text = |path: &str| {
        jail.read_file(path, 100)
            .map(|b| String::from_utf8(b).unwrap())
    };
    assert_eq!(text("/keep").unwrap(), "below");
    assert_eq!(text("/absolute").unwrap(), "below");
    assert_eq!(text("/added").unwrap(), "above");
    assert_eq!(text("/full/new").unwrap(), "above");
    assert!(text("/gone").unwrap_err().is_not_found());
    assert!(text("/full/old").unwrap_err().is_not_found());
    assert_eq!(run(&jail, &["/bin/probe", "probe", "euid"]).out, "euid 0\n");
    // What is written stays above: the layers on disk do not change.
    jail.write_file("/keep", b"changed", 0o644, (0, 0)).unwrap();
    jail.remove("/bin").unwrap();
    assert_eq!(text("/keep").unwrap(), "changed");
    assert_eq!(std::fs::read(one.join("keep")).unwrap(), b"below");
    assert_eq!(jail.facts().unwrap().layers.len(), 2);
    let residue = jail.destroy().unwrap();
    assert!(residue.is_clean(), "{residue:?}");
    let next = launcher
        .create(&JailSpec::new(Root::Layers(vec![dir.path().join("one")])))
        .unwrap();
    assert_eq!(next.read_file("/keep", 100).unwrap(), b"below");
}

fn refused(archive: OwnedFd, limits: LayerLimits) -> String {
    let launcher = launcher().expect("checked by the caller");
    let dir = tempfile::tempdir().expect("a scratch directory");
    match launcher.unpack_layer(dir.path(), "bad", archive, limits) {
        Err(UnpackError::File(e)) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn archives_that_break_a_rule_are_refused_by_name() {
    if launcher().is_none() {
        return;
    }
    let all = LayerLimits::default();
    let why = refused(Layer::new().file("a/../../x", b"").done(), all);
    assert!(why.contains("a/../../x") && why.contains(".."), "{why}");
    let why = refused(Layer::new().file("/etc/x", b"").done(), all);
    assert!(why.contains("absolute"), "{why}");
    let why = refused(
        Layer::new()
            .link(EntryType::Link, "h", "../../etc/passwd")
            .done(),
        all,
    );
    assert!(why.contains(".."), "{why}");
    let why = refused(
        Layer::new()
            .link(EntryType::Link, "h", "/etc/passwd")
            .done(),
        all,
    );
    assert!(why.contains("absolute"), "{why}");
    let few = LayerLimits { entries: 1, ..all };
    let why = refused(Layer::new().file("a", b"").file("b", b"").done(), few);
    assert!(why.contains("more than 1 entries"), "{why}");
    let small = LayerLimits {
        size_bytes: 3,
        ..all
    };
    let why = refused(Layer::new().file("a", b"four").done(), small);
    assert!(why.contains("more than 3 bytes"), "{why}");
    let owner = Layer::new()
        .entry(EntryType::Regular, "a", 0o644, 70_000, b"")
        .done();
    assert!(refused(owner, all).contains("70000"));
    let mut cut = tempfile::tempfile().unwrap();
    let mut header = Header::new_gnu();
    header.set_size(10_000);
    header.set_mode(0o644);
    header.set_path("cut").unwrap();
    header.set_cksum();
    cut.write_all(header.as_bytes()).unwrap();
    cut.write_all(b"short").unwrap();
    cut.rewind().unwrap();
    let why = refused(cut.into(), all);
    assert!(why.contains("cut"), "{why}");
}

#[test]
fn a_link_in_a_layer_never_leads_out_of_it() {
    let Some(launcher) = launcher() else { return };
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().display().to_string();
    let archive = Layer::new()
        .link(EntryType::Symlink, "out", &target)
        .link(EntryType::Symlink, "up", "../../..")
        .file("out/written", b"x")
        .done();
    // The link points to nothing inside of the layer, so writing through it fails there.
    let result = launcher.unpack_layer(dir.path(), "links", archive, LayerLimits::default());
    assert!(
        matches!(result, Err(UnpackError::File(FileError::Failed { .. }))),
        "{result:?}"
    );
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    let archive = Layer::new()
        .link(EntryType::Symlink, "up", "../../..")
        .file("up/written", b"x")
        .done();
    launcher
        .unpack_layer(dir.path(), "up", archive, LayerLimits::default())
        .unwrap();
    assert!(dir.path().join("up/written").exists());
}

#[test]
fn a_checkout_keeps_modes_links_and_times_and_has_its_owner() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&crate::common::spec()).unwrap();
    let archive = Layer::new()
        .entry(EntryType::XGlobalHeader, "pax_global_header", 0o644, 0, b"")
        .entry(
            EntryType::Regular,
            "run.sh",
            0o755,
            0,
            b"#!/bin/sh\necho ran\n",
        )
        .link(EntryType::Symlink, "link", "run.sh")
        .file("deep/er/file", b"x")
        .done();
    jail.mkdir("/work", 0o755, (0, 0)).unwrap();
    jail.mkdir("/work/repo", 0o777, (0, 0)).unwrap();
    jail.unpack_tar("/work/repo/tree", archive, (1000, 1000))
        .unwrap();
    assert_eq!(run(&jail, &["/work/repo/tree/link"]).out, "ran\n");
    let ran = run(&jail, &["stat", "-c", "%a %u %Y", "/work/repo/tree/run.sh"]);
    assert_eq!(ran.out, "755 1000 1000000000\n");
    let bad = Layer::new().file("../out", b"").done();
    assert!(jail.unpack_tar("/work/repo/tree", bad, (0, 0)).is_err());
    assert!(Path::new(HOST).exists());
}

#[test]
fn sources_outside_the_configured_roots_are_refused() {
    let Some(_) = launcher() else { return };
    let allowed = tempfile::tempdir().unwrap();
    let config = sandbox::LauncherConfig {
        source_roots: vec![allowed.path().to_owned()],
        ..crate::common::config()
    };
    let launcher = sandbox::Launcher::start(&config).unwrap();
    std::os::unix::fs::symlink("/etc", allowed.path().join("sly")).unwrap();
    for layer in ["/etc".into(), allowed.path().join("sly")] {
        let spec = JailSpec::new(Root::Layers(vec![layer]));
        assert!(launcher.create(&spec).is_err());
    }
    std::fs::create_dir(allowed.path().join("layer")).unwrap();
    let spec = JailSpec::new(Root::Layers(vec![allowed.path().join("layer")]));
    launcher.create(&spec).unwrap();
}
