//! Other people's programs read what we write and agree with our verdict.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::site::Site;
use crate::sign::{PublicKey, SecretKey, Signature, generate};

fn run(program: &str, dir: &Path, arguments: &[&str]) -> Output {
    let ran = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .output();
    ran.unwrap_or_else(|e| panic!("{program}: {e}; apt-get install minisign libarchive-tools"))
}

fn public_key(site: &Site, dir: &Path) -> String {
    fs::write(dir.join("release.pub"), site.a.public.to_file()).unwrap();
    "release.pub".to_owned()
}

#[test]
fn minisign_agrees_with_our_verdict_both_ways() {
    let site = Site::new();
    let dir = site.good(1);
    let key = public_key(&site, site.dir.path());
    let signature = format!(
        "{}/MANIFEST.json.{}.minisig",
        dir.display(),
        site.a.public.id()
    );
    let manifest = dir.join("MANIFEST.json");
    let shown = manifest.display().to_string();
    let verify = || {
        run(
            "minisign",
            site.dir.path(),
            &["-V", "-p", &key, "-m", &shown, "-x", &signature],
        )
    };
    let said = verify();
    assert!(said.status.success(), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        text.contains("cofferdam-bundle/1 product=lab channel=stable seq=1"),
        "{text}"
    );
    let mut bytes = fs::read(&manifest).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    assert!(!verify().status.success());
    assert_eq!(site.code(&dir), "E_SIG");
}

#[test]
fn t02_a_legacy_signature_of_minisign_is_refused() {
    let site = Site::new();
    let (dir, _) = site.pack(Site::draft(1), &[("a", b"a")]);
    let base = site.dir.path();
    let said = run(
        "minisign",
        base,
        &["-G", "-W", "-p", "m.pub", "-s", "m.key"],
    );
    assert!(said.status.success(), "{said:?}");
    let manifest = dir.join("MANIFEST.json").display().to_string();
    let sign = |legacy: bool| {
        let signature = dir.join("MANIFEST.json.0000000000000000.minisig");
        let signature = signature.display().to_string();
        let mut words = vec!["-S", "-s", "m.key", "-m", &manifest, "-x", &signature];
        if legacy {
            words.push("-l");
        }
        let said = run("minisign", base, &words);
        assert!(said.status.success(), "{said:?}");
        site.code(&dir)
    };
    assert_eq!(sign(true), "E_SIG_LEGACY");
    assert_eq!(
        sign(false),
        "E_SIG",
        "the control: prehashed, and of a stranger"
    );
}

#[test]
fn keys_with_a_password_open_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let typed = |words: &[&str]| {
        let mut command = Command::new("minisign");
        command.args(words).current_dir(dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut running = command.spawn().unwrap();
        let mut stdin = running.stdin.take().unwrap();
        stdin.write_all(b"hunter2\nhunter2\n").unwrap();
        drop(stdin);
        assert!(running.wait().unwrap().success(), "{words:?}");
    };
    typed(&["-G", "-p", "m.pub", "-s", "m.key"]);
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let secret = SecretKey::open(&read("m.key"), Some("hunter2")).unwrap();
    let public = PublicKey::parse(&read("m.pub")).unwrap();
    assert_eq!(secret.public().unwrap(), public);

    let (public, ours) = generate(Some("hunter2")).unwrap();
    fs::write(dir.path().join("o.key"), ours).unwrap();
    fs::write(dir.path().join("document"), "document").unwrap();
    typed(&[
        "-S",
        "-s",
        "o.key",
        "-m",
        "document",
        "-x",
        "d.minisig",
        "-t",
        "hello",
    ]);
    let signature = Signature::parse("d.minisig", &read("d.minisig")).unwrap();
    signature.check(&public, b"document").unwrap();
    assert_eq!(signature.comment, "hello");
}

#[test]
fn sha256sum_and_three_tars_read_every_volume() {
    let site = Site::new();
    let big = vec![3u8; 50_000];
    let files: &[(&str, &[u8])] = &[("a", b"a"), ("big", &big), ("c", b"c"), ("empty", b"")];
    let (dir, manifest) = site.pack(Site::draft(1), files);
    let said = run("sha256sum", &dir, &["-c", "--strict", "SHA256SUMS"]);
    assert!(said.status.success(), "{said:?}");
    let python = "import sys, tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.name)";
    for (index, volume) in (1u32..).zip(&manifest.volumes) {
        let mut expected = vec![crate::volume::LABEL.to_owned()];
        for blob in &manifest.blobs {
            let here = blob.at.iter().enumerate().filter(|(_, at)| at.0 == index);
            expected
                .extend(here.map(|(s, _)| crate::volume::entry_name(&blob.d, s, blob.at.len())));
        }
        let lists: [(&str, Vec<&str>); 3] = [
            ("tar", vec!["tf", &volume.name]),
            ("bsdtar", vec!["tf", &volume.name]),
            ("python3", vec!["-c", python, &volume.name]),
        ];
        for (program, words) in lists {
            let said = run(program, &dir, &words);
            assert!(said.status.success(), "{program}: {said:?}");
            let names: Vec<String> = String::from_utf8_lossy(&said.stdout)
                .lines()
                .map(str::to_owned)
                .collect();
            assert_eq!(names, expected, "{program}");
        }
        gnu_tar_writes_the_same(&dir, &volume.name, &expected);
    }
}

fn gnu_tar_writes_the_same(dir: &Path, volume: &str, names: &[String]) {
    let tree = tempfile::tempdir().unwrap();
    let source = dir.join(volume).display().to_string();
    assert!(run("tar", tree.path(), &["xf", &source]).status.success());
    fs::write(tree.path().join("list"), names.join("\n")).unwrap();
    let words = [
        "--format=ustar",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=0644",
        "--no-recursion",
        "-cf",
        "again.tar",
        "-T",
        "list",
    ];
    let said = run("tar", tree.path(), &words);
    assert!(said.status.success(), "{said:?}");
    assert!(
        fs::read(tree.path().join("again.tar")).unwrap() == fs::read(dir.join(volume)).unwrap()
    );
}
