//! Actions of a generation: stock git clones them from the web listener and from inside a job.

use std::collections::BTreeMap;
use std::path::Path;

use bundle::Item;
use bundle::manifest::{Action, Origin};
use store::Store;
use supply::testing::Draft;
use testkit::Result;
use testkit::git::{self, Tree};

use crate::content::{add_debian, run};
use crate::site::Site;

/// Adds the action `lab/greet`, with a tag `v1`, whose history is cut to its last commit.
fn add_action(draft: &mut Draft, store: &Store) -> Result {
    let folder = tempfile::tempdir()?;
    let tree = Tree::init(&folder.path().join("full"))?;
    for word in ["hello", "good day"] {
        tree.write("action.yml", format!("name: {word}\n"))?;
        tree.commit(word)?;
    }
    git::run(&tree.folder, &["tag", "v1"])?;
    let url = format!("file://{}", tree.folder.display());
    git::run(
        folder.path(),
        &["clone", "-q", "--depth", "1", "--branch", "v1", &url, "cut"],
    )?;
    let cut = folder.path().join("cut");
    let pack = git::output(&cut, &["pack-objects", "--all", "--stdout", "-q"])?.stdout;
    let id = git::run(&cut, &["rev-parse", "v1"])?.trim().to_owned();
    let pack = draft.blob(store, &pack);
    draft.item(Item::Action(Action {
        name: "lab/greet".to_owned(),
        refs: BTreeMap::from([("refs/tags/v1".to_owned(), id.clone())]),
        pack,
        shallow: vec![id],
        source: Origin::default(),
    }));
    Ok(())
}

fn cloned(folder: &Path, url: &str, name: &str) -> Result<String> {
    git::run(folder, &["clone", "-q", "--branch", "v1", url, name])?;
    Ok(std::fs::read_to_string(
        folder.join(name).join("action.yml"),
    )?)
}

#[test]
fn git_clones_an_action_and_is_told_of_one_that_is_not_there() -> Result {
    let mut site = Site::serving(&|draft, store| {
        add_debian(draft, store, "lab/debian", &["ubuntu-latest"])?;
        add_action(draft, store)
    })?;
    let folder = site.folder.path().to_owned();
    let greet = site.url("/actions/lab/greet.git");
    assert_eq!(cloned(&folder, &greet, "one")?, "name: good day\n");
    assert_eq!(cloned(&folder, &greet, "two")?, "name: good day\n");

    let nobody = format!("http://{}/actions/lab/greet.git", site.appliance.address());
    let refused = git::output(&folder, &["clone", "-q", &nobody, "three"])?;
    assert!(!refused.status.success());
    let push = git::output(
        &folder.join("one"),
        &["push", "-q", &greet, "HEAD:refs/heads/x"],
    )?;
    assert!(!push.status.success());
    let absent = git::output(
        &folder,
        &["clone", "-q", &site.url("/actions/lab/other.git"), "x"],
    )?;
    let said = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(
        said.contains("action lab/other is not in generation 1"),
        "{said}"
    );

    let (code, log) = site.job(
        "      - run: |\n          git clone -q --branch v1 $COFFERDAM_ENDPOINT/actions/lab/greet.git && cat greet/action.yml\n",
    )?;
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("name: good day"), "{log}");
    site.push("on: push\njobs:\n  j:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: lab/none@v3\n")?;
    let wants = site.wants()?;
    for name in ["action lab/other", "action lab/none@v3"] {
        assert!(
            wants.iter().any(|(want, _)| want == name),
            "{name}: {wants:?}"
        );
    }
    // What was made stays as long as a generation has it, and is whole.
    let made = site.appliance.data().join("actions");
    let kept: Vec<_> = std::fs::read_dir(&made)?.collect::<std::io::Result<_>>()?;
    assert_eq!(kept.len(), 1);
    run(git::command(&kept[0].path()).args(["fsck", "--strict"]))?;
    site.appliance.start()?;
    assert!(kept[0].path().exists());
    Ok(())
}
