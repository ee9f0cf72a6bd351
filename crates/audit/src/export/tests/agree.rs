//! Verifiers that share no code with this one reach the same verdict.

use std::process::Command;

use super::*;

fn run(program: &str, args: &[&str]) -> (bool, String) {
    let out = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    (out.status.success(), text)
}

fn unpacked(bed: &Bed, path: &Path) -> PathBuf {
    let dir = bed.dir.path().join("unpacked");
    drop(fs::remove_dir_all(&dir));
    fs::create_dir(&dir).unwrap();
    let (good, text) = run(
        "tar",
        &["-xf", path.to_str().unwrap(), "-C", dir.to_str().unwrap()],
    );
    assert!(good, "{text}");
    dir
}

#[test]
fn a_shell_and_openssl_verify_an_export_and_refuse_a_changed_one() {
    let bed = bed(37);
    let path = bed.export(
        "s.cfa",
        Wanted {
            since: at(5),
            until: at(30),
            ..Wanted::default()
        },
    );
    let dir = unpacked(&bed, &path);
    let script = dir.join("verify.sh");
    let script = script.to_str().unwrap();
    let (good, text) = run("sh", &[script]);
    assert!(
        good && text.contains("good: entries 4 to 31 of 37, 27 shown"),
        "{text}"
    );
    for name in [
        "leaves.bin",
        "events/000000.jsonl",
        "checkpoint",
        "range.proof",
        "MANIFEST.json",
    ] {
        let file = dir.join(name);
        let bytes = fs::read(&file).unwrap();
        let mut changed = bytes.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&file, &changed).unwrap();
        let (good, text) = run("sh", &[script]);
        assert!(!good && text.contains("REFUSED"), "{name}: {text}");
        fs::write(&file, &bytes).unwrap();
    }
}

#[test]
fn a_shell_finds_the_root_of_every_kind_of_range() {
    let bed = bed(19);
    for (since, until) in
        (0..20).flat_map(|since| [1, 2, 3, 8].map(|length| (since, since + length)))
    {
        let wanted = Wanted {
            since: at(since),
            until: at(until),
            ..Wanted::default()
        };
        let dir = unpacked(&bed, &bed.export("s.cfa", wanted));
        let (good, text) = run("sh", &[dir.join("verify.sh").to_str().unwrap()]);
        assert!(good, "{since} to {until}: {text}");
        let left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().starts_with(".verify"))
            .collect();
        assert!(left.is_empty(), "{left:?} is left");
    }
    // A log of nothing, and one whose shown entries are more than are hashed at a time.
    for entries in [0, 411] {
        let bed = super::bed(entries);
        let dir = unpacked(&bed, &bed.export("s.cfa", Wanted::default()));
        let (good, text) = run("sh", &[dir.join("verify.sh").to_str().unwrap()]);
        assert!(good, "{entries}: {text}");
    }
}

/// Random logs, random ranges, and for each a random change; the Python verifier must say of every
/// file what this one says.
#[test]
fn a_verifier_from_the_specifications_agrees_on_random_logs() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/audit/verify.py");
    let entropy = Entropy::scripted(42);
    let any = |below: u64| u64::from_le_bytes(entropy.bytes::<8>()) % below.max(1);
    let folder = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    let mut bed = crate::testing::bed(0);
    for number in 0..500 {
        if number % 50 == 0 {
            bed = crate::testing::bed(0);
        }
        bed.append(any(12));
        let size = bed.seal.seal(&bed.store).unwrap().checkpoint.size;
        let since = any(size);
        let wanted = Wanted {
            since: (any(2) == 0).then(|| at(since).unwrap()),
            until: (any(2) == 0).then(|| at(since + any(20)).unwrap()),
            kind: (any(3) == 0).then(|| "git.*".to_owned()),
            with_names: any(2) == 0,
            ..Wanted::default()
        };
        let bytes = bed.bytes(wanted).unwrap().1;
        let mut changed = bytes.clone();
        let place = usize::try_from(any(bytes.len() as u64)).unwrap();
        changed[place] ^= 1 << any(8);
        for (kind, bytes) in [("whole", bytes), ("changed", changed)] {
            let path = folder.path().join(format!("{number:03}-{kind}.cfa"));
            fs::write(&path, bytes).unwrap();
            said.push((path.clone(), judged(&path, &Anchors::default()).good));
        }
    }
    let out = Command::new("python3")
        .arg(&script)
        .arg("--all")
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    let theirs: std::collections::HashMap<&str, bool> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(word, name)| (name, word == "good"))
        .collect();
    assert_eq!(said.len(), 1_000);
    for (path, good) in said {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(theirs.get(name), Some(&good), "{name}: {errors}");
        assert_eq!(good, name.contains("whole"), "{name}");
    }
}
