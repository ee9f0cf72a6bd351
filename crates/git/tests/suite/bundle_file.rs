//! Repositories out to one file and in again, with stock git at the other end; and their check.

use std::io::{BufReader, Cursor};
use std::sync::Arc;

use git::{BundleError, BundleHead, Durability, ReceiveLimits, Repository};

use crate::support::{Result, Work, filled, git, run};

/// Takes a bundle into a new repository.
fn taken(at: &std::path::Path, bytes: &[u8]) -> Result<Arc<Repository>> {
    let repo = Arc::new(Repository::init_bare(at, "main", Durability::Full)?);
    let mut input = BufReader::new(Cursor::new(bytes.to_vec()));
    let head = BundleHead::read(&mut input)?;
    let mut push = head.as_push(&repo, input)?;
    let mut received = git::receive_pack(&repo, &mut push, &ReceiveLimits::default(), &mut |_| {})?;
    for (update, outcome) in received.commit()? {
        if outcome != git::RefOutcome::Done {
            return Err(format!("{}: {outcome:?}", update.name).into());
        }
    }
    Ok(repo)
}

#[test]
fn stock_git_clones_what_is_written_and_its_files_are_taken() -> Result {
    let (site, work) = filled()?;
    work.git(&["tag", "-a", "-m", "one", "v1"])?;
    work.git(&["checkout", "-q", "-b", "side", "HEAD~1"])?;
    work.commit("side", "1\n")?;
    work.git(&["push", "-q", "origin", "side", "v1"])?;
    let mut ours = Vec::new();
    let objects = site.repo()?.write_bundle(&mut ours)?;
    assert!(objects > 10, "{objects}");
    let file = site.path("ours.bundle");
    std::fs::write(&file, &ours)?;
    let name = file.to_str().ok_or("path")?;
    git(&work.0, &["bundle", "verify", "-q", name])?;
    git(&site.path(""), &["clone", "-q", name, "copy"])?;
    let copy = Work(site.path("copy"));
    copy.git(&["fsck", "--strict", "--full"])?;
    assert_eq!(copy.git(&["rev-parse", "HEAD"])?, site.server_ref("main")?);
    assert_eq!(copy.git(&["branch", "--show-current"])?, "main");

    let theirs = site.path("theirs.bundle");
    let name = theirs.to_str().ok_or("path")?;
    work.git(&["bundle", "create", "-q", name, "--all"])?;
    for (nth, bytes) in [ours, std::fs::read(&theirs)?].iter().enumerate() {
        let repo = taken(&site.path(&format!("in{nth}.git")), bytes)?;
        git(repo.dir(), &["fsck", "--strict", "--full"])?;
        let refs = repo.refs()?;
        let names: Vec<&str> = refs.all().iter().map(|r| r.name.as_str()).collect();
        assert_eq!(
            names,
            ["refs/heads/main", "refs/heads/side", "refs/tags/v1"]
        );
        let checked = repo.check()?;
        assert!(checked.problems.is_empty(), "{checked:?}");
        assert_eq!(checked.refs, 3);
    }
    let head = BundleHead::read(&mut Cursor::new(std::fs::read(&theirs)?))?;
    // What a working tree has checked out decides, not the name.
    assert_eq!(head.default_branch(), Some("side"));
    assert_eq!(head.left_out.len(), 2, "{:?}", head.left_out);
    Ok(())
}

#[test]
fn repositories_of_the_longer_ids_go_out_and_in() -> Result {
    let dir = tempfile::tempdir()?;
    git(
        dir.path(),
        &["init", "-q", "-b", "main", "--object-format=sha256", "w"],
    )?;
    let work = Work(dir.path().join("w"));
    work.commit("a", "1\n")?;
    git(dir.path(), &["clone", "-q", "--bare", "w", "b.git"])?;
    let bare = Repository::open(&dir.path().join("b.git"), Durability::Full)?;
    // Stock git left its objects loose or packed, as it pleased.
    let mut bytes = Vec::new();
    bare.write_bundle(&mut bytes)?;
    let file = dir.path().join("s.bundle");
    std::fs::write(&file, &bytes)?;
    git(
        dir.path(),
        &["clone", "-q", file.to_str().ok_or("path")?, "again"],
    )?;
    Work(dir.path().join("again")).git(&["fsck", "--strict"])?;
    // A repository of short ids does not take it.
    let refused = taken(&dir.path().join("c.git"), &bytes)
        .err()
        .ok_or("taken")?;
    assert!(refused.to_string().contains("sha256"), "{refused}");
    Ok(())
}

#[test]
fn what_is_no_whole_bundle_is_refused_in_words() -> Result {
    let (site, work) = filled()?;
    let part = site.path("part.bundle");
    let name = part.to_str().ok_or("path")?;
    work.git(&["bundle", "create", "-q", name, "HEAD~1..main"])?;
    let part = std::fs::read(part)?;
    let mut whole = Vec::new();
    site.repo()?.write_bundle(&mut whole)?;
    let read = |bytes: &[u8]| BundleHead::read(&mut Cursor::new(bytes.to_vec()));
    assert!(matches!(read(&part), Err(BundleError::Partial(_))));
    assert!(matches!(read(b""), Err(BundleError::NoBundle)));
    assert!(matches!(read(b"PK\x03\x04"), Err(BundleError::NoBundle)));
    assert!(matches!(
        read(b"# v3 git bundle\n@filter=blob:none\n\n"),
        Err(BundleError::Capability(_))
    ));
    assert!(matches!(
        read(b"# v2 git bundle\n\n"),
        Err(BundleError::Empty)
    ));
    let file = site.path("whole.bundle");
    std::fs::write(&file, &whole)?;
    git::check_bundle(&file)?;
    for cut in [whole.len() - 1, whole.len() - 21, 300] {
        std::fs::write(&file, &whole[..cut])?;
        assert!(
            matches!(git::check_bundle(&file), Err(BundleError::Checksum)),
            "{cut}"
        );
    }
    for cut in [20, 40, 60] {
        let error = read(&whole[..cut]).err().ok_or("it was read")?;
        assert!(error.to_string().contains("line 2"), "{error}");
    }
    // Every byte of it changed: nothing comes in that stock git would not have, or it is refused.
    let at = site.path("bit.git");
    for nth in (0..whole.len()).step_by(7) {
        let mut bad = whole.clone();
        bad[nth] ^= 1;
        if let Ok(repo) = taken(&at, &bad) {
            assert!(run(repo.dir(), &["fsck", "--strict"])?.status.success());
            assert!(repo.check()?.problems.is_empty());
        }
        std::fs::remove_dir_all(&at).or_else(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        })?;
    }
    Ok(())
}

#[test]
fn a_check_names_what_is_damaged() -> Result {
    use std::os::unix::fs::PermissionsExt as _;
    let (site, _work) = filled()?;
    let repo = site.repo()?;
    let before = repo.check()?;
    assert!(
        before.problems.is_empty() && before.objects > 5,
        "{before:?}"
    );
    for entry in std::fs::read_dir(site.bare().join("objects/pack"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "pack") {
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
            std::fs::write(&path, bytes)?;
        }
    }
    let anew = Repository::open(&site.bare(), Durability::Full)?;
    let after = anew.check()?;
    assert!(
        after.problems.iter().any(|p| p.contains(".pack")),
        "{after:?}"
    );
    std::fs::write(
        site.bare().join("refs/heads/bad"),
        format!("{}\n", "7".repeat(40)),
    )?;
    let third = Repository::open(&site.bare(), Durability::Full)?.check()?;
    assert!(
        third.problems.iter().any(|p| p.contains("refs/heads/bad")),
        "{third:?}"
    );
    Ok(())
}
