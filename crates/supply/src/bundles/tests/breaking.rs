//! What breaks off in the middle: pulled sticks, power cuts, full disks, other users' fingers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use audit::Who;
use testkit::fickle::Fickle;
use testkit::forgetful::{Forgetful, Keep};
use testkit::noise;
use vocab::{Digest, Entropy};

use super::site::{Here, Lab, NOW_MS};

fn rounds(usual: u64) -> u64 {
    std::env::var("COFFERDAM_ROUNDS").map_or(usual, |n| n.parse().unwrap())
}

fn chance(entropy: &Entropy, below: u64) -> u64 {
    u64::from_le_bytes(entropy.bytes()) % below
}

#[test]
fn t35_a_stick_that_is_pulled_again_and_again_is_read_on_where_it_was() {
    let mut lab = Lab::new();
    lab.limit = 4_000_000_000;
    let blobs: Vec<Vec<u8>> = (0..40).map(|n| noise(n, 100_000)).collect();
    let names: Vec<String> = (0..40).map(|n| format!("f{n:02}")).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&blobs)
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let dir = lab.good(1, &files);
    let size = fs::metadata(dir.join("vol-0001-of-0001.tar"))
        .unwrap()
        .len();
    let entropy = Entropy::scripted(35);
    for round in 0..rounds(8) {
        let data = tempfile::tempdir().unwrap();
        let mut here = Here::trusting(data.path(), &lab);
        let mount = tempfile::tempdir().unwrap();
        let medium = Fickle::mount(mount.path(), &dir).unwrap();
        let mut pulls = 0;
        loop {
            let signed = 40_000;
            medium.pull_after(signed + chance(&entropy, size / 3));
            match here.import(mount.path()) {
                Ok(_) => break,
                Err(error) => {
                    assert_eq!(error.code(), "E_MEDIUM", "{error}");
                    assert!(error.to_string().contains("plug"), "{error}");
                    assert_eq!(here.active(), None, "nothing is visible before the commit");
                    here.fsck();
                }
            }
            pulls += 1;
            assert!(pulls < 200, "it never ends");
            if pulls % 2 == 0 {
                // The process dies, too.
                here = here.killed(NOW_MS);
            }
        }
        medium.plug();
        assert!(here.serves(&files));
        let again = medium.served().saturating_sub(size);
        // At most one blob, one buffer and the headers passed over are read again after a pull.
        let each = 100_000 + (1 << 20) + 512 * 42 + 60_000;
        assert!(
            again <= (pulls + 1) * each,
            "round {round}: {again} in {pulls} pulls"
        );
    }
}

#[test]
fn t35_a_large_blob_is_read_on_within_its_chunk() {
    const CHUNK: u64 = 64 << 20;
    let mut lab = Lab::new();
    lab.limit = 4_000_000_000;
    let big = noise(1, usize::try_from(5 * CHUNK / 2).unwrap());
    let files: &[(&str, &[u8])] = &[("big", &big)];
    let dir = lab.good(1, files);
    let (data, mount) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let medium = Fickle::mount(mount.path(), &dir).unwrap();
    let size = fs::metadata(dir.join("vol-0001-of-0001.tar"))
        .unwrap()
        .len();
    medium.pull_after(3 * CHUNK / 2);
    assert_eq!(here.code(mount.path()), "E_MEDIUM");
    let here = here.killed(NOW_MS);
    crate::sweep(&here.store).unwrap();
    medium.plug();
    assert_eq!(here.code(mount.path()), "ok");
    assert!(here.serves(files));
    let again = medium.served() - size;
    assert!(again <= 2 << 20, "{again} bytes were read again");

    // Damage in one chunk of a stick names that chunk; the others need not be read again.
    let data = tempfile::tempdir().unwrap();
    let here = Here::trusting(data.path(), &lab);
    let path = dir.join("vol-0001-of-0001.tar");
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[1536 + usize::try_from(CHUNK).unwrap() + 7] ^= 1;
    fs::write(&path, &bad).unwrap();
    let error = here.import(&dir).unwrap_err();
    assert_eq!(error.code(), "E_HASH");
    assert!(error.to_string().contains("chunk 1 of 3"), "{error}");
    fs::write(&path, &good).unwrap();
    let mount = tempfile::tempdir().unwrap();
    let medium = Fickle::mount(mount.path(), &dir).unwrap();
    assert_eq!(here.code(mount.path()), "ok");
    assert!(here.serves(files));
    assert!(medium.served() < CHUNK + (4 << 20), "{}", medium.served());
}

#[test]
fn what_rotted_of_a_half_read_blob_is_read_again_and_the_stick_is_not_blamed() {
    let mut lab = Lab::new();
    lab.limit = 4_000_000_000;
    let big = noise(1, 12 << 20);
    let files: &[(&str, &[u8])] = &[("big", &big)];
    let dir = lab.good(1, files);
    let size = fs::metadata(dir.join("vol-0001-of-0001.tar"))
        .unwrap()
        .len();
    for (rots, least, most) in [(false, 0, 2 << 20), (true, 4 << 20, 13 << 20)] {
        let (data, mount) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let here = Here::trusting(data.path(), &lab);
        let medium = Fickle::mount(mount.path(), &dir).unwrap();
        medium.pull_after(8 << 20);
        assert_eq!(here.code(mount.path()), "E_MEDIUM");
        let here = here.killed(NOW_MS);
        crate::sweep(&here.store).unwrap();
        let name = format!("blobs/staging/{}.part", Digest::of(&big).hex());
        let part = data.path().join(name);
        let mut bytes = fs::read(&part).unwrap();
        assert!(bytes.len() > 4 << 20, "{} bytes were kept", bytes.len());
        assert_eq!(bytes, big[..bytes.len()]);
        if rots {
            bytes[3 << 20] ^= 1;
            fs::write(&part, &bytes).unwrap();
        }
        medium.plug();
        assert_eq!(here.code(mount.path()), "ok");
        assert!(here.serves(files));
        let again = medium.served() - size;
        assert!((least..=most).contains(&again), "{rots}: {again}");
    }
}

#[test]
fn an_import_can_be_cancelled_and_goes_on_later() {
    let mut lab = Lab::new();
    lab.limit = 4_000_000_000;
    let big = noise(1, 8 << 20);
    let files: &[(&str, &[u8])] = &[("a", b"1"), ("big", &big)];
    let dir = lab.good(1, files);
    let (data, mount) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let medium = Fickle::mount(mount.path(), &dir).unwrap();
    medium.hold_after(4 << 20);
    let begun = here
        .intake
        .begin(mount.path(), &Who::system(), false)
        .unwrap();
    let progress = begun.progress();
    let running = std::thread::spawn(move || begun.run());
    medium.wait_held();
    progress.cancel();
    medium.release();
    let ended = running.join().unwrap().unwrap_err();
    assert_eq!(ended.code(), "E_CANCELLED");
    assert_eq!(here.active(), None);
    assert_eq!(here.code(&dir), "ok");
    assert!(here.serves(files));
}

#[test]
fn t36_after_a_power_cut_the_old_or_the_new_generation_is_there_whole() {
    let lab = Lab::new();
    let files: Vec<(String, Vec<u8>)> =
        (0..12).map(|n| (format!("f{n}"), noise(n, 6000))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    let (old, new) = (lab.good(1, &files[..6]), lab.good(2, &files));
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Forgetful::mount(folder.path()).unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let here = Here::trusting(&data, &lab);
    assert_eq!(here.code(&old), "ok");
    drop(here);
    disk.settle();
    let entropy = Entropy::scripted(36);
    let (mut olds, mut news) = (0, 0);
    for round in 0..rounds(40) {
        let here = Here::at(&data, NOW_MS);
        disk.cut_after(chance(&entropy, 160));
        let ended = here.import(&new);
        let cut = disk.is_off();
        assert!(cut || ended.is_ok(), "round {round}: {ended:?}");
        disk.cut_now();
        drop(here);
        disk.power_up(if round % 2 == 0 {
            Keep::Nothing
        } else {
            Keep::Some(round)
        })
        .unwrap();
        let here = Here::at(&data, NOW_MS);
        here.fsck();
        if here.serves(&files) {
            news += 1;
            // Back to the old one for the next round.
            here.intake.undo(&Who::system(), false).unwrap();
            here.intake.collect(&Who::system(), true, false).unwrap();
        } else {
            assert!(
                here.serves(&files[..6]),
                "round {round}: neither old nor new"
            );
            olds += 1;
        }
        drop(here);
        disk.settle();
    }
    assert!(
        olds > 0 && news > 0,
        "{olds} old, {news} new: the cuts tell nothing"
    );
}

/// A small file system in memory.
struct Small(tempfile::TempDir);

impl Small {
    fn new(mib: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.path().join("filler")).unwrap();
        let block = vec![1u8; 1 << 20];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        let mut last = fs::File::create(self.path().join("filler2")).unwrap();
        while std::io::Write::write_all(&mut last, &[1; 512]).is_ok() {}
    }

    fn unfill(&self) {
        for name in ["filler", "filler2"] {
            fs::remove_file(self.path().join(name)).unwrap();
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let gone = rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::DETACH);
        assert!(gone.is_ok());
    }
}

#[test]
fn t37_a_full_disk_is_told_beforehand_or_keeps_the_progress_and_is_freed_on_demand() {
    let mut lab = Lab::new();
    lab.limit = 4_000_000_000;
    let (old, new) = (noise(1, 4 << 20), noise(2, 8 << 20));
    let first = lab.good(1, &[("old", &old)]);
    let mut draft = Lab::draft(2);
    draft.removes = vec!["file:old".to_owned()];
    let second = lab.bundle(draft, &[("a", b"1"), ("new", &new)]);

    let tiny = Small::new(200);
    let here = Here::trusting(tiny.path(), &lab);
    let refused = here.import(&first).unwrap_err();
    assert_eq!(refused.code(), "E_SPACE");
    assert!(refused.to_string().contains("4194304"), "{refused}");
    drop(here);

    let small = Small::new(330);
    let here = Here::trusting(small.path(), &lab);
    assert_eq!(here.code(&first), "ok");
    // It fills up while the second bundle is being read.
    let mount = tempfile::tempdir().unwrap();
    let medium = Fickle::mount(mount.path(), &second).unwrap();
    medium.hold_after(3 << 20);
    let begun = here
        .intake
        .begin(mount.path(), &Who::system(), false)
        .unwrap();
    let running = std::thread::spawn(move || begun.run());
    medium.wait_held();
    small.fill();
    medium.release();
    let ended = running.join().unwrap().unwrap_err();
    assert_eq!(ended.code(), "E_SPACE", "{ended}");
    here.fsck();
    assert!(
        here.serves(&[("old", &old)]),
        "what is served is what it was"
    );
    small.unfill();
    assert_eq!(here.code(&second), "ok");
    assert!(here.serves(&[("a", b"1"), ("new", &new)]));

    // Three more generations, so that the first is not kept; then the disk is full to the brim.
    for seq in 3..6 {
        let word = noise(seq, 1000);
        let mut draft = Lab::draft(seq);
        draft.replaces.insert("file:a".to_owned(), "*".to_owned());
        assert_eq!(
            here.code(&lab.bundle(draft, &[("a", &word), ("new", &new)])),
            "ok"
        );
    }
    small.fill();
    let gone = here.intake.collect(&Who::system(), false, false).unwrap();
    assert!(gone.bytes >= 4 << 20, "{gone:?}");
    assert!(here.told().contains(&"gc.run".to_owned()));
    here.fsck();
}

#[test]
fn t32_no_other_user_of_the_machine_reaches_what_is_on_its_way_in() {
    let mut lab = Lab::new();
    lab.limit = 4_000_000_000;
    let blobs: Vec<Vec<u8>> = (0..30).map(|n| noise(n, 200_000)).collect();
    let names: Vec<String> = (0..30).map(|n| format!("f{n}")).collect();
    let mut files: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&blobs)
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let big = noise(99, (64 << 20) + 5);
    files.push(("big", &big));
    let dir = lab.good(1, &files);
    let data = tempfile::tempdir().unwrap();
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let here = Here::trusting(data.path(), &lab);
    let attack = |places: &str| {
        let script = format!(
            "n=0; while [ ! -e {stop} ]; do for f in {places}; do \
             if printf x 2>/dev/null >> \"$f\"; then n=$((n+1)); fi; done; done; echo $n",
            stop = data.path().join("stop").display(),
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).uid(65_534).gid(65_534);
        shell.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let base = data.path().join("blobs");
    let places = format!("{0}/tmp/* {0}/staging/*", base.display());
    let writer = attack(&places);
    assert_eq!(here.code(&dir), "ok");
    fs::write(data.path().join("stop"), "").unwrap();
    let said = writer.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&said).trim(), "0", "somebody wrote");
    assert!(here.serves(&files));
    assert_eq!(fs::metadata(base.join("tmp")).unwrap().mode() & 0o077, 0);

    // The control: where the folder is open to all and the file too, the same shell gets in.
    fs::remove_file(data.path().join("stop")).unwrap();
    let open = data.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::write(open.join("blob"), "").unwrap();
    for path in [&open, &open.join("blob")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let writer = attack(&format!("{}/*", open.display()));
    while fs::metadata(open.join("blob")).unwrap().len() == 0 {
        std::thread::yield_now();
    }
    fs::write(data.path().join("stop"), "").unwrap();
    let said = writer.wait_with_output().unwrap().stdout;
    assert_ne!(String::from_utf8_lossy(&said).trim(), "0");
}
