//! Pushes and requests that no honest client makes.

use gix::ObjectId;
use gix::objs::Kind;

use crate::support::packs::{
    ZERO, commit_of, deflate, entry_head, hash, pack_of, pack_of_entries, push, small, tree_of,
};
use crate::support::{Result, Site, git, pkt, post};

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
