//! Clones of which a pack is the larger part: sent as it stands, and only to whom it is due.

use std::path::PathBuf;

use git::{Protocol, UploadLimits};

use crate::support::{Result, Site, VERSIONS, Work, git, pkt};

/// A site whose `main` has more files than a pack must have to be looked at.
fn large() -> Result<(Site, Work)> {
    let site = Site::new()?;
    let work = site.work("first")?;
    for n in 0..1100 {
        work.write(&format!("d{}/f{n}", n % 9), &format!("file {n}\n"))?;
    }
    work.commit("last", "1")?;
    work.commit("d1/f1", "changed\n")?;
    work.git(&["tag", "-a", "-m", "one", "v1"])?;
    work.git(&["push", "-q", "-u", "origin", "main", "v1"])?;
    Ok((site, work))
}

/// The packs of the served repository.
fn packs(site: &Site) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(site.bare().join("objects/pack"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "pack") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The pack that answers a clone of these, without bands.
fn asked(site: &Site, wants: &[&str]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    for want in wants {
        body.extend(pkt(&format!("want {want}\n")));
    }
    body.extend_from_slice(b"0000");
    body.extend(pkt("done\n"));
    let mut out = Vec::new();
    let limits = UploadLimits::default();
    git::upload_pack(
        &*site.repo()?,
        Protocol::V0,
        &mut body.as_slice(),
        &mut out,
        &limits,
    )?;
    let pack = out.strip_prefix(b"0008NAK\n").ok_or("no NAK")?;
    Ok(pack.to_vec())
}

/// Whether an answer begins with all entries of the pack that was looked at.
fn begins_with_the_pack(site: &Site, answer: &[u8]) -> Result<bool> {
    let note = std::fs::read_to_string(site.bare().join("objects/info/closed-pack"))?;
    let name = note.lines().next().unwrap_or_default();
    let Some(path) = packs(site)?
        .into_iter()
        .find(|path| path.file_stem().is_some_and(|stem| stem == name))
    else {
        return Ok(false);
    };
    let pack = std::fs::read(path)?;
    let entries = &pack[12..pack.len() - 20];
    Ok(answer.get(12..).is_some_and(|a| a.starts_with(entries)))
}

/// How many objects an answer has, once stock git has indexed it.
fn count(answer: &[u8], scratch: &Work) -> Result<usize> {
    let path = scratch.0.join("answer.pack");
    std::fs::write(&path, answer)?;
    let name = path.to_str().ok_or("path")?;
    git(&scratch.0, &["index-pack", "--strict", name])?;
    Ok(usize::try_from(u32::from_be_bytes(
        answer[8..12].try_into()?,
    ))?)
}

#[test]
fn a_clone_begins_with_the_pack_and_has_what_came_later() -> Result {
    let (site, work) = large()?;
    let head = work.git(&["rev-parse", "HEAD"])?;
    let tag = work.git(&["rev-parse", "v1"])?;
    let before = asked(&site, &[&head, &tag])?;
    assert!(site.repo()?.prepare_clones()?);
    let now = asked(&site, &[&head, &tag])?;
    assert!(begins_with_the_pack(&site, &now)?);
    assert_eq!(count(&now, &work)?, count(&before, &work)?);

    // What comes later: changes, a step back to what was, new tags, an unrelated history.
    work.commit("d1/f1", "changed again\n")?;
    work.commit("d1/f1", "file 1\n")?;
    work.git(&["tag", "-a", "-m", "two", "v2"])?;
    work.git(&["tag", "-a", "-m", "of a tag", "v3", "v2"])?;
    work.git(&["checkout", "-q", "--orphan", "other"])?;
    work.git(&["rm", "-rfq", "--cached", "."])?;
    work.commit("d2/f2", "elsewhere\n")?;
    work.git(&["push", "-q", "origin", "main", "other", "v2", "v3"])?;
    for version in VERSIONS {
        let option = format!("protocol.version={version}");
        for (nth, more) in [vec![], vec!["--bare"], vec!["--mirror"], vec!["--no-tags"]]
            .iter()
            .enumerate()
        {
            let name = format!("c{version}{nth}");
            let mut options = vec!["-c", option.as_str()];
            options.extend(more);
            let clone = site.clone_to(&name, &options)?;
            clone.git(&["fsck", "--strict", "--full"])?;
        }
        let clone = site.clone_to(&format!("d{version}"), &["-c", &option])?;
        assert_eq!(clone.git(&["show", "v3:d1/f1"])?, "file 1");
        assert_eq!(clone.git(&["rev-list", "--count", "--all"])?, "5");
        // One branch, and the tags that come along.
        let single = site.clone_to(
            &format!("s{version}"),
            &["-c", &option, "--single-branch", "-b", "main"],
        )?;
        single.git(&["fsck", "--strict", "--full"])?;
        assert_eq!(single.git(&["tag"])?, "v1\nv2\nv3");
        let shallow = site.clone_to(&format!("x{version}"), &["-c", &option, "--depth=1"])?;
        assert_eq!(shallow.git(&["rev-list", "--count", "HEAD"])?, "1");
    }
    let wants: Vec<String> = ["main", "other", "v1", "v2", "v3"]
        .iter()
        .map(|name| work.git(&["rev-parse", name]))
        .collect::<Result<_>>()?;
    let wants: Vec<&str> = wants.iter().map(String::as_str).collect();
    assert!(begins_with_the_pack(&site, &asked(&site, &wants)?)?);
    site.check()
}

/// What was taken back must not travel in a pack that once held it.
#[test]
fn history_that_was_taken_back_is_not_sent() -> Result {
    let (site, work) = large()?;
    let kept = work.git(&["rev-parse", "main"])?;
    let secret = work.commit("password", "hunter2\n")?;
    work.git(&["push", "-q", "origin", "main"])?;
    let repo = site.repo()?;
    repo.consolidate(1)?;
    assert!(repo.prepare_clones()?);
    let tag = work.git(&["rev-parse", "v1"])?;
    // Control: whoever wants it gets it, in the pack.
    let whole = asked(&site, &[&secret, &tag])?;
    assert!(begins_with_the_pack(&site, &whole)?);
    work.git(&["reset", "-q", "--hard", &kept])?;
    work.git(&["push", "-q", "-f", "origin", "main"])?;
    let answer = asked(&site, &[&kept, &tag])?;
    assert!(!begins_with_the_pack(&site, &answer)?);
    let clone = site.clone_to("c", &[])?;
    assert!(clone.fails(&["cat-file", "-e", &secret])?.is_empty());
    clone.git(&["fsck", "--strict", "--full"])?;
    Ok(())
}

#[test]
fn a_pack_that_lacks_something_is_never_sent_whole() -> Result {
    let (site, work) = large()?;
    let repo = site.repo()?;
    // The larger pack of two names objects of the smaller one.
    for n in 0..5000 {
        work.write(&format!("more/f{n}"), &format!("more {n}\n"))?;
    }
    let head = work.commit("last", "2")?;
    work.git(&["push", "-q", "origin", "main"])?;
    assert!(!repo.prepare_clones()?);
    assert!(!repo.prepare_clones()?);
    assert!(!begins_with_the_pack(&site, &asked(&site, &[&head])?)?);
    site.clone_to("c", &[])?
        .git(&["fsck", "--strict", "--full"])?;
    // Merged they are all there is.
    repo.consolidate(1)?;
    assert!(repo.prepare_clones()?);
    let tag = work.git(&["rev-parse", "v1"])?;
    assert!(begins_with_the_pack(&site, &asked(&site, &[&head, &tag])?)?);
    site.clone_to("d", &[])?
        .git(&["fsck", "--strict", "--full"])?;
    Ok(())
}

#[test]
fn a_damaged_pack_ends_in_an_error() -> Result {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
    let (site, work) = large()?;
    assert!(site.repo()?.prepare_clones()?);
    let head = work.git(&["rev-parse", "main"])?;
    let tag = work.git(&["rev-parse", "v1"])?;
    asked(&site, &[&head, &tag])?;
    let pack = packs(&site)?.remove(0);
    std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o644))?;
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&pack)?;
    let middle = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle)?;
    file.write_all_at(&[byte[0] ^ 1], middle)?;
    let error = asked(&site, &[&head, &tag]).err().ok_or("it was sent")?;
    let root = std::error::Error::source(&*error).map_or(error.to_string(), |e| e.to_string());
    assert!(root.contains("checksum"), "{root}");
    assert!(site.clone_to("c", &[]).is_err());
    Ok(())
}

#[test]
fn a_note_that_is_cut_or_of_another_pack_is_not_believed() -> Result {
    let (site, work) = large()?;
    let head = work.git(&["rev-parse", "main"])?;
    let tag = work.git(&["rev-parse", "v1"])?;
    let repo = site.repo()?;
    assert!(repo.prepare_clones()?);
    let note = site.bare().join("objects/info/closed-pack");
    let text = std::fs::read_to_string(&note)?;
    let renamed = text.replacen("pack-", "pack-0", 1);
    let plain = asked(&site, &[&head])?;
    for bad in ["", "pack", &text[..text.len() - 2], renamed.as_str()] {
        std::fs::write(&note, bad)?;
        let answer = asked(&site, &[&head, &tag])?;
        std::fs::write(&note, &text)?;
        assert!(!begins_with_the_pack(&site, &answer)?, "{bad:?}");
    }
    // Without the tag, which is in the pack, the pack is not due.
    assert!(!begins_with_the_pack(&site, &plain)?);
    std::fs::remove_file(&note)?;
    assert!(repo.prepare_clones()?);
    assert!(begins_with_the_pack(&site, &asked(&site, &[&head, &tag])?)?);
    site.check()
}
