//! What a cut keeps and what it takes.

use super::*;

const MAKER: Maker = Maker {
    uid: 0,
    gid: 0,
    mode: 0o644,
};

fn file(disk: &mut Disk, name: &str) -> Number {
    disk.make(ROOT, OsStr::new(name), FileType::RegularFile, MAKER)
        .unwrap()
        .ino
        .0
}

fn content(disk: &Disk, name: &str) -> Option<Vec<u8>> {
    let found = disk.lookup(ROOT, OsStr::new(name)).ok()?;
    Some(disk.read(found.ino.0, 0, u32::MAX).unwrap().to_vec())
}

#[test]
fn a_named_file_that_was_never_synced_is_there_and_empty() {
    let mut disk = Disk::empty();
    let number = file(&mut disk, "a");
    disk.write(number, 0, b"text").unwrap();
    disk.sync_names(ROOT).unwrap();
    disk.power_off();
    disk.power_up(Keep::Nothing);
    assert_eq!(content(&disk, "a"), Some(Vec::new()));
}

#[test]
fn content_and_name_both_synced_survive_and_later_writes_do_not() {
    let mut disk = Disk::empty();
    let number = file(&mut disk, "a");
    disk.write(number, 0, b"text").unwrap();
    disk.sync_content(number).unwrap();
    disk.sync_names(ROOT).unwrap();
    disk.write(number, 0, b"TEXT").unwrap();
    disk.power_up(Keep::Nothing);
    assert_eq!(content(&disk, "a"), Some(b"text".to_vec()));
}

#[test]
fn the_cut_comes_at_the_counted_change_and_everything_fails_after_it() {
    let mut disk = Disk::empty();
    let number = file(&mut disk, "a");
    disk.cut_after(1);
    disk.write(number, 0, b"1").unwrap();
    assert!(disk.write(number, 0, b"2").is_err());
    assert!(disk.is_off());
    assert!(disk.read(number, 0, 1).is_err());
    disk.power_up(Keep::Nothing);
    assert_eq!(content(&disk, "a"), None);
}

#[test]
fn the_same_seed_keeps_the_same() {
    let run = |seed| {
        let mut disk = Disk::empty();
        for index in 0..20 {
            let number = file(&mut disk, &format!("{index}"));
            disk.write(number, 0, b"x").unwrap();
        }
        disk.power_up(Keep::Some(seed));
        disk.list(ROOT).unwrap().len()
    };
    assert_eq!(run(7), run(7));
    assert!((0..20).map(run).any(|count| count > 0));
}
