//! Pushes and clones, ours and C git's in turn, by the wall of the same client.

use anyhow::{Result, bail};
use std::io::Write as _;
use std::process::Stdio;
use testkit::git::{self, Tree};

use super::samples::{Figure, Row, Samples};
use super::stage::{Stage, milliseconds, plain};

pub(super) fn small(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let tree = stage.tree("small", None)?;
    let (ours, theirs) = (stage.our_repo("small")?, stage.c_repo("small")?);
    let pair = push_both(&tree, &ours, &theirs, samples)?;
    Ok(vec![row("git push of one commit, small repo", pair, 1.2)])
}

pub(super) fn many_refs(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let tree = stage.tree("refs", None)?;
    let head = tree.git(&["rev-parse", "HEAD"]).map_err(plain)?;
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for number in 0..3_000 {
        packed.push_str(&format!("{} refs/heads/b{number:04}\n", head.trim()));
    }
    std::fs::write(tree.folder.join(".git/packed-refs"), packed)?;
    let (ours, theirs) = (stage.our_repo("refs")?, stage.c_repo("refs")?);
    for url in [&ours, &theirs] {
        tree.push(url, "refs/heads/*:refs/heads/*").map_err(plain)?;
    }
    let pair = push_both(&tree, &ours, &theirs, samples)?;
    Ok(vec![row("git push of one commit, 3,000 refs", pair, 0.75)])
}

fn row(name: &str, (ours, theirs): (Samples, Samples), most: f64) -> Row {
    Row {
        name: name.to_owned(),
        unit: "ms".to_owned(),
        ours,
        other: Some(("C git, no fsync".to_owned(), theirs)),
        figure: Figure::Ratio(most),
    }
}

fn push_both(tree: &Tree, ours: &str, theirs: &str, samples: usize) -> Result<(Samples, Samples)> {
    for url in [ours, theirs] {
        tree.push(url, "+HEAD:main").map_err(plain)?;
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for turn in 0..samples {
        tree.write("file", format!("{turn}\n")).map_err(plain)?;
        tree.commit("change").map_err(plain)?;
        for (url, values) in [(ours, &mut left), (theirs, &mut right)] {
            values.push(milliseconds(|| {
                tree.push(url, "HEAD:main").map(drop).map_err(plain)
            })?);
        }
    }
    Ok((Samples::new(left), Samples::new(right)))
}

/// 50,000 commits of four objects each.
const COMMITS: usize = 50_000;

pub(super) fn clone(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let tree = Tree::init(&stage.folder.join("large")).map_err(plain)?;
    import_history(&tree)?;
    let (ours, theirs) = (stage.our_repo("large")?, stage.c_repo("large")?);
    for url in [&ours, &theirs] {
        tree.push(url, "refs/heads/main").map_err(plain)?;
    }
    // Each has looked over what came: ours by itself, C git when it is told to.
    stage.c_git(
        "large",
        &["repack", "-a", "-d", "--quiet", "--write-bitmap-index"],
    )?;
    stage.c_git("large", &["commit-graph", "write", "--reachable"])?;
    stage.wait_for_clone_pack()?;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for _ in 0..(samples / 8).max(3) {
        for (url, values) in [(&ours, &mut left), (&theirs, &mut right)] {
            let target = tempfile::tempdir_in(&stage.folder)?;
            let words = ["clone", "--quiet", "--bare", url, "clone.git"];
            values.push(milliseconds(|| {
                git::run(target.path(), &words).map(drop).map_err(plain)
            })?);
        }
    }
    let pair = (Samples::new(left), Samples::new(right));
    let mut row = row("git clone, 200,000 objects", pair, 1.0);
    if let Some((name, _)) = &mut row.other {
        "C git, bitmaps, commit-graph".clone_into(name);
    }
    Ok(vec![row])
}

fn import_history(tree: &Tree) -> Result<()> {
    let mut child = git::command(&tree.folder)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(input) = child.stdin.take() {
        let mut input = std::io::BufWriter::new(input);
        for number in 0..COMMITS {
            let content = format!("line {number}\n").repeat(20);
            write!(
                input,
                "commit refs/heads/main\ncommitter Dev <dev@lab.example> {} +0000\ndata 6\nchange\n\
                 M 644 inline d{}/f{}\ndata {}\n{content}\n",
                1_700_000_000 + number,
                number % 17,
                number % 101,
                content.len(),
            )?;
        }
        input.flush()?;
    }
    if !child.wait()?.success() {
        bail!("git fast-import failed");
    }
    Ok(())
}
