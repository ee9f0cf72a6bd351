//! Bundles verified as an appliance would, and attacked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use vocab::Digest;

use super::site::{Key, Site, appliance, judge, role};
use crate::root::Root;
use crate::{
    Appliance, Manifest, Refusal, Sealed, Trust, Version, override_comment, trusted_comment,
};

#[test]
fn a_good_bundle_is_verified_and_says_who_signed() {
    let site = Site::new();
    let dir = site.good(1);
    let verified = Sealed::open(&dir).unwrap().verify(&site.trust()).unwrap();
    let names: Vec<&str> = verified.signers.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["release-a", "release-b"]);
    assert_eq!(judge(&site, &dir, &appliance()), "new");
    // Its parent folder leads to it, too.
    assert_eq!(site.code(site.dir.path()), "ok");
}

#[test]
fn t01_what_no_known_key_signed_is_refused() {
    let site = Site::new();
    let (dir, _) = site.pack(Site::draft(1), &[("a", b"a")]);
    assert_eq!(site.code(&dir), "E_QUORUM");
    let stranger = Key::new();
    Site::sign(&dir, &stranger);
    assert_eq!(site.code(&dir), "E_SIG");
    // The right key's name on a stranger's signature.
    let text =
        fs::read_to_string(dir.join(format!("MANIFEST.json.{}.minisig", stranger.public.id())))
            .unwrap();
    let name = format!("MANIFEST.json.{}.minisig", site.a.public.id());
    fs::write(dir.join(name), text).unwrap();
    assert_eq!(site.code(&dir), "E_SIG");
    // A signature over another file.
    let other = site.good(2);
    let name = format!("MANIFEST.json.{}.minisig", site.a.public.id());
    fs::copy(other.join(&name), dir.join(&name)).unwrap();
    assert_eq!(site.code(&dir), "E_SIG");
}

#[test]
fn t03_a_comment_that_was_edited_or_disagrees_is_refused() {
    let site = Site::new();
    let dir = site.good(1);
    let name = format!("MANIFEST.json.{}.minisig", site.a.public.id());
    let text = fs::read_to_string(dir.join(&name)).unwrap();
    fs::write(dir.join(&name), text.replace("seq=1 ", "seq=2 ")).unwrap();
    assert_eq!(
        site.code(&dir),
        "E_QUORUM",
        "the other signature is not enough"
    );
    let bytes = fs::read(dir.join("MANIFEST.json")).unwrap();
    let manifest = Manifest::parse(&bytes).unwrap();
    let comment = trusted_comment(&manifest, &Digest::of(&bytes));
    Site::sign_as(&dir, &site.a, &comment.replace("seq=1 ", "seq=2 "));
    assert_eq!(site.code(&dir), "E_COMMENT_MISMATCH");
    Site::sign_as(&dir, &site.a, &format!("{comment} more=1"));
    assert_eq!(site.code(&dir), "E_COMMENT_MISMATCH");
}

#[test]
fn t04_the_threshold_counts_keys_not_files() {
    let site = Site::new();
    let (dir, _) = site.pack(Site::draft(1), &[("a", b"a")]);
    Site::sign(&dir, &site.a);
    assert_eq!(site.code(&dir), "E_QUORUM");
    let name = format!("MANIFEST.json.{}.minisig", site.a.public.id());
    fs::copy(dir.join(&name), dir.join("MANIFEST.json.0.minisig")).unwrap();
    assert_eq!(site.code(&dir), "E_QUORUM");
    Site::sign(&dir, &site.b);
    assert_eq!(site.code(&dir), "ok", "the control: two keys are enough");
}

#[test]
fn t05_t07_the_sequence_goes_up_and_not_too_far() {
    let site = Site::new();
    let dir = site.good(7);
    let at = |seq| Appliance { seq, ..appliance() };
    assert_eq!(judge(&site, &dir, &at(6)), "new");
    assert_eq!(judge(&site, &dir, &at(7)), "E_ROLLBACK");
    assert_eq!(judge(&site, &dir, &at(8)), "E_ROLLBACK");
    let digest = Sealed::open(&dir).unwrap().digest();
    let active = Appliance {
        active: Some((digest, "2026.11.7".to_owned())),
        ..at(7)
    };
    assert_eq!(judge(&site, &dir, &active), "already");
    let far = site.good(20_000);
    assert_eq!(judge(&site, &far, &at(7)), "E_SEQ_JUMP");
    // A root statement with a reset, signed by the root key, comes with it.
    let mut second = site.statement(2);
    second.floor_reset.insert("stable".to_owned(), 15_000);
    Site::write_root(&far, &second, &[&site.root]);
    assert_eq!(judge(&site, &far, &at(7)), "new");
}

#[test]
fn t06_content_goes_back_only_when_that_is_said() {
    let site = Site::new();
    let active = Appliance {
        seq: 7,
        active: Some((Digest::of(b"other"), "2026.12.1".to_owned())),
        ..appliance()
    };
    let dir = site.good(8);
    assert_eq!(judge(&site, &dir, &active), "E_ROLLBACK");
    let mut draft = Site::draft(9);
    draft.rollback_of = Some("2026.12.1".to_owned());
    let (dir, _) = site.pack(draft, &[("a", b"a")]);
    Site::sign(&dir, &site.a);
    Site::sign(&dir, &site.b);
    assert_eq!(judge(&site, &dir, &active), "new");
}

#[test]
fn t08_an_expired_bundle_needs_the_root_keys_word() {
    let site = Site::new();
    let dir = site.good(1);
    let late = Appliance {
        day: "2027-05-21".to_owned(),
        ..appliance()
    };
    assert_eq!(judge(&site, &dir, &late), "E_EXPIRED");
    let asked = Appliance {
        quorum_override: true,
        ..late.clone()
    };
    assert_eq!(judge(&site, &dir, &asked), "E_EXPIRED");
    let bytes = fs::read(dir.join("MANIFEST.json")).unwrap();
    let comment = override_comment(&Digest::of(&bytes));
    // A release key's word is not enough.
    for (key, expected) in [(&site.a, "E_EXPIRED"), (&site.root, "new")] {
        let text = key.secret.sign(&bytes, &comment).unwrap();
        fs::write(
            dir.join(format!("OVERRIDE.{}.minisig", key.public.id())),
            text,
        )
        .unwrap();
        assert_eq!(judge(&site, &dir, &asked), expected);
    }
    assert_eq!(
        judge(&site, &dir, &late),
        "E_EXPIRED",
        "it must be asked for"
    );
}

#[test]
fn t14_endless_and_strange_files_end_at_once() {
    let site = Site::new();
    let dir = site.good(1);
    let manifest = dir.join("MANIFEST.json");
    let file = fs::File::create(&manifest).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(site.code(&dir), "E_TOO_LARGE");
    fs::remove_file(&manifest).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &manifest,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o644),
        0,
    )
    .unwrap();
    assert_eq!(site.code(&dir), "E_MEDIUM");
    fs::remove_file(&manifest).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &manifest).unwrap();
    assert_eq!(site.code(&dir), "E_MEDIUM");
}

#[test]
fn t16_t42_t43_a_bundle_for_others_is_refused() {
    let site = Site::new();
    let mut draft = Site::draft(1);
    draft.audience = vec!["appliance-0002".to_owned()];
    let (dir, _) = site.pack(draft, &[("a", b"a")]);
    Site::sign(&dir, &site.a);
    Site::sign(&dir, &site.b);
    assert_eq!(judge(&site, &dir, &appliance()), "E_AUDIENCE");
    let meant = Appliance {
        name: "appliance-0002".to_owned(),
        ..appliance()
    };
    assert_eq!(judge(&site, &dir, &meant), "new");
    let other_machine = Appliance {
        arch: "arm64".to_owned(),
        ..meant.clone()
    };
    assert_eq!(judge(&site, &dir, &other_machine), "E_ARCH");
    let older = Appliance {
        version: Version(0, 0, 9),
        ..meant
    };
    assert_eq!(judge(&site, &dir, &older), "E_NEWER");
    let mut draft = Site::draft(2);
    draft.product = "plant".to_owned();
    let (dir, _) = site.pack(draft, &[("a", b"a")]);
    Site::sign(&dir, &site.a);
    Site::sign(&dir, &site.b);
    assert_eq!(site.code(&dir), "E_AUDIENCE");
}

#[test]
fn t17_t18_root_statements_follow_each_other_and_revoked_keys_stay_out() {
    let site = Site::new();
    let dir = site.good(1);
    // The same medium once a second statement has revoked key b.
    let new = Key::new();
    let mut second = site.statement(2);
    second.release = role(2, &[(&site.a, "release-a"), (&new, "release-c")]);
    second.revoked = vec![site.b.public.id().clone()];
    let sealed = Site::write_root(&dir, &second, &[&site.root]);
    assert_eq!(site.code(&dir), "E_QUORUM");
    Site::sign(&dir, &new);
    assert_eq!(site.code(&dir), "ok");

    let first = Site::seal(&site.statement(1), &[&site.root]);
    let first = first.pinned(&first.fingerprint()).unwrap();
    let now = sealed.after(&first).unwrap();
    // Statement 2 in force, a medium that brings only statement 1: key b is out all the same.
    let old = site.good(2);
    let refused = Sealed::open(&old)
        .unwrap()
        .verify(&Trust::Root(Box::new(now.clone())))
        .unwrap_err();
    assert_eq!(refused.code(), "E_QUORUM");
    // Gaps, strangers, other statements of the same number.
    let third = Site::seal(&site.statement(3), &[&site.root]);
    assert_eq!(third.after(&first).unwrap_err().code(), "E_ROOT");
    let stranger = Site::seal(&second, &[&new]);
    assert_eq!(stranger.after(&first).unwrap_err().code(), "E_ROOT");
    let mut other = site.statement(2);
    other.created = "2026-11-21".to_owned();
    Site::write_root(&old, &other, &[&site.root]);
    let refused = Sealed::open(&old)
        .unwrap()
        .verify(&Trust::Root(Box::new(now)))
        .unwrap_err();
    assert_eq!(refused.code(), "E_ROOT");
    let wrong = Trust::Pinned(Digest::of(b"another paper"));
    let refused = Sealed::open(&dir).unwrap().verify(&wrong).unwrap_err();
    assert_eq!(refused.code(), "E_ROOT");
    assert!(Root::kept(site.statement(1).to_bytes()).is_ok());
}

#[test]
fn t20_names_that_could_be_paths_are_refused() {
    let site = Site::new();
    let dir = site.good(1);
    let text = fs::read_to_string(dir.join("MANIFEST.json")).unwrap();
    for name in [
        "../hello",
        "/hello",
        "he//llo",
        "a/..",
        "HELLO",
        "com1\\\\x",
        "he\\u0000llo",
        "he\\rllo",
        "h\\u00e9llo",
        "hello/",
        ".hello",
    ] {
        let named = text.replace("\"name\":\"hello\"", &format!("\"name\":\"{name}\""));
        assert_ne!(named, text);
        let refused = Manifest::parse(named.as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "E_NAME", "{name}: {refused}");
    }
}

#[test]
fn t28_t29_json_tricks_and_other_formats_are_refused() {
    let site = Site::new();
    let dir = site.good(1);
    let text = fs::read_to_string(dir.join("MANIFEST.json")).unwrap();
    let changed = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        Manifest::parse(changed.as_bytes()).unwrap_err().code()
    };
    assert_eq!(changed("\"seq\":1", "\"seq\":1,\"seq\":1"), "E_JSON");
    assert_eq!(changed("\"seq\":1", "\"seq\":1,\"alg\":\"md5\""), "E_JSON");
    assert_eq!(changed("\"seq\":1", "\"seq\":1.0"), "E_JSON");
    assert_eq!(changed("\"seq\":1", "\"seq\":-1"), "E_JSON");
    assert_eq!(
        changed("\"cofferdam_bundle\":1", "\"cofferdam_bundle\":2"),
        "E_FORMAT"
    );
    assert_eq!(
        changed("\"at\":[[1,1024]]", "\"at\":[[1,1536]]"),
        "E_FORMAT"
    );
    assert_eq!(changed("\"kind\":\"file\"", "\"kind\":\"npm\""), "E_JSON");
}

#[test]
fn t49_nothing_moves_or_vanishes_without_a_word() {
    let site = Site::new();
    let dir = site.good(2);
    let moved = Appliance {
        seq: 1,
        pins: BTreeMap::from([("file:hello".to_owned(), "sha256:old".to_owned())]),
        ..appliance()
    };
    assert_eq!(judge(&site, &dir, &moved), "E_TAG_MOVED");
    let gone = Appliance {
        seq: 1,
        keys: BTreeSet::from(["file:gone".to_owned()]),
        ..appliance()
    };
    assert_eq!(judge(&site, &dir, &gone), "E_TAG_MOVED");
    let mut draft = Site::draft(3);
    draft.removes = vec!["file:gone".to_owned()];
    draft.replaces = BTreeMap::from([("file:hello".to_owned(), "sha256:old".to_owned())]);
    let (dir, _) = site.pack(draft, &[("hello", b"new")]);
    Site::sign(&dir, &site.a);
    Site::sign(&dir, &site.b);
    assert_eq!(judge(&site, &dir, &moved), "new");
    assert_eq!(judge(&site, &dir, &gone), "new");
}

#[test]
fn packing_twice_gives_the_same_bytes_and_several_volumes() {
    let (one, two) = (Site::new(), Site::new());
    let big = vec![7u8; 30_000];
    let files: &[(&str, &[u8])] = &[("a", b"a"), ("big", &big), ("c", b"c"), ("empty", b"")];
    let (first, manifest) = one.pack(Site::draft(1), files);
    let (second, _) = two.pack(Site::draft(1), files);
    assert!(manifest.volumes.len() > 1);
    for name in manifest
        .volumes
        .iter()
        .map(|v| v.name.as_str())
        .chain(["MANIFEST.json", "SHA256SUMS"])
    {
        assert_eq!(
            fs::read(first.join(name)).unwrap(),
            fs::read(second.join(name)).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn a_folder_without_a_bundle_says_what_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let refused = Sealed::open(dir.path()).unwrap_err();
    assert!(matches!(refused, Refusal::NoBundle { .. }));
    assert!(refused.to_string().contains("MANIFEST.json"), "{refused}");
}
