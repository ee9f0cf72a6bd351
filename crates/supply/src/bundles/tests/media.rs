//! Media that lie: volumes that are not what was signed, and devices that change their mind.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use audit::Who;
use bundle::Manifest;
use bundle::volume::{FIRST, header};
use testkit::fickle::Fickle;
use testkit::noise;
use vocab::Digest;

use super::site::{Here, Lab};

struct Rig {
    lab: Lab,
    here: Here,
    _data: tempfile::TempDir,
}

fn rig() -> Rig {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    Rig {
        lab,
        here,
        _data: data,
    }
}

impl Rig {
    /// Nothing of earlier tries is kept.
    fn fresh(&self) {
        self.here
            .intake
            .collect(&Who::system(), true, false)
            .unwrap();
    }

    fn code(&self, dir: &Path) -> &'static str {
        self.fresh();
        self.here.code(dir)
    }
}

fn manifest(dir: &Path) -> Manifest {
    Manifest::parse(&fs::read(dir.join("MANIFEST.json")).unwrap()).unwrap()
}

fn volume(dir: &Path, index: usize) -> PathBuf {
    dir.join(&manifest(dir).volumes[index].name)
}

/// Changes bytes of a file and puts them back when dropped.
struct Patched {
    path: PathBuf,
    before: Vec<u8>,
}

impl Patched {
    fn new(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let before = fs::read(path).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
        Self {
            path: path.to_owned(),
            before,
        }
    }
}

impl Drop for Patched {
    fn drop(&mut self) {
        fs::write(&self.path, &self.before).unwrap();
    }
}

/// A header with this change and a checksum that fits again.
fn hostile(name: &str, size: u64, change: impl FnOnce(&mut [u8; 512])) -> [u8; 512] {
    let mut block = header(name, size);
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn t12_volumes_of_two_bundles_do_not_mix() {
    let rig = rig();
    let one = rig.lab.good(1, &[("a", b"1")]);
    let two = rig.lab.good(2, &[("a", b"2")]);
    let name = &manifest(&one).volumes[0].name;
    fs::copy(one.join(name), two.join(name)).unwrap();
    assert_eq!(rig.code(&two), "E_HEADER");
}

#[test]
fn t14_endless_and_huge_files_end_at_once() {
    let rig = rig();
    let dir = rig.lab.good(1, &[("a", b"1")]);
    let volume = volume(&dir, 0);
    let whole = fs::read(&volume).unwrap();
    fs::File::options()
        .write(true)
        .open(&volume)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert_eq!(rig.code(&dir), "E_TAIL");
    fs::remove_file(&volume).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(&volume).status();
    assert!(fifo.unwrap().success());
    assert_eq!(rig.code(&dir), "E_MEDIUM");
    fs::remove_file(&volume).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &volume).unwrap();
    assert_eq!(rig.code(&dir), "E_MEDIUM");
    fs::remove_file(&volume).unwrap();
    fs::write(&volume, whole).unwrap();
    let manifest = dir.join("MANIFEST.json");
    let _long = Patched::new(&manifest, |bytes| bytes.resize(65 << 20, b' '));
    assert_eq!(rig.code(&dir), "E_TOO_LARGE");
    assert_eq!(rig.here.active(), None);
}

#[test]
fn t15_what_the_manifest_does_not_name_is_an_error_in_a_volume_and_unread_beside_it() {
    let rig = rig();
    let dir = rig.lab.good(1, &[("a", b"1")]);
    let path = volume(&dir, 0);
    for junk in [1usize, 511, 512, 10_240] {
        let _more = Patched::new(&path, |bytes| bytes.extend(vec![0; junk]));
        assert_eq!(rig.code(&dir), "E_TAIL", "{junk}");
    }
    let end = fs::metadata(&path).unwrap().len();
    // A whole further entry where only zeros may be.
    let _entry = Patched::new(&path, |bytes| {
        let at = usize::try_from(end).unwrap() - 1024;
        bytes[at..at + 512].copy_from_slice(&header("extra", 0));
    });
    assert_eq!(rig.code(&dir), "E_TAIL");
    drop(_entry);
    fs::write(dir.join("autorun.inf"), "x").unwrap();
    let plan = rig.here.intake.plan(&dir, false).unwrap();
    assert_eq!(plan.strays, ["autorun.inf"]);
    assert_eq!(rig.code(&dir), "ok");
}

#[test]
fn t21_t22_only_plain_entries_with_the_one_legal_header_are_taken() {
    let rig = rig();
    let dir = rig.lab.good(1, &[("a", b"1")]);
    let blob = format!("blobs/sha256/{}", Digest::of(b"1").hex());
    let path = volume(&dir, 0);
    let at = usize::try_from(FIRST).unwrap();
    let mut tries: Vec<(String, [u8; 512])> = Vec::new();
    for kind in *b"123467xgLKSVMDAN\0" {
        let block = hostile(&blob, 1, |b| b[156] = kind);
        tries.push((format!("type {:?}", char::from(kind)), block));
    }
    tries.push((
        "link".to_owned(),
        hostile(&blob, 1, |b| b[157..168].copy_from_slice(b"/etc/passwd")),
    ));
    tries.push((
        "base-256 size".to_owned(),
        hostile(&blob, 1, |b| {
            b[124..136].fill(0);
            (b[124], b[135]) = (0x80, 1);
        }),
    ));
    tries.push((
        "sparse".to_owned(),
        hostile(&blob, 1, |b| b[257..265].copy_from_slice(b"ustar  \0")),
    ));
    tries.push((
        "prefix".to_owned(),
        hostile(&blob, 1, |b| b[345..350].copy_from_slice(b"../..")),
    ));
    tries.push(("other size".to_owned(), header(&blob, 2)));
    tries.push(("other name".to_owned(), header("blobs/sha256/x", 1)));
    tries.push((
        "setuid".to_owned(),
        hostile(&blob, 1, |b| b[100..107].copy_from_slice(b"0004755")),
    ));
    for (what, block) in tries {
        let _patched = Patched::new(&path, |b| b[at..at + 512].copy_from_slice(&block));
        assert_eq!(rig.code(&dir), "E_HEADER", "{what}");
    }
    assert_eq!(
        rig.code(&dir),
        "ok",
        "the control: the header that is legal"
    );
}

#[test]
fn t23_no_byte_of_a_header_can_be_another() {
    let rig = rig();
    let dir = rig.lab.good(1, &[("a", b"1")]);
    let path = volume(&dir, 0);
    // The label's header, its text, the blob's header: each byte of them, one after the other.
    let label_end = 512 + 120;
    for at in (0..label_end).chain(1024..1536) {
        let _patched = Patched::new(&path, |bytes| bytes[at] ^= 0x20);
        assert_eq!(rig.code(&dir), "E_HEADER", "byte {at}");
    }
}

#[test]
fn t24_entries_are_in_the_one_order_and_each_is_there_once() {
    let rig = rig();
    let dir = rig.lab.good(1, &[("a", b"1"), ("b", b"2")]);
    let path = volume(&dir, 0);
    let at = usize::try_from(FIRST).unwrap();
    let twice = Patched::new(&path, |b| b.copy_within(at..at + 1024, at + 1024));
    assert_eq!(rig.code(&dir), "E_HEADER");
    drop(twice);
    let _swapped = Patched::new(&path, |b| {
        let first = b[at..at + 1024].to_vec();
        b.copy_within(at + 1024..at + 2048, at);
        b[at + 1024..at + 2048].copy_from_slice(&first);
    });
    assert_eq!(rig.code(&dir), "E_HEADER");
}

#[test]
fn t30_t31_a_device_that_answers_differently_the_second_time_is_asked_once() {
    let rig = rig();
    let big = noise(3, 3_000_000);
    let files: &[(&str, &[u8])] = &[("a", b"1"), ("big", &big), ("c", &big[..70_000])];
    let mut lab = Lab::new();
    lab.limit = 4_000_000_000;
    let data = tempfile::tempdir().unwrap();
    let here = Here::trusting(data.path(), &lab);
    let dir = lab.good(1, files);
    let mount = tempfile::tempdir().unwrap();
    let medium = Fickle::mount(mount.path(), &dir).unwrap();
    medium.flip_second_reads();
    assert_eq!(here.code(mount.path()), "ok");
    assert!(here.serves(files));
    assert_eq!(
        medium.most_often("vol-"),
        1,
        "each byte of the payload is read once"
    );
    assert_eq!(medium.most_often("MANIFEST.json"), 1);
    // The control: the device does change its mind.
    let again = fs::read(mount.path().join("vol-0001-of-0001.tar")).unwrap();
    assert_ne!(again, fs::read(dir.join("vol-0001-of-0001.tar")).unwrap());
    drop(rig);
}

#[test]
fn t38_each_flipped_bit_is_found_and_the_need_slip_names_its_blob_only() {
    let rig = rig();
    let (one, two) = (noise(1, 9000), noise(2, 9000));
    let dir = rig.lab.good(1, &[("one", &one), ("two", &two)]);
    let parsed = manifest(&dir);
    let of_two = parsed
        .blobs
        .iter()
        .find(|b| b.d == Digest::of(&two))
        .unwrap();
    let (index, offset) = of_two.at[0];
    let path = volume(&dir, index as usize - 1);
    for bit in (0..9000 * 8).step_by(797) {
        let _flipped = Patched::new(&path, |bytes| {
            let at = usize::try_from(offset).unwrap() + 512 + bit / 8;
            bytes[at] ^= 1 << (bit % 8);
        });
        rig.fresh();
        let error = rig.here.import(&dir).unwrap_err();
        assert_eq!(error.code(), "E_HASH", "bit {bit}");
        let words = error.to_string();
        assert!(words.contains(&of_two.d.to_string()), "{words}");
        assert!(
            words.contains(&format!("offset {}", offset + 512)),
            "{words}"
        );
    }
    let slip = rig.here.intake.need(&Who::system()).unwrap();
    let (need, _) = bundle::slip::open::<bundle::slip::Need>(slip.text.as_bytes(), None).unwrap();
    assert_eq!(need.damaged, [of_two.d]);
    assert_eq!(rig.code(&dir), "ok");
    let slip = rig.here.intake.need(&Who::system()).unwrap();
    let (need, _) = bundle::slip::open::<bundle::slip::Need>(slip.text.as_bytes(), None).unwrap();
    assert!(need.damaged.is_empty(), "it came");
}

#[test]
fn t40_volumes_come_in_any_order_over_several_sticks_and_none_is_mistaken() {
    let rig = rig();
    let blobs: Vec<Vec<u8>> = (0..6).map(|n| noise(n, 9000)).collect();
    let names: Vec<String> = (0..6).map(|n| format!("f{n}")).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&blobs)
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let dir = rig.lab.good(1, &files);
    let parsed = manifest(&dir);
    assert!(parsed.volumes.len() >= 3);
    // Each stick has the signed part and one volume; the last volume comes first.
    let mut last = "";
    for (number, volume) in parsed.volumes.iter().enumerate().rev() {
        let stick = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if !name.starts_with("vol-") || name == volume.name {
                fs::copy(entry.path(), stick.path().join(&name)).unwrap();
            }
        }
        // A copy with a name that no volume has is nobody's.
        fs::write(stick.path().join("vol (1).tar"), "x").unwrap();
        let done = rig.here.import(stick.path());
        last = match &done {
            Ok(_) => "ok",
            Err(error) => {
                let words = error.to_string();
                assert!(!words.contains(&volume.name), "{words}");
                if number > 0 {
                    assert!(words.contains(&parsed.volumes[0].name), "{words}");
                }
                error.code()
            }
        };
        assert_eq!(last, if number == 0 { "ok" } else { "E_NO_VOLUME" });
    }
    assert_eq!(last, "ok");
    assert!(rig.here.serves(&files));
}

#[test]
fn t40_a_volume_of_another_split_is_refused() {
    let mut lab = Lab::new();
    let data = tempfile::tempdir().unwrap();
    let here = Here::trusting(data.path(), &lab);
    let (one, two) = (noise(1, 9000), noise(2, 9000));
    let files: &[(&str, &[u8])] = &[("one", &one), ("two", &two)];
    lab.limit = 20_480;
    let split = lab.good(1, files);
    let kept = fs::read(volume(&split, 0)).unwrap();
    lab.limit = 4_000_000_000;
    fs::remove_dir_all(&split).unwrap();
    let whole = lab.good(1, files);
    let path = volume(&whole, 0);
    let size = fs::metadata(&path).unwrap().len();
    fs::write(&path, &kept).unwrap();
    assert_eq!(here.code(&whole), "E_TAIL");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(&[0; 512], size - 512).unwrap();
    assert_eq!(here.code(&whole), "E_HEADER");
}

#[test]
fn t41_a_volume_that_was_cut_anywhere_is_refused() {
    let rig = rig();
    let dir = rig.lab.good(1, &[("a", &noise(1, 5000))]);
    let path = volume(&dir, 0);
    let size = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    for edge in (0..=size).step_by(512) {
        for cut in [edge.saturating_sub(1), edge, edge + 1] {
            if cut < size {
                let _cut = Patched::new(&path, |bytes| bytes.truncate(cut));
                assert_eq!(rig.code(&dir), "E_TAIL", "cut at {cut}");
            }
        }
    }
    assert_eq!(rig.code(&dir), "ok");
}
