//! What never ends, promises too much or grows in memory is refused: no pipe is waited for, and a
//! child with little memory comes to the same verdict.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::Command;

use super::forge::{part, refused_at};
use super::*;

/// Address space of the child in KiB, the program and its stacks included.
const LITTLE_KIB: u64 = 384 << 10;
/// Names the export for the child, and what it does with it.
const ASKED: &str = "COFFERDAM_TEST_EXPORT";

/// Runs [`with_little_memory`] in a child; whether it ended well, and what it said.
fn in_little_memory(what: &str, path: &Path) -> (bool, String) {
    let own = "export::tests::endless::with_little_memory";
    let out = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -v {LITTLE_KIB} && exec \"$@\""))
        .arg("sh")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", own])
        .env(ASKED, format!("{what} {}", path.display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    (out.status.success(), text)
}

/// Does what it is asked to in a child; asked for nothing, it judges an export of its own.
#[test]
fn with_little_memory() {
    let Ok(asked) = std::env::var(ASKED) else {
        let bed = bed(3);
        let verdict = judged(&bed.export("g.cfa", Wanted::default()), &bed.anchors());
        return assert!(verdict.good, "{}", words(&verdict));
    };
    let (what, path) = asked.split_once(' ').unwrap();
    match what {
        "verify" => println!(
            "said: {}",
            words(&judged(Path::new(path), &Anchors::default()))
        ),
        // The control: the same file, read as a program would that knows no bounds.
        "read" => println!("{} bytes were read", fs::read(path).unwrap().len()),
        // The control: all entries of an export, taken apart and held.
        "hold" => {
            let bytes = fs::read(path).unwrap();
            let lines = bytes.split(|b| *b == b'\n');
            let held: Vec<serde_json::Value> = lines
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect();
            println!("{} entries are held", held.len());
        }
        _ => panic!("{what} is nothing that it does"),
    }
}

#[test]
fn what_is_no_file_is_refused_and_no_pipe_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.cfa");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let link = dir.path().join("link.cfa");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    for path in ["/dev/zero", "/dev/urandom", "/"].map(Path::new) {
        let said = verify(path, &Anchors::default()).unwrap_err().to_string();
        assert!(
            said.contains("is no regular file; copy the export"),
            "{said}"
        );
    }
    // Nobody ever writes into these: to open one is to wait for ever.
    for path in [&pipe, &link] {
        let said = verify(path, &Anchors::default()).unwrap_err().to_string();
        assert!(
            said.contains("is no regular file; copy the export"),
            "{said}"
        );
        let said = anchors_of(path).unwrap_err().to_string();
        assert!(
            said.contains(&format!("{} is no regular file", path.display())),
            "{said}"
        );
    }
    let long = PathBuf::from("a/".repeat(512 << 10));
    assert!(verify(&long, &Anchors::default()).is_err());
}

#[test]
fn what_promises_more_than_there_is_room_for_is_refused_with_little_memory() {
    let bed = bed(3);
    let good = bed.export("g.cfa", Wanted::default());
    let (ended, said) = in_little_memory("verify", &good);
    assert!(ended && said.contains("said: \n"), "the control: {said}");
    let (ended, said) = in_little_memory("read", &good);
    assert!(
        ended && said.contains("bytes were read"),
        "the control: {said}"
    );

    // A hole of a tebibyte, and a file that begins well and then has 8 GiB of nothing as its key.
    let hole = bed.file("hole.cfa");
    fs::File::create(&hole).unwrap().set_len(1 << 40).unwrap();
    let huge = bed.file("huge.cfa");
    let size = 0o77_777_777_777;
    let mut file = fs::File::create(&huge).unwrap();
    file.write_all(&header_of("log.key", size)).unwrap();
    file.seek(SeekFrom::Start((512 + size).next_multiple_of(512) + 1023))
        .unwrap();
    file.write_all(&[0]).unwrap();
    for (path, what) in [
        (&hole, "@0: this should be its end, and it is not"),
        (
            &huge,
            "log.key@512: byte 512 of the export: log.key has 8589934591 bytes, and at most 65536",
        ),
    ] {
        let (ended, said) = in_little_memory("verify", path);
        assert!(ended && said.contains(what), "{said}");
        let (ended, said) = in_little_memory("read", path);
        assert!(!ended, "without bounds it is read: {said}");
    }
}

/// The header of a file of that size, whose bytes nobody writes.
fn header_of(name: &str, size: u64) -> [u8; 512] {
    let mut writer = Writer::new(Vec::new());
    writer.file(name, b"").unwrap();
    let mut block: [u8; 512] = writer.finish().unwrap()[..512].try_into().unwrap();
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// An export by a log of its own whose entries are small in the file and large in memory.
fn swollen(bed: &Bed) -> PathBuf {
    let zeros = "0,".repeat(30_000);
    bed.store
        .write::<_, Error>(|tx| {
            for seq in 0..256 {
                let line = format!(r#"{{"d":[{zeros}0],"seq":{seq}}}"#);
                let leaf = hex::encode(evidence::tree::leaf_hash(line.as_bytes()));
                tx.execute_batch(&format!(
                    "UPDATE audit_entry SET line = '{line}', leaf = x'{leaf}' WHERE seq = {seq}"
                ))?;
            }
            Ok(())
        })
        .unwrap();
    // One file of events, as large as is read at most.
    remade(bed, Wanted::default(), |_, files| {
        let events: Vec<u8> = files
            .iter()
            .filter(|(name, _)| name.starts_with("events/"))
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        files.retain(|(name, _)| !name.starts_with("events/"));
        files.push(("events/000000.jsonl".to_owned(), events));
    })
}

#[test]
fn entries_that_swell_in_memory_are_judged_with_little_of_it() {
    let bed = bed(256);
    let path = swollen(&bed);
    let (ended, said) = in_little_memory("verify", &path);
    assert!(ended && said.contains("said: \n"), "they are sound: {said}");
    let (ended, said) = in_little_memory("hold", &path);
    assert!(!ended, "the control, which holds them all: {said}");
}

#[test]
fn a_line_longer_than_any_entry_is_refused_where_it_begins() {
    let bed = bed(3);
    let path = remade(&bed, Wanted::default(), |_, files| {
        let events = part(files, "events/000000.jsonl");
        events.splice(0..0, [&b"[".repeat(1 << 20)[..], b"\n"].concat());
    });
    let what = "this is no entry; entry 0 or a later one should be here";
    refused_at(&path, &bed.anchors(), "events/000000.jsonl", what);
}

#[test]
fn a_manifest_with_a_name_of_a_mebibyte_is_refused_in_few_words() {
    let bed = bed(3);
    for (name, shown) in [
        ("a/".repeat(512 << 10), "\"a/a/a/"),
        ("\u{1b}[2Jx".to_owned(), r#""\u{1b}[2Jx""#),
    ] {
        let path = remade(&bed, Wanted::default(), |manifest, _| {
            let facts = FileFacts {
                size: 0,
                sha256: String::new(),
            };
            manifest.files.insert(name.clone(), facts);
        });
        let what = "names a file as none can be called: ";
        refused_at(
            &path,
            &bed.anchors(),
            "MANIFEST.json",
            &format!("{what}{shown}"),
        );
        let verdict = judged(&path, &bed.anchors());
        assert!(words(&verdict).len() < 300);
    }
}
