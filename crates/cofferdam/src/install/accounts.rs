//! The appliance's user, its group and the ids of its jobs, in the host's own files.
//!
//! Edits `/etc/passwd` and its like as text, under the lock that the host's own tools take; a
//! static program must not ask the name service. Refuses a user of that name that a person could
//! be. Invariant: lines of others stay byte for byte.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, Mode, OFlags};
use sandbox::IDS_PER_SLOT;
use vocab::Clock;

use super::place::{Place, put};

/// The user's name, and the group's.
pub(crate) const NAME: &str = "cofferdam";

/// System ids are taken from the top, as the host's own tools do.
const SYSTEM_IDS: std::ops::RangeInclusive<u32> = 201..=999;

/// Ids that neither distributions nor systemd hand out; tried in order.
const FIRST_IDS: [u32; 4] = [0x7000_0000, 0x7400_0000, 0x7800_0000, 0x7a00_0000];

/// How long to wait for somebody else's lock, in tries of [`BREATH`].
const TRIES: u32 = 150;
const BREATH: Duration = Duration::from_millis(100);

/// Who the appliance and its jobs are on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// First id of the jobs.
    pub(crate) first_id: u32,
}

/// The account as the files name it; none when it is not there, or not whole.
pub(crate) fn find(place: &Place) -> Option<Account> {
    let passwd = read(place, "passwd").ok()?;
    let line = line_of(&passwd)?;
    let mut numbers = line.split(':').skip(2).map(str::parse);
    let (Some(Ok(uid)), Some(Ok(gid))) = (numbers.next(), numbers.next()) else {
        return None;
    };
    let first_id = range_of(&read(place, "subuid").ok()?)?.0;
    Some(Account { uid, gid, first_id })
}

/// Makes what is missing of the account; `slots` jobs may run at a time.
pub(crate) fn ensure(place: &Place, home: &Path, slots: u32) -> anyhow::Result<Account> {
    let _lock = lock(place)?;
    let passwd = read(place, "passwd")?;
    let group = read(place, "group")?;
    if let Some(line) = line_of(&passwd) {
        refuse_person(line)?;
    }
    let gid = match line_of(&group).and_then(|line| line.split(':').nth(2)?.parse().ok()) {
        Some(gid) => gid,
        None => free_id(&passwd, &group)?,
    };
    add(place, "group", &group, &format!("{NAME}:x:{gid}:"))?;
    if place.at("/etc/gshadow").exists() {
        let gshadow = read(place, "gshadow")?;
        add(place, "gshadow", &gshadow, &format!("{NAME}:!::"))?;
    }
    let uid = match line_of(&passwd).and_then(|line| line.split(':').nth(2)?.parse().ok()) {
        Some(uid) => uid,
        None if !ids(&passwd).any(|id| id == gid) => gid,
        None => free_id(&passwd, &read(place, "group")?)?,
    };
    if place.at("/etc/shadow").exists() {
        let shadow = read(place, "shadow")?;
        add(place, "shadow", &shadow, &format!("{NAME}:!*:::::::"))?;
    }
    let home = home.display();
    let line = format!("{NAME}:x:{uid}:{gid}:Cofferdam:{home}:/usr/sbin/nologin");
    add(place, "passwd", &passwd, &line)?;
    let first_id = ensure_ranges(place, slots)?;
    Ok(Account { uid, gid, first_id })
}

/// Takes the account's lines out of every file.
pub(crate) fn remove(place: &Place) -> anyhow::Result<()> {
    let _lock = lock(place)?;
    for file in ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"] {
        if !place.at(&format!("/etc/{file}")).exists() {
            continue;
        }
        let text = read(place, file)?;
        let kept: String = text
            .split_inclusive('\n')
            .filter(|line| line.split(':').next() != Some(NAME))
            .collect();
        write(place, file, &kept)?;
    }
    Ok(())
}

/// The ranges in `subuid` and `subgid`, the same in both, that overlap nobody's ids.
fn ensure_ranges(place: &Place, slots: u32) -> anyhow::Result<u32> {
    let (uids, gids) = (optional(place, "subuid")?, optional(place, "subgid")?);
    let wanted = slots * IDS_PER_SLOT;
    let enough = |(first, count): (u32, u32)| (count >= wanted).then_some(first);
    let present = range_of(&uids).and_then(enough);
    let etc = place.at("/etc");
    let first = match present {
        Some(first) => first,
        None => FIRST_IDS
            .into_iter()
            .find(|first| sandbox::check_ids(&etc, *first, slots).is_ok())
            .with_context(|| {
                let why = sandbox::check_ids(&etc, FIRST_IDS[0], slots);
                format!(
                    "no ids are free for jobs: {}",
                    why.err().unwrap_or_default()
                )
            })?,
    };
    for (file, text) in [("subuid", &uids), ("subgid", &gids)] {
        let others: String = text
            .split_inclusive('\n')
            .filter(|line| line.split(':').next() != Some(NAME))
            .collect();
        let line = format!("{NAME}:{first}:{wanted}");
        if range_of(text).and_then(enough) != Some(first) {
            add(place, file, &others, &line)?;
        }
    }
    Ok(first)
}

/// First id and count of the account's line.
fn range_of(text: &str) -> Option<(u32, u32)> {
    let mut fields = line_of(text)?.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn line_of(text: &str) -> Option<&str> {
    text.lines()
        .find(|line| line.split(':').next() == Some(NAME))
}

/// A user who can sign in, or root under another name, is not ours to use.
fn refuse_person(line: &str) -> anyhow::Result<()> {
    let fields: Vec<&str> = line.split(':').collect();
    let (uid, shell) = (fields.get(2).unwrap_or(&""), fields.get(6).unwrap_or(&""));
    if *uid == "0" || !(shell.ends_with("/nologin") || shell.ends_with("/false")) {
        bail!(
            "this host has a user {NAME} already who can sign in (id {uid}, shell {shell}); rename \
             that user, then install again"
        );
    }
    Ok(())
}

/// Third fields: ids.
fn ids(text: &str) -> impl Iterator<Item = u32> {
    text.lines()
        .filter_map(|line| line.split(':').nth(2)?.parse().ok())
}

fn free_id(passwd: &str, group: &str) -> anyhow::Result<u32> {
    SYSTEM_IDS
        .rev()
        .find(|id| !ids(passwd).chain(ids(group)).any(|taken| taken == *id))
        .context("no system id from 201 to 999 is free for the user cofferdam")
}

/// Appends a line, unless the account has one.
fn add(place: &Place, file: &str, text: &str, line: &str) -> anyhow::Result<()> {
    if line_of(text).is_some() {
        return Ok(());
    }
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    write(place, file, &format!("{text}{end}{line}\n"))
}

fn read(place: &Place, file: &str) -> anyhow::Result<String> {
    let path = place.at(&format!("/etc/{file}"));
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn optional(place: &Place, file: &str) -> anyhow::Result<String> {
    let there = place.at(&format!("/etc/{file}")).exists();
    if there {
        read(place, file)
    } else {
        Ok(String::new())
    }
}

fn write(place: &Place, file: &str, text: &str) -> anyhow::Result<()> {
    let path = place.at(&format!("/etc/{file}"));
    put(&path, text.as_bytes(), 0o644).map(drop)
}

/// The lock of `lckpwdf`, which `useradd`, `passwd` and their like take; held until dropped.
fn lock(place: &Place) -> anyhow::Result<std::os::fd::OwnedFd> {
    let path = place.at("/etc/.pwd.lock");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .with_context(|| format!("cannot open {}", path.display()))?;
    for _ in 0..TRIES {
        match rustix::fs::fcntl_lock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if !edited_by_others(place) => return Ok(fd),
            Ok(()) | Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => {}
            Err(e) => return Err(e).with_context(|| format!("cannot lock {}", path.display())),
        }
        Clock::sleep(BREATH);
    }
    bail!("another program edits the host's users; let it end, then install again")
}

/// Whether a lock file of the shadow tools names a process that lives.
fn edited_by_others(place: &Place) -> bool {
    ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"]
        .iter()
        .filter_map(|file| fs::read_to_string(place.at(&format!("/etc/{file}.lock"))).ok())
        .filter_map(|text| text.trim_end_matches('\0').trim().parse::<u32>().ok())
        .any(|pid| Path::new(&format!("/proc/{pid}")).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nsys:x:999:999::/:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nsys:x:999:\nother:x:998:";

    fn host(subuid: &str) -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        fs::create_dir(place.at("/etc")).unwrap();
        for (file, text) in [
            ("passwd", PASSWD),
            ("group", GROUP),
            ("shadow", "root:*:1::::::\n"),
            ("subuid", subuid),
            ("subgid", subuid),
        ] {
            fs::write(place.at(&format!("/etc/{file}")), text).unwrap();
        }
        (dir, place)
    }

    fn text(place: &Place, file: &str) -> String {
        fs::read_to_string(place.at(&format!("/etc/{file}"))).unwrap()
    }

    #[test]
    fn the_account_is_made_once_and_removing_it_gives_the_files_back() {
        let (_dir, place) = host("dev:100000:65536\n");
        let home = Path::new("/var/lib/cofferdam");
        let made = ensure(&place, home, 64).unwrap();
        let expected = Account {
            uid: 997,
            gid: 997,
            first_id: 0x7000_0000,
        };
        assert_eq!(made, expected);
        assert_eq!(find(&place), Some(made));
        assert!(text(&place, "passwd").starts_with(PASSWD));
        assert!(text(&place, "subgid").ends_with("cofferdam:1879048192:4194304\n"));
        let before = text(&place, "passwd");
        assert_eq!(ensure(&place, home, 64).unwrap(), made);
        assert_eq!(text(&place, "passwd"), before);
        remove(&place).unwrap();
        assert_eq!(text(&place, "passwd"), PASSWD);
        assert_eq!(text(&place, "subuid"), "dev:100000:65536\n");
        assert_eq!(text(&place, "group"), format!("{GROUP}\n"));
    }

    #[test]
    fn a_half_made_account_is_completed() {
        let (_dir, place) = host("");
        let group = format!("{GROUP}\ncofferdam:x:555:\n");
        fs::write(place.at("/etc/group"), group).unwrap();
        let made = ensure(&place, Path::new("/srv/c"), 64).unwrap();
        assert_eq!((made.uid, made.gid), (555, 555));
    }

    #[test]
    fn ids_that_another_user_has_are_passed_over() {
        let (_dir, place) = host("dev:1879048192:65536\n");
        let made = ensure(&place, Path::new("/srv/c"), 64).unwrap();
        assert_eq!(made.first_id, 0x7400_0000);
        assert!(sandbox::check_ids(&place.at("/etc"), made.first_id, 64).is_ok());
    }

    #[test]
    fn a_person_of_that_name_is_left_alone() {
        let (_dir, place) = host("");
        let passwd = format!("{PASSWD}cofferdam:x:1000:1000::/home/c:/bin/bash\n");
        fs::write(place.at("/etc/passwd"), &passwd).unwrap();
        let refused = ensure(&place, Path::new("/srv/c"), 64).unwrap_err();
        assert!(refused.to_string().contains("can sign in"), "{refused}");
        assert_eq!(text(&place, "passwd"), passwd);
        assert_eq!(text(&place, "group"), GROUP);
    }
}
