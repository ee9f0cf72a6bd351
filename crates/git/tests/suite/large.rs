//! Real clients and what is large: many files, many pushes, large files, large requests.

use crate::support::packs::push;
use crate::support::{self, Result, Site, VERSIONS, Work, filled};

#[test]
fn five_thousand_files_come_and_go() -> Result {
    let site = Site::new()?;
    let work = site.work("w")?;
    for n in 0..5000 {
        work.write(
            &format!("d{}/e{}/f{n}", n % 50, n % 7),
            &format!("file {n}\n"),
        )?;
    }
    work.commit("last", "1")?;
    work.git(&["push", "-q", "origin", "main"])?;
    for version in VERSIONS {
        let option = format!("protocol.version={version}");
        let clone = site.clone_to(&format!("c{version}"), &["-c", &option])?;
        assert_eq!(clone.git(&["ls-files"])?.lines().count(), 5001);
        assert_eq!(clone.git(&["status", "--porcelain"])?, "");
        clone.git(&["fsck", "--strict", "--full"])?;
    }
    work.commit("d1/e1/new", "one more\n")?;
    work.git(&["push", "-q", "origin", "main"])?;
    site.check()
}

#[test]
fn three_hundred_pushes_in_a_row_stay_small_consolidate_and_clone() -> Result {
    let (site, work) = filled()?;
    let mut lines: Vec<String> = (0..4000u64)
        .map(|n| format!("line {n} {:030}", n * 7919 * 104_729 % 4093))
        .collect();
    let mut old = work.git(&["rev-parse", "HEAD"])?;
    for n in 0..300 {
        lines[n * 13 % 4000] = format!("changed in {n}");
        work.write("doc", &lines.join("\n"))?;
        work.git(&["add", "doc"])?;
        let tree = work.git(&["write-tree"])?;
        let new = work.git(&["commit-tree", "-p", &old, "-m", "next", &tree])?;
        let revs = format!("{new}\n^{old}\n");
        let args = [
            "pack-objects",
            "--stdout",
            "--revs",
            "-q",
            "--thin",
            "--delta-base-offset",
        ];
        let pack = support::git_with_input(&work.0, &args, revs.as_bytes())?;
        let said = push(&site, &[(&old, &new, "refs/heads/main")], &pack)?;
        assert!(said.contains("ok refs/heads/main"), "{said}");
        old = new;
    }
    site.check()?;
    let size = |clone: &Work| -> Result<u64> {
        let said = clone.git(&["count-objects", "-v"])?;
        let kib = said
            .lines()
            .find_map(|l| l.strip_prefix("size-pack: "))
            .ok_or("no size")?;
        Ok(kib.parse()?)
    };
    let repo = site.repo()?;
    // A push merges packs itself when nobody else does.
    let before = repo.pack_count()?;
    assert!((2..100).contains(&before), "{before}");
    for version in VERSIONS {
        let option = format!("protocol.version={version}");
        let clone = site.clone_to(&format!("c{version}"), &["-c", &option])?;
        assert_eq!(clone.git(&["rev-list", "--count", "HEAD"])?, "303");
        clone.git(&["fsck", "--strict", "--full"])?;
        assert!(size(&clone)? < 1024, "{}", size(&clone)?);
    }
    let done = repo.consolidate(1)?;
    assert!(done.packs_after < before, "{done:?}");
    assert_eq!(repo.pack_count()?, done.packs_after);
    site.check()?;
    let clone = site.clone_to("after", &[])?;
    clone.git(&["fsck", "--strict", "--full"])?;
    assert!(size(&clone)? < 1024, "{}", size(&clone)?);
    assert_eq!(repo.consolidate(20)?.objects, 0);
    site.check()?;
    Ok(())
}

#[test]
fn a_fetch_of_a_small_change_to_a_large_file_is_small() -> Result {
    for version in VERSIONS {
        let (site, work) = filled()?;
        let mut lines: Vec<String> = (0..20_000u64).map(|n| format!("{:x}", n.pow(4))).collect();
        work.commit("large", &lines.join("\n"))?;
        work.git(&["push", "-q", "origin", "main"])?;
        let option = format!("protocol.version={version}");
        let clone = site.clone_to("c", &["-c", &option])?;
        lines[777] = "changed".to_owned();
        let old = work.git(&["rev-parse", "HEAD"])?;
        let new = work.commit("large", &lines.join("\n"))?;
        work.git(&["push", "-q", "origin", "main"])?;
        clone.git_v(version, &["fetch", "-q", "origin"])?;
        clone.git(&["fsck", "--strict", "--full"])?;
        // What a client with one commit more than nothing gets.
        let body = [
            support::pkt("command=fetch"),
            b"0001".to_vec(),
            support::pkt("thin-pack"),
            support::pkt(&format!("want {new}")),
            support::pkt(&format!("have {old}")),
            support::pkt("done"),
            b"0000".to_vec(),
        ]
        .concat();
        let mut out = Vec::new();
        let limits = git::UploadLimits::default();
        git::upload_pack(
            &*site.repo()?,
            git::Protocol::V2,
            &mut body.as_slice(),
            &mut out,
            &limits,
        )?;
        assert!(out.len() < 2000, "{}", out.len());
        site.check()?;
    }
    Ok(())
}

#[test]
fn a_large_push_travels_chunked_and_gzipped_requests_are_read() -> Result {
    let (site, work) = filled()?;
    // Bytes that do not compress, beyond the client's post buffer.
    let mut state = 1u64;
    let mut noise = String::new();
    for _ in 0..400_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        noise.push(char::from(b'0' + u8::try_from(state >> 60)?));
        noise.push(char::from(b'a' + u8::try_from((state >> 40) & 15)?));
    }
    work.commit("noise", &noise)?;
    work.git(&[
        "-c",
        "http.postBuffer=65536",
        "push",
        "-q",
        "origin",
        "main",
    ])?;
    // Many haves make the client compress its request.
    let clone = site.clone_to("c", &[])?;
    for n in 0..60 {
        clone.git(&["commit", "-q", "--allow-empty", "-m", &format!("own {n}")])?;
    }
    work.commit("more", "1")?;
    work.git(&["push", "-q", "origin", "main"])?;
    for version in VERSIONS {
        clone.git_v(version, &["fetch", "-q", "origin"])?;
    }
    clone.git(&["fsck", "--strict", "--full"])?;
    site.check()
}
