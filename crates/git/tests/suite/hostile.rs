//! Pushes and requests that no honest client makes, and many clients at once.

use std::io::Write as _;

use gix::ObjectId;
use gix::hash::Kind as HashKind;
use gix::objs::Kind;

use crate::support::{self, Result, Site, git, pkt, post};

const ZERO: &str = "0000000000000000000000000000000000000000";

fn hash(kind: Kind, data: &[u8]) -> Result<ObjectId> {
    Ok(gix::objs::compute_hash(HashKind::Sha1, kind, data)?)
}

fn deflate(data: &[u8]) -> Result<Vec<u8>> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(data)?;
    Ok(out.finish()?)
}

/// An entry's header: kind number and size.
fn entry_head(kind: u8, mut size: u64) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = (kind << 4) | u8::try_from(size & 15)?;
    size >>= 4;
    while size > 0 {
        head.push(byte | 0x80);
        byte = u8::try_from(size & 0x7f)?;
        size >>= 7;
    }
    head.push(byte);
    Ok(head)
}

fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 3,
        Kind::Tag => 4,
    }
}

/// A pack of ready-made entries.
fn pack_of_entries(entries: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend_from_slice(&u32::try_from(entries.len())?.to_be_bytes());
    for entry in entries {
        pack.extend_from_slice(entry);
    }
    let mut hasher = gix::hash::hasher(HashKind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize()?.as_slice());
    Ok(pack)
}

fn pack_of(objects: &[(Kind, &[u8])]) -> Result<Vec<u8>> {
    let entries: Result<Vec<_>> = objects
        .iter()
        .map(|(kind, data)| {
            let mut entry = entry_head(number(*kind), data.len() as u64)?;
            entry.extend(deflate(data)?);
            Ok(entry)
        })
        .collect();
    pack_of_entries(&entries?)
}

fn tree_of(entries: &[(&str, &str, ObjectId)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (mode, name, id) in entries {
        data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        data.extend_from_slice(id.as_slice());
    }
    data
}

fn commit_of(tree: ObjectId, parents: &[ObjectId]) -> Vec<u8> {
    let mut text = format!("tree {tree}\n");
    for parent in parents {
        text.push_str(&format!("parent {parent}\n"));
    }
    text.push_str("author A <a@x> 1700000000 +0000\ncommitter A <a@x> 1700000000 +0000\n\nm\n");
    text.into_bytes()
}

/// Sends commands and a pack; what the server says.
pub(crate) fn push(site: &Site, commands: &[(&str, &str, &str)], pack: &[u8]) -> Result<String> {
    let mut body = Vec::new();
    for (nth, (old, new, name)) in commands.iter().enumerate() {
        let caps = if nth == 0 {
            "\0report-status side-band-64k"
        } else {
            ""
        };
        body.extend(pkt(&format!("{old} {new} {name}{caps}")));
    }
    body.extend_from_slice(b"0000");
    body.extend_from_slice(pack);
    Ok(String::from_utf8_lossy(&post(site, "git-receive-pack", &body)?).into_owned())
}

/// The three objects of a one-file history.
struct Small {
    blob: &'static [u8],
    tree: Vec<u8>,
    commit: Vec<u8>,
    tip: ObjectId,
}

fn small() -> Result<Small> {
    let blob = b"contents\n";
    let tree = tree_of(&[("100644", "file", hash(Kind::Blob, blob)?)]);
    let commit = commit_of(hash(Kind::Tree, &tree)?, &[]);
    let tip = hash(Kind::Commit, &commit)?;
    Ok(Small {
        blob,
        tree,
        commit,
        tip,
    })
}

impl Small {
    fn pack(&self) -> Result<Vec<u8>> {
        pack_of(&[
            (Kind::Commit, &self.commit),
            (Kind::Tree, &self.tree),
            (Kind::Blob, self.blob),
        ])
    }
}

#[test]
fn a_pack_made_by_hand_is_taken() -> Result {
    let site = Site::new()?;
    let small = small()?;
    let said = push(
        &site,
        &[(ZERO, &small.tip.to_string(), "refs/heads/main")],
        &small.pack()?,
    )?;
    assert!(
        said.contains("unpack ok") && said.contains("ok refs/heads/main"),
        "{said}"
    );
    assert_eq!(site.server_ref("refs/heads/main")?, small.tip.to_string());
    site.check()
}

#[test]
fn bad_objects_are_refused_by_rule() -> Result {
    let site = Site::new()?;
    let blob = b"x";
    let id = hash(Kind::Blob, blob)?;
    let trees = [
        (tree_of(&[("100644", ".git", id)]), "hasDotgit"),
        (tree_of(&[("100644", ".GiT", id)]), "hasDotgit"),
        (tree_of(&[("100644", "..", id)]), "hasDotdot"),
        (tree_of(&[("100644", "a/b", id)]), "fullPathname"),
        (
            tree_of(&[("100644", "b", id), ("100644", "a", id)]),
            "treeNotSorted",
        ),
        (
            tree_of(&[("100644", "a", id), ("100644", "a", id)]),
            "duplicateEntries",
        ),
        (tree_of(&[("100644", "", id)]), "emptyName"),
        (tree_of(&[("0100644", "a", id)]), "zeroPaddedFilemode"),
        (b"100644 a".to_vec(), "does not end"),
    ];
    for (tree, rule) in &trees {
        let commit = commit_of(hash(Kind::Tree, tree)?, &[]);
        let tip = hash(Kind::Commit, &commit)?.to_string();
        let pack = pack_of(&[
            (Kind::Commit, &commit),
            (Kind::Tree, tree),
            (Kind::Blob, blob),
        ])?;
        let said = push(&site, &[(ZERO, &tip, "refs/heads/main")], &pack)?;
        assert!(
            said.contains(rule) && said.contains("ng refs/heads/main"),
            "{rule}: {said}"
        );
        // The rules hold for what no tip reaches, too.
        let good = small()?;
        let stowaway = pack_of(&[
            (Kind::Commit, &good.commit),
            (Kind::Tree, &good.tree),
            (Kind::Blob, good.blob),
            (Kind::Tree, tree),
        ])?;
        let said = push(
            &site,
            &[(ZERO, &good.tip.to_string(), "refs/heads/main")],
            &stowaway,
        )?;
        assert!(said.contains(rule), "{rule}: {said}");
    }
    let tree = tree_of(&[("100644", "a", id)]);
    let text = format!(
        "tree {}\ncommitter A <a@x> 1 +0000\n\nm\n",
        hash(Kind::Tree, &tree)?
    );
    let tip = hash(Kind::Commit, text.as_bytes())?.to_string();
    let pack = pack_of(&[
        (Kind::Commit, text.as_bytes()),
        (Kind::Tree, &tree),
        (Kind::Blob, blob),
    ])?;
    let said = push(&site, &[(ZERO, &tip, "refs/heads/main")], &pack)?;
    assert!(said.contains("missingAuthor"), "{said}");
    assert!(site.server_ref("refs/heads/main").is_err());
    site.check()
}

#[test]
fn history_with_holes_is_refused() -> Result {
    let site = Site::new()?;
    let s = small()?;
    let tip = s.tip.to_string();
    for objects in [
        &[
            (Kind::Commit, s.commit.as_slice()),
            (Kind::Tree, s.tree.as_slice()),
        ][..],
        &[(Kind::Commit, s.commit.as_slice()), (Kind::Blob, s.blob)],
        &[(Kind::Tree, s.tree.as_slice()), (Kind::Blob, s.blob)],
    ] {
        let said = push(
            &site,
            &[(ZERO, &tip, "refs/heads/main")],
            &pack_of(objects)?,
        )?;
        assert!(
            said.contains("lacks an object") && said.contains("missing"),
            "{said}"
        );
    }
    let child = commit_of(
        hash(Kind::Tree, &s.tree)?,
        &[ObjectId::from_hex(&[b'1'; 40])?],
    );
    let child_id = hash(Kind::Commit, &child)?.to_string();
    let pack = pack_of(&[
        (Kind::Commit, &child),
        (Kind::Tree, &s.tree),
        (Kind::Blob, s.blob),
    ])?;
    let said = push(&site, &[(ZERO, &child_id, "refs/heads/main")], &pack)?;
    assert!(
        said.contains("1111111 is missing") || said.contains("is missing"),
        "{said}"
    );
    // A tree where a blob belongs.
    let tree = tree_of(&[("100644", "file", hash(Kind::Tree, &s.tree)?)]);
    let commit = commit_of(hash(Kind::Tree, &tree)?, &[]);
    let id = hash(Kind::Commit, &commit)?.to_string();
    let pack = pack_of(&[
        (Kind::Commit, &commit),
        (Kind::Tree, &tree),
        (Kind::Tree, &s.tree),
        (Kind::Blob, s.blob),
    ])?;
    let said = push(&site, &[(ZERO, &id, "refs/heads/main")], &pack)?;
    assert!(said.contains("is a tree"), "{said}");
    assert!(git(&site.bare(), &["for-each-ref"])?.is_empty());
    site.check()
}

#[test]
fn an_object_left_by_an_earlier_push_is_not_trusted() -> Result {
    let site = Site::new()?;
    let s = small()?;
    let hollow = commit_of(ObjectId::from_hex(&[b'2'; 40])?, &[]);
    let hollow_id = hash(Kind::Commit, &hollow)?.to_string();
    // The stowaway keeps the rules of its format and no ref names it, so it comes in.
    let pack = pack_of(&[
        (Kind::Commit, &s.commit),
        (Kind::Tree, &s.tree),
        (Kind::Blob, s.blob),
        (Kind::Commit, &hollow),
    ])?;
    let said = push(
        &site,
        &[(ZERO, &s.tip.to_string(), "refs/heads/main")],
        &pack,
    )?;
    assert!(said.contains("ok refs/heads/main"), "{said}");
    let said = push(&site, &[(ZERO, &hollow_id, "refs/heads/x")], &pack_of(&[])?)?;
    assert!(said.contains("lacks an object"), "{said}");
    assert!(site.server_ref("refs/heads/x").is_err());
    Ok(())
}

#[test]
fn a_branch_can_start_at_an_old_commit_without_a_pack() -> Result {
    let site = Site::new()?;
    let work = site.work("w")?;
    let old = work.commit("a", "1")?;
    work.commit("a", "2")?;
    work.git(&["push", "-q", "origin", "main"])?;
    let said = push(&site, &[(ZERO, &old, "refs/heads/old")], &pack_of(&[])?)?;
    assert!(said.contains("ok refs/heads/old"), "{said}");
    let blob = work.git(&["rev-parse", "HEAD:a"])?;
    let said = push(&site, &[(ZERO, &blob, "refs/heads/blob")], &pack_of(&[])?)?;
    assert!(said.contains("must name a commit"), "{said}");
    site.check()
}

#[test]
fn cut_and_corrupted_packs_are_refused() -> Result {
    let site = Site::new()?;
    let s = small()?;
    let pack = s.pack()?;
    let tip = s.tip.to_string();
    let command = [(ZERO, tip.as_str(), "refs/heads/main")];
    for len in 0..pack.len() {
        let said = push(&site, &command, &pack[..len])?;
        assert!(said.contains("damaged"), "{len}: {said}");
    }
    for at in 0..pack.len() {
        for flip in [0x01, 0x80] {
            let mut pack = pack.clone();
            pack[at] ^= flip;
            let said = push(&site, &command, &pack)?;
            assert!(said.contains("ng refs/heads/main"), "{at}: {said}");
        }
    }
    assert!(site.server_ref("refs/heads/main").is_err());
    site.check()
}

/// A zlib stream of `size` zero bytes, made in little memory.
fn zeros(size: u64) -> Result<Vec<u8>> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), size), &mut out)?;
    Ok(out.finish()?)
}

/// The most memory this process ever had, in KiB.
fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn a_small_push_that_inflates_to_a_gibibyte_is_refused_in_little_memory() -> Result {
    let site = Site::new()?;
    let tip = "3".repeat(40);
    let command = [(ZERO, tip.as_str(), "refs/heads/main")];
    let bomb = zeros(1 << 30)?;
    // It says so.
    let mut entry = entry_head(3, 1 << 30)?;
    entry.extend(&bomb);
    let said = push(&site, &command, &pack_of_entries(&[entry])?)?;
    assert!(said.contains("1073741824 bytes, more than the"), "{said}");
    // It lies.
    let mut entry = entry_head(3, 1000)?;
    entry.extend(&bomb);
    let said = push(&site, &command, &pack_of_entries(&[entry])?)?;
    assert!(said.contains("larger than it says"), "{said}");
    // A delta that copies its base over and over.
    let base = vec![0u8; 0x00ff_ffff];
    let mut base_entry = entry_head(3, base.len() as u64)?;
    base_entry.extend(deflate(&base)?);
    let mut delta = vec![0xff, 0xff, 0xff, 0x07, 0x80, 0x80, 0x80, 0x80, 0x04];
    for _ in 0..64 {
        delta.extend_from_slice(&[0xf0, 0xff, 0xff, 0xff]);
    }
    let mut delta_entry = entry_head(7, delta.len() as u64)?;
    delta_entry.extend_from_slice(hash(Kind::Blob, &base)?.as_slice());
    delta_entry.extend(deflate(&delta)?);
    let said = push(
        &site,
        &command,
        &pack_of_entries(&[base_entry, delta_entry])?,
    )?;
    assert!(said.contains("1073741824 bytes, more than the"), "{said}");
    let peak = peak_kib()?;
    assert!(peak < 512 << 10, "{peak} KiB");
    site.check()
}

#[test]
fn limits_are_said_in_words() -> Result {
    let site = Site::new()?;
    let s = small()?;
    let tip = s.tip.to_string();
    let command = [(ZERO, tip.as_str(), "refs/heads/main")];
    site.limit(|l| l.max_objects = 2);
    let said = push(&site, &command, &s.pack()?)?;
    assert!(
        said.contains("3 objects, more than the 2 allowed"),
        "{said}"
    );
    site.limit(|l| {
        l.max_objects = 100;
        l.max_pack_bytes = 100;
    });
    let said = push(&site, &command, &s.pack()?)?;
    assert!(said.contains("larger than the 100 bytes allowed"), "{said}");
    site.limit(|l| {
        l.max_pack_bytes = 1 << 20;
        l.max_object_bytes = 8;
    });
    let said = push(&site, &command, &s.pack()?)?;
    assert!(said.contains("more than the 8 allowed"), "{said}");
    site.limit(|l| {
        l.max_object_bytes = 1 << 20;
        l.max_refs = 1;
    });
    let two = [
        (ZERO, tip.as_str(), "refs/heads/a"),
        (ZERO, tip.as_str(), "refs/heads/b"),
    ];
    let said = push(&site, &two, &s.pack()?)?;
    assert!(said.contains("more than 1 refs"), "{said}");
    // A real client shows the words.
    let work = site.work("w")?;
    site.limit(|l| l.max_object_bytes = 5000);
    work.commit("large", &"0123456789".repeat(1000))?;
    let said = work.fails(&["push", "origin", "main"])?;
    assert!(
        said.contains("remote: refused: object") && said.contains("allowed"),
        "{said}"
    );
    site.check()
}

#[test]
fn odd_ref_names_are_refused_one_by_one() -> Result {
    let site = Site::new()?;
    let s = small()?;
    let tip = s.tip.to_string();
    let names = [
        "HEAD",
        "refs/heads/a..b",
        "refs/heads/../../config",
        "refs/heads/.x",
        "refs/heads/x.lock",
        "refs/heads/a b",
        "refs/heads/a\u{1}b",
        "refs/heads/",
        "refs/heads/a//b",
        "config",
        "refs/heads/a~1",
        "objects/pack/x",
        "refs/heads/-f",
        "refs/heads/HEAD",
        "refs/pull/1/head",
    ];
    for name in names {
        let both = [
            (ZERO, tip.as_str(), name),
            (ZERO, tip.as_str(), "refs/heads/good"),
        ];
        let said = push(&site, &both, &s.pack()?)?;
        assert!(said.contains("ng "), "{name:?}: {said}");
        assert!(said.contains("ok refs/heads/good"), "{name:?}: {said}");
        let tip_now = site.server_ref("refs/heads/good")?;
        let said = push(&site, &[(&tip_now, ZERO, "refs/heads/good")], b"")?;
        assert!(said.contains("ok refs/heads/good"), "{said}");
    }
    assert!(git(&site.bare(), &["for-each-ref"])?.is_empty());
    site.check()
}

#[test]
fn a_ref_moves_only_from_the_value_the_client_saw() -> Result {
    let site = Site::new()?;
    let s = small()?;
    let tip = s.tip.to_string();
    push(&site, &[(ZERO, &tip, "refs/heads/main")], &s.pack()?)?;
    let said = push(&site, &[(ZERO, &tip, "refs/heads/main")], &s.pack()?)?;
    assert!(
        said.contains("ng refs/heads/main the ref already exists"),
        "{said}"
    );
    let other = "4".repeat(40);
    let said = push(&site, &[(&other, &tip, "refs/heads/main")], &s.pack()?)?;
    assert!(said.contains("moved meanwhile"), "{said}");
    let said = push(&site, &[(&tip, ZERO, "refs/heads/none")], b"")?;
    assert!(said.contains("does not exist"), "{said}");
    let twice = [
        (ZERO, tip.as_str(), "refs/heads/t"),
        (ZERO, tip.as_str(), "refs/heads/t"),
    ];
    let said = push(&site, &twice, &s.pack()?)?;
    assert!(said.contains("twice"), "{said}");
    site.check()
}

#[test]
fn requests_that_are_no_requests_are_answered_and_harm_nothing() -> Result {
    let site = Site::new()?;
    let s = small()?;
    push(
        &site,
        &[(ZERO, &s.tip.to_string(), "refs/heads/main")],
        &s.pack()?,
    )?;
    let mut seed = 7u64;
    for service in ["git-upload-pack", "git-receive-pack"] {
        for body in [
            &b""[..],
            b"0000",
            b"00000000",
            b"0001",
            b"0009hello",
            b"zzzz",
            b"0032want x",
            b"0014command=ls-refs\n",
            b"000ccommand=",
            b"ffff",
            b"0004",
            b"0005\0",
        ] {
            post(&site, service, body)?;
        }
        for _ in 0..300 {
            let mut body = Vec::new();
            for _ in 0..(seed >> 58) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                match seed >> 61 {
                    0 => body.extend(pkt(&format!("want {}", s.tip))),
                    1 => body.extend(pkt("command=fetch")),
                    2 => body.extend_from_slice(b"0001"),
                    3 => body.extend_from_slice(b"0000"),
                    4 => body.extend(pkt(&format!("have {}", s.tip))),
                    5 => body.extend(pkt(&format!("{ZERO} {} refs/heads/x", s.tip))),
                    _ => body.extend_from_slice(&seed.to_be_bytes()),
                }
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            post(&site, service, &body)?;
        }
    }
    let mut body = pkt(&format!("want {}", "5".repeat(40)));
    body.extend_from_slice(b"00000009done\n");
    let said = String::from_utf8_lossy(&post(&site, "git-upload-pack", &body)?).into_owned();
    assert!(
        said.contains("ERR") && said.contains("not our ref"),
        "{said}"
    );
    site.check()
}

#[test]
fn a_stale_lock_is_swept_at_start() -> Result {
    let site = Site::new()?;
    let work = site.work("w")?;
    work.commit("a", "1")?;
    let lock = site.bare().join("refs/heads/main.lock");
    std::fs::write(&lock, "")?;
    let said = work.fails(&["push", "origin", "main"])?;
    assert!(said.contains("another process holds"), "{said}");
    assert_eq!(git::sweep(&site.bare())?, [lock]);
    work.git(&["push", "-q", "origin", "main"])?;
    site.check()
}

#[test]
fn of_many_pushes_to_one_ref_exactly_one_wins() -> Result {
    let site = Site::new()?;
    let work = site.work("w")?;
    let mut base = work.commit("a", "0")?;
    work.git(&["push", "-q", "origin", "main"])?;
    for round in 0..3 {
        let mut pushes = Vec::new();
        for n in 0..24 {
            let tree = work.git(&["rev-parse", "HEAD^{tree}"])?;
            let words = format!("round {round} push {n}");
            pushes.push(work.git(&["commit-tree", "-p", &base, "-m", &words, &tree])?);
        }
        let said: Vec<Result<String>> = std::thread::scope(|scope| {
            let running: Vec<_> = pushes
                .iter()
                .map(|tip| {
                    let (site, base, work) = (&site, &base, &work);
                    scope.spawn(move || -> Result<String> {
                        let wanted = format!("{tip}\n^{base}\n");
                        let args = ["pack-objects", "--stdout", "--revs", "-q", "--thin"];
                        let pack = support::git_with_input(&work.0, &args, wanted.as_bytes())?;
                        push(site, &[(base, tip, "refs/heads/main")], &pack)
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|t| t.join().map_err(|_| "panicked")?)
                .collect()
        });
        let said: Vec<String> = said.into_iter().collect::<Result<_>>()?;
        let winners: Vec<usize> = (0..24)
            .filter(|n| said[*n].contains("ok refs/heads/main"))
            .collect();
        assert_eq!(winners.len(), 1, "{said:#?}");
        base = pushes[winners[0]].clone();
        assert_eq!(site.server_ref("refs/heads/main")?, base);
    }
    site.check()
}

#[test]
fn many_pushes_to_many_refs_all_win() -> Result {
    let site = Site::new()?;
    let work = site.work("w")?;
    work.commit("a", "0")?;
    work.git(&["push", "-q", "origin", "main"])?;
    let done: Vec<Result> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..24)
            .map(|n| {
                let site = &site;
                scope.spawn(move || -> Result {
                    let clone = site.clone_to(&format!("c{n}"), &[])?;
                    for round in 0..3 {
                        clone.commit(&format!("f{n}"), &round.to_string())?;
                        clone.git(&["push", "-q", "origin", &format!("HEAD:refs/heads/b/{n}")])?;
                    }
                    Ok(())
                })
            })
            .collect();
        running
            .into_iter()
            .map(|t| t.join().map_err(|_| "panicked")?)
            .collect()
    });
    done.into_iter().collect::<Result<Vec<()>>>()?;
    let refs = git(
        &site.bare(),
        &["for-each-ref", "--format=%(refname)", "refs/heads/b/"],
    )?;
    assert_eq!(refs.lines().count(), 24);
    let clone = site.clone_to("all", &[])?;
    clone.git(&["fsck", "--strict", "--full"])?;
    site.check()
}

#[test]
fn a_push_is_readable_before_it_is_visible_and_leaves_nothing_when_dropped() -> Result {
    let site = Site::new()?;
    let repo = site.repo()?;
    let s = small()?;
    let mut body = pkt(&format!("{ZERO} {} refs/heads/main\0report-status", s.tip));
    body.extend_from_slice(b"0000");
    body.extend(s.pack()?);
    let limits = git::ReceiveLimits::default();
    let receive = || git::receive_pack(&repo, &mut body.as_slice(), &limits, &mut |_| {});
    let received = receive()?;
    assert_eq!(
        received.objects().file(s.tip, "file", 100)?.as_deref(),
        Some(s.blob)
    );
    assert_eq!(received.commands[0].kind, git::CommandKind::Create);
    assert!(!repo.objects().contains(&s.tip));
    drop(received);
    site.check()?;
    assert!(git(&site.bare(), &["count-objects", "-v"])?.contains("packs: 0"));
    let mut received = receive()?;
    received.refuse("refs/heads/main", "not today");
    assert!(received.accepted().is_empty());
    let mut out = Vec::new();
    received.write_report(&mut out, &[])?;
    assert!(String::from_utf8_lossy(&out).contains("ng refs/heads/main not today"));
    drop(received);
    let mut received = receive()?;
    let updates = received.accepted();
    received.make_durable()?;
    assert!(repo.objects().contains(&s.tip));
    assert!(repo.refs()?.all().is_empty());
    let outcomes = git::update_refs(&repo, &updates, false);
    assert_eq!(outcomes, [git::RefOutcome::Done]);
    assert_eq!(repo.refs()?.get("refs/heads/main"), Some(s.tip));
    drop(received);
    site.check()
}

#[test]
fn a_repository_takes_more_pushes_than_it_can_hold_packs() -> Result {
    let site = Site::new()?;
    // Thousands of fsyncs would only slow this down.
    let unsynced = git::Repository::open(&site.bare(), git::Durability::SkipForTest)?;
    let repo = std::sync::Arc::new(unsynced);
    // A reader that never goes away pins what it may have seen.
    let reader = repo.objects();
    let s = small()?;
    let tree = hash(Kind::Tree, &s.tree)?;
    let limits = git::ReceiveLimits::default();
    let mut old: Option<ObjectId> = None;
    for n in 0..1200 {
        let commit = commit_of(tree, old.as_slice());
        let new = hash(Kind::Commit, &commit)?;
        let pack = if n == 0 {
            pack_of(&[
                (Kind::Commit, &commit),
                (Kind::Tree, &s.tree),
                (Kind::Blob, s.blob),
            ])?
        } else {
            pack_of(&[(Kind::Commit, &commit)])?
        };
        let before = old.map_or(ZERO.to_owned(), |id| id.to_string());
        let mut body = pkt(&format!("{before} {new} refs/heads/main\0report-status"));
        body.extend_from_slice(b"0000");
        body.extend(pack);
        let mut received = git::receive_pack(&repo, &mut body.as_slice(), &limits, &mut |_| {})?;
        let done = received.commit()?;
        assert_eq!(done[0].1, git::RefOutcome::Done, "push {n}");
        assert!(reader.contains(&new), "push {n}");
        old = Some(new);
    }
    assert!(repo.pack_count()? <= 96);
    let clone = site.clone_to("c", &[])?;
    assert_eq!(clone.git(&["rev-list", "--count", "HEAD"])?, "1200");
    site.check()
}

#[test]
fn readers_and_clones_go_on_while_packs_are_merged() -> Result {
    let site = Site::new()?;
    // Thousands of fsyncs would only slow this down.
    let unsynced = git::Repository::open(&site.bare(), git::Durability::SkipForTest)?;
    let repo = std::sync::Arc::new(unsynced);
    let s = small()?;
    let tree = hash(Kind::Tree, &s.tree)?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let clone = |want: ObjectId| -> Result<usize> {
        let mut body = pkt("command=fetch");
        body.extend_from_slice(b"0001");
        body.extend(pkt(&format!("want {want}")));
        body.extend(pkt("done"));
        body.extend_from_slice(b"0000");
        let mut out = Vec::new();
        let limits = git::UploadLimits::default();
        git::upload_pack(
            &repo,
            git::Protocol::V2,
            &mut body.as_slice(),
            &mut out,
            &limits,
        )?;
        Ok(out.len())
    };
    let done: Vec<Result> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| -> Result {
                    let kept = repo.objects();
                    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                        if let Some(tip) = repo.refs()?.get("refs/heads/main") {
                            kept.log(tip, Some("file"), 0, 10)?;
                            repo.objects().file(tip, "file", 100)?.ok_or("no file")?;
                            clone(tip)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let writing = || -> Result {
            let limits = git::ReceiveLimits::default();
            let mut old: Option<ObjectId> = None;
            for n in 0..150 {
                let commit = commit_of(tree, old.as_slice());
                let new = hash(Kind::Commit, &commit)?;
                let pack = if n == 0 {
                    pack_of(&[
                        (Kind::Commit, &commit),
                        (Kind::Tree, &s.tree),
                        (Kind::Blob, s.blob),
                    ])?
                } else {
                    pack_of(&[(Kind::Commit, &commit)])?
                };
                let before = old.map_or(ZERO.to_owned(), |id| id.to_string());
                let mut body = pkt(&format!("{before} {new} refs/heads/main\0report-status"));
                body.extend_from_slice(b"0000");
                body.extend(pack);
                let mut received =
                    git::receive_pack(&repo, &mut body.as_slice(), &limits, &mut |_| {})?;
                received.commit()?;
                repo.consolidate(3)?;
                old = Some(new);
            }
            Ok(())
        };
        let wrote = writing();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        let mut all = vec![wrote];
        for reader in readers {
            all.push(reader.join().unwrap_or_else(|_| Err("panicked".into())));
        }
        all
    });
    done.into_iter().collect::<Result<Vec<()>>>()?;
    site.check()
}
