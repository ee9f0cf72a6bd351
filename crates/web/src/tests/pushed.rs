//! Pushes and clones by real git, over a real socket.

use std::sync::Arc;

use access::{Role, Scope};
use axum::http::{Method, StatusCode};
use vocab::Visibility;

use super::{Site, Tree, WORKFLOW, said};

pub(super) async fn set_up(workflow: &str) -> (Site, Arc<Tree>, String, String) {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let token = site.token(&dev, &[Scope::RepoWrite, Scope::RunWrite]);
    site.repo("dev/app", &dev, Visibility::Private);
    let at = site.serve().await;
    let tree = Arc::new(Tree::new());
    tree.write(".github/workflows/ci.yml", workflow);
    tree.write("README.md", "# app\n");
    tree.commit("first: <b>bold</b>");
    let url = format!("http://dev:{token}@{at}/dev/app.git");
    tree.git(&["remote", "add", "origin", &url]);
    (site, tree, url, token)
}

fn fsck(site: &Site) {
    let dir = forge::repo_dir(site.app.store.dir(), vocab::RepoId(1));
    let out = std::process::Command::new("git")
        .args(["-c", "safe.directory=*", "fsck", "--strict", "--full"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", said(&out));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_starts_its_workflow_and_says_where_to_watch_it() {
    let (site, tree, url, token) = set_up(WORKFLOW).await;
    let out = tree.run_off(&["push", "origin", "main"]).await;
    assert!(out.status.success(), "{}", said(&out));
    assert!(
        said(&out).contains("run #1 of .github/workflows/ci.yml on main: started"),
        "{}",
        said(&out)
    );
    assert!(
        said(&out).contains("http://forge.lab/dev/app/runs/1"),
        "{}",
        said(&out)
    );
    fsck(&site);
    let shown = site
        .ask(
            Method::GET,
            "/api/v1/repos/dev/app/runs/latest",
            Some(&token),
            "",
        )
        .await;
    let run = shown.json();
    assert_eq!(
        (run["number"].as_i64(), run["state"].as_str()),
        (Some(1), Some("waiting")),
        "{run}"
    );
    assert_eq!(run["jobs"][0]["state"], "queued");
    assert_eq!(run["jobs"][0]["name"], "test");

    let clones = Tree::new();
    let clones = Arc::new(clones);
    let out = clones
        .run_off(&["clone", "-q", "--depth", "1", &url, "shallow"])
        .await;
    assert!(out.status.success(), "{}", said(&out));
    let out = clones
        .run_off(&["clone", "-q", &url.replace(".git", ""), "whole"])
        .await;
    assert!(out.status.success(), "{}", said(&out));
    let all = audit::Filter {
        kind: Some("git.clone".into()),
        ..audit::Filter::default()
    };
    // The note follows the answer: wait for the writer that holds it.
    let noted = (0..100_000).find(|_| {
        std::thread::yield_now();
        let found = site
            .app
            .store
            .read(|db| Ok::<_, store::StoreError>(audit::list(db, &all, 10)?));
        found.unwrap().len() == 2
    });
    assert!(noted.is_some(), "both clones are in the audit log");
    let text = std::fs::read_to_string(clones.path().join("whole/README.md")).unwrap();
    assert_eq!(text, "# app\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_deletes_and_forced_pushes_each_do_their_part() {
    let (site, tree, ..) = set_up(WORKFLOW).await;
    tree.git(&["tag", "-a", "v1", "-m", "one"]);
    let out = tree
        .run_off(&["push", "origin", "main", "v1", "HEAD:refs/heads/side"])
        .await;
    assert!(out.status.success(), "{}", said(&out));
    for n in 1..=3 {
        assert!(said(&out).contains(&format!("run #{n} ")), "{}", said(&out));
    }
    let out = tree.run_off(&["push", "origin", ":side"]).await;
    assert!(
        out.status.success() && !said(&out).contains("run #"),
        "{}",
        said(&out)
    );
    tree.git(&["commit", "-q", "--amend", "-m", "again"]);
    let plain = tree.run_off(&["push", "origin", "main"]).await;
    assert!(!plain.status.success());
    let forced = tree.run_off(&["push", "-f", "origin", "main"]).await;
    assert!(
        forced.status.success() && said(&forced).contains("run #4 "),
        "{}",
        said(&forced)
    );
    fsck(&site);
    let kinds = site
        .app
        .store
        .read(|db| Ok::<_, store::StoreError>(audit::list(db, &audit::Filter::default(), 1000)?))
        .unwrap();
    let has = |kind: &str| {
        kinds
            .iter()
            .any(|l| l.text.contains(&format!("\"act\":\"{kind}\"")))
    };
    assert!(has("git.push") && has("git.force_push") && has("git.ref_delete"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_workflow_is_a_failed_run_and_a_warning_never_a_refused_push() {
    let (site, tree, _, token) =
        set_up("on: push\njobs:\n  test:\n    runs-on: x\n    stepz: []\n").await;
    let out = tree.run_off(&["push", "origin", "main"]).await;
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("failed at once"), "{}", said(&out));
    assert!(
        said(&out).contains("warning: .github/workflows/ci.yml:"),
        "{}",
        said(&out)
    );
    let run = site
        .ask(
            Method::GET,
            "/api/v1/repos/dev/app/runs/1",
            Some(&token),
            "",
        )
        .await
        .json();
    assert_eq!(run["outcome"], "failure");
    assert!(
        run["problems"][0].as_str().unwrap().contains("ci.yml:"),
        "{run}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_is_not_here_fails_the_run_when_it_is_planned() {
    let (site, tree, _, token) =
        set_up(&WORKFLOW.replace("actions/checkout@v4", "acme/deploy@v2")).await;
    let out = tree.run_off(&["push", "origin", "main"]).await;
    let wanted = "action acme/deploy@v2 is not in the active generation";
    assert!(
        out.status.success() && said(&out).contains(wanted),
        "{}",
        said(&out)
    );
    let run = site
        .ask(
            Method::GET,
            "/api/v1/repos/dev/app/runs/1",
            Some(&token),
            "",
        )
        .await
        .json();
    assert!(
        run["problems"][0].as_str().unwrap().contains(wanted),
        "{run}"
    );
    assert_eq!(run["jobs"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skip_words_and_unserved_events_are_told_and_start_nothing() {
    let (_site, tree, ..) = set_up(
        "on: [push, pull_request]\njobs:\n  a:\n    runs-on: x\n    steps: [{run: 'true'}]\n",
    )
    .await;
    tree.commit("docs only [skip ci]");
    let out = tree.run_off(&["push", "origin", "main"]).await;
    assert!(
        out.status.success() && !said(&out).contains("run #"),
        "{}",
        said(&out)
    );
    assert!(said(&out).contains("[skip ci]"), "{}", said(&out));
    tree.commit("code");
    let out = tree.run_off(&["push", "origin", "main"]).await;
    assert!(said(&out).contains("run #1 "), "{}", said(&out));
    assert!(
        said(&out).contains("'pull_request' is not served"),
        "{}",
        said(&out)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_wrong_tokens_neither_read_nor_push() {
    let (site, tree, url, _) = set_up(WORKFLOW).await;
    assert!(
        tree.run_off(&["push", "-q", "origin", "main"])
            .await
            .status
            .success()
    );
    let eve = site.user("eve", Role::Member, None);
    let stranger = site.token(&eve, &Scope::ALL);
    let dev = site
        .app
        .store
        .read(|db| Ok::<_, store::StoreError>(access::user_by_name(db, &"dev".parse().unwrap())?))
        .unwrap();
    let reader = site.token(&dev.unwrap(), &[Scope::RepoRead]);
    let (head, tail) = url.split_once("dev:").unwrap();
    let at = tail.split_once('@').unwrap().1;
    for url in [
        format!("{head}{at}"),
        format!("{head}dev:wrong@{at}"),
        format!("{head}eve:{stranger}@{at}"),
    ] {
        let out = tree.run_off(&["ls-remote", &url]).await;
        assert!(!out.status.success(), "{url}: {}", said(&out));
    }
    tree.commit("more");
    let reading = format!("{head}dev:{reader}@{at}");
    let out = tree.run_off(&["push", &reading, "main"]).await;
    assert!(!out.status.success(), "{}", said(&out));
    assert!(
        tree.run_off(&["ls-remote", &reading])
            .await
            .status
            .success()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_repo_is_read_by_anybody_and_pushed_to_by_few() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let token = site.token(&dev, &[Scope::RepoWrite]);
    site.repo("dev/open", &dev, Visibility::Public);
    let at = site.serve().await;
    let tree = Arc::new(Tree::new());
    tree.commit("first");
    let own = format!("http://dev:{token}@{at}/dev/open");
    assert!(
        tree.run_off(&["push", "-q", &own, "main"])
            .await
            .status
            .success()
    );
    let open = format!("http://{at}/dev/open");
    assert!(tree.run_off(&["ls-remote", &open]).await.status.success());
    assert!(
        !tree
            .run_off(&["push", &open, "main:other"])
            .await
            .status
            .success()
    );
}

#[tokio::test]
async fn the_dumb_protocol_is_refused_in_words() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    site.repo("dev/open", &dev, Visibility::Public);
    let answer = site
        .ask(Method::GET, "/dev/open.git/info/refs", None, "")
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("dumb protocol"), "{}", answer.text);
    let smart = site
        .ask(
            Method::GET,
            "/dev/open.git/info/refs?service=git-upload-pack",
            None,
            "",
        )
        .await;
    assert_eq!(
        smart.header("content-type"),
        "application/x-git-upload-pack-advertisement"
    );
    assert!(smart.header("cache-control").contains("no-cache"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_is_started_by_hand_with_its_inputs_checked() {
    let text = "on:\n  workflow_dispatch:\n    inputs:\n      level: {type: choice, options: ['1', '2'], required: true}\njobs:\n  a:\n    runs-on: x\n    steps: [{run: 'true'}]\n";
    let (site, tree, _, token) = set_up(text).await;
    let out = tree.run_off(&["push", "-q", "origin", "main"]).await;
    assert!(
        out.status.success() && !said(&out).contains("run #"),
        "{}",
        said(&out)
    );
    let path = "/api/v1/repos/dev/app/dispatches";
    let bad = r#"{"workflow":"ci.yml","ref":null,"inputs":{"level":"9"}}"#;
    let refused = site.ask(Method::POST, path, Some(&token), bad).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("level"), "{}", refused.text);
    let fine = r#"{"workflow":"ci.yml","ref":"main","inputs":{"level":"2"}}"#;
    let made = site.ask(Method::POST, path, Some(&token), fine).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.json()["runs"][0]["number"], 1);
    let cancelled = site
        .ask(
            Method::POST,
            "/api/v1/repos/dev/app/runs/1/cancel",
            Some(&token),
            "",
        )
        .await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text);
    let run = site
        .ask(
            Method::GET,
            "/api/v1/repos/dev/app/runs/1",
            Some(&token),
            "",
        )
        .await
        .json();
    assert_eq!(run["outcome"], "cancelled");
    let again = site
        .ask(
            Method::POST,
            "/api/v1/repos/dev/app/runs/1/rerun",
            Some(&token),
            "{\"failed\":false}",
        )
        .await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
}
