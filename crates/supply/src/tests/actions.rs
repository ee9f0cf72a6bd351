//! Which actions steps need: pinned in one generation, refused in words that name the way.

use bundle::Item;
use bundle::manifest::{Action, Origin};
use git::Durability;
use testkit::git as client;
use workflow::ActionRef;

use super::*;
use crate::testing::Draft;
use crate::{Actions, GenerationId, Resolution, Sought};

/// Adds a repository with a tag `v1` on these files; its commit.
fn carry(draft: &mut Draft, store: &Store, name: &str, files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let tree = client::Tree::init(&folder.path().join("tree")).unwrap();
    for (path, text) in files {
        tree.write(path, text).unwrap();
    }
    tree.commit("one").unwrap();
    client::run(&tree.folder, &["tag", "v1"]).unwrap();
    let words = ["pack-objects", "--all", "--stdout", "-q"];
    let pack = client::output(&tree.folder, &words).unwrap().stdout;
    let id = client::run(&tree.folder, &["rev-parse", "v1"]).unwrap();
    let id = id.trim().to_owned();
    let pack = draft.blob(store, &pack);
    draft.item(Item::Action(Action {
        name: name.to_owned(),
        refs: BTreeMap::from([("refs/tags/v1".to_owned(), id.clone())]),
        pack,
        shallow: Vec::new(),
        source: Origin::default(),
    }));
    id
}

fn uses(inner: &str) -> String {
    format!("runs: {{ using: composite, steps: [{{ uses: {inner} }}] }}\n")
}

const LEAF: &str = "runs: { using: composite, steps: [{ run: x, shell: sh }] }\n";

fn resolve(actions: &Actions, generation: GenerationId, names: &[&str]) -> Resolution {
    let named: Vec<ActionRef> = names.iter().map(|n| ActionRef::parse(n).unwrap()).collect();
    let local = |folder: &str| {
        let found = folder == "mine";
        Ok(found.then(|| {
            (
                "mine/action.yml".to_owned(),
                uses("lab/leaf@v1").into_bytes(),
            )
        }))
    };
    let sought = Sought {
        generation: Some(generation),
        built_in: &|action| action.repo().is_some_and(|(owner, ..)| owner == "actions"),
        local: &local,
    };
    actions.resolve(&sought, named.iter().zip(names.iter().copied()))
}

#[test]
fn an_action_is_pinned_in_the_generation_that_is_asked_and_in_no_other() {
    let site = site();
    let mut draft = Draft::default();
    let first = carry(&mut draft, &site.store, "lab/leaf", &[("action.yml", LEAF)]);
    let one = draft.activate(&site.store, 1).unwrap();
    let mut draft = Draft::default();
    let files = [("action.yml", LEAF), ("more", "x")];
    let second = carry(&mut draft, &site.store, "lab/leaf", &files);
    carry(&mut draft, &site.store, "lab/new", &[("action.yml", LEAF)]);
    let two = draft.activate(&site.store, 2).unwrap();
    assert_ne!(first, second);
    let actions = Actions::new(std::sync::Arc::new(site.store), Durability::Full);
    for (generation, commit, new) in [(one, &first, false), (two, &second, true)] {
        let found = resolve(
            &actions,
            generation,
            &["Lab/Leaf@v1", "lab/new@v1", "actions/x@v1"],
        );
        assert_eq!(found.pinned[0].commit.to_string(), *commit);
        assert!(found.troubles[0].is_none() && found.troubles[2].is_none());
        assert_eq!(found.troubles[1].is_none(), new);
        let tree = actions.tree(&found.pinned[0].carried, found.pinned[0].commit);
        assert_eq!(tree.unwrap().join("more").exists(), new);
    }
    // A whole commit id names it; an abbreviation names nothing.
    let whole = format!("lab/leaf@{second}");
    let short = format!("lab/leaf@{}", &second[..12]);
    let found = resolve(&actions, two, &[&whole, &short]);
    assert!(found.troubles[0].is_none() && found.troubles[1].is_some());
}

#[test]
fn what_is_needed_near_and_far_is_found_once_and_circles_name_the_way() {
    let site = site();
    let mut draft = Draft::default();
    let store = &site.store;
    carry(&mut draft, store, "lab/leaf", &[("action.yml", LEAF)]);
    let both = "runs: { using: composite, steps: [{ uses: lab/leaf@v1 }, { uses: ./mine }, { uses: actions/x@v1 }] }\n";
    carry(&mut draft, store, "lab/both", &[("action.yml", both)]);
    let names = [("a", "lab/b@v1"), ("b", "lab/c@v1"), ("c", "lab/a@v1")];
    for (name, inner) in names {
        let files = [("action.yml", uses(inner))];
        let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
        carry(&mut draft, store, &format!("lab/{name}"), &files);
    }
    let generation = draft.activate(store, 1).unwrap();
    let actions = Actions::new(std::sync::Arc::new(site.store), Durability::Full);
    let found = resolve(
        &actions,
        generation,
        &["lab/both@v1", "lab/leaf@v1", "./mine"],
    );
    assert!(
        found.troubles.iter().all(Option::is_none),
        "{:?}",
        found.troubles
    );
    let pinned: Vec<&str> = found
        .pinned
        .iter()
        .map(|p| p.carried.name.as_str())
        .collect();
    assert_eq!(pinned, ["lab/both", "lab/leaf"]);
    let said = |name: &str| {
        let found = resolve(&actions, generation, &[name]);
        found.troubles[0].clone().map(|trouble| trouble.text)
    };
    assert_eq!(
        said("lab/b@v1").unwrap(),
        "lab/b@v1 uses itself: actions must not form a circle (used by lab/b@v1 → lab/c@v1 → lab/a@v1)"
    );
    assert!(said("docker://x").unwrap().contains("containers"));
    assert!(
        said("./../x")
            .unwrap()
            .contains("leads out of the workspace")
    );
    assert_eq!(said("./not/there"), None);
}
