//! Story: repos come in as files and leave as files; what was taken back goes after its time.

use std::path::Path;
use std::time::Duration;

use stories::Site;
use testkit::git::run;
use testkit::{Result, http};
use vocab::Stopwatch;

const WORKFLOW: &str =
    "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: 'true'}]\n";

fn text(path: &Path) -> Result<&str> {
    Ok(path.to_str().ok_or("the path is no text")?)
}

#[test]
fn a_bundle_and_a_directory_come_in_and_a_bundle_goes_out() -> Result {
    let site = Site::serving()?;
    let appliance = &site.appliance;
    let token = appliance.user("dev", &[])?;
    let tree = site.tree_with("tree", WORKFLOW)?;
    tree.git(&["branch", "-m", "trunk"])?;
    tree.git(&["tag", "-a", "-m", "one", "v1"])?;
    let head = tree.git(&["rev-parse", "HEAD"])?;
    let folder = site.folder.path();
    let file = folder.join("in.bundle");
    tree.git(&["bundle", "create", "-q", text(&file)?, "--all"])?;

    appliance.ok(&["repo", "import", "lab/a", text(&file)?, "--for", "dev"])?;
    appliance.ok(&[
        "repo",
        "import",
        "lab/b",
        text(&tree.folder)?,
        "--for",
        "dev",
    ])?;
    for repo in ["lab/a", "lab/b"] {
        let url = appliance.url(repo, "dev", &token);
        let seen = run(folder, &["ls-remote", "--symref", &url])?;
        assert!(seen.contains("ref: refs/heads/trunk\tHEAD"), "{seen}");
        assert!(seen.contains("refs/tags/v1^{}"), "{seen}");
        // An import starts no run.
        let runs = appliance.json(&["run", "list", repo])?;
        assert_eq!(runs["runs"].as_array().map(Vec::len), Some(0), "{runs}");
    }
    let log = appliance.json(&["audit", "search", "--action", "git.push"])?;
    assert_eq!(log["entries"].as_array().map(Vec::len), Some(2), "{log}");

    let out = folder.join("out.bundle");
    appliance.ok(&["repo", "export", "lab/a", "-o", text(&out)?])?;
    run(folder, &["clone", "-q", text(&out)?, "again"])?;
    let again = run(&folder.join("again"), &["rev-parse", "HEAD"])?;
    assert_eq!(again.trim(), head.trim());
    let checked = appliance.json(&["repo", "fsck", "lab/a"])?;
    assert_eq!(checked["problems"].as_array().map(Vec::len), Some(0));
    assert_eq!(checked["refs"], 2);

    // Refused, and nothing is left behind.
    let twice = appliance.run(&["repo", "import", "lab/a", text(&file)?])?;
    let said = String::from_utf8_lossy(&twice.stderr).into_owned();
    assert!(
        !twice.status.success() && said.contains("not empty"),
        "{said}"
    );
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let bad = folder.join("bad.bundle");
    std::fs::write(&bad, &bytes)?;
    for (name, source) in [("lab/c", &bad), ("lab/d", &folder.join("again/.git/HEAD"))] {
        let refused = appliance.run(&["repo", "import", name, text(source)?])?;
        assert!(!refused.status.success(), "{name}");
        let list = appliance.ok(&["repo", "list"])?;
        assert!(!list.contains(name), "{list}");
    }
    let there = appliance.run(&["repo", "export", "lab/a", "-o", text(&out)?])?;
    assert!(!there.status.success());
    Ok(())
}

#[test]
fn only_who_keeps_a_repo_may_take_in_check_and_collect() -> Result {
    let site = Site::serving()?;
    let appliance = &site.appliance;
    let token = appliance.user("dev", &[])?;
    let other = appliance.user("other", &[])?;
    appliance.repo("lab/a", "dev")?;
    let tree = site.tree_with("tree", WORKFLOW)?;
    tree.push(&appliance.url("lab/a", "dev", &token), "HEAD:main")?;
    let ask = |token: &str, method, path: &str| {
        let login = format!("Bearer {token}");
        let headers = [
            ("Authorization", login.as_str()),
            ("Content-Type", "application/json"),
        ];
        let path = format!("/api/v1/repos/lab/a/{path}");
        http::send(
            appliance.address(),
            &http::Request {
                method,
                path: &path,
                headers: &headers,
                body: b"{}",
            },
        )
    };
    for (method, path) in [
        ("POST", "import"),
        ("POST", "check"),
        ("POST", "gc"),
        ("GET", "bundle"),
    ] {
        assert_eq!(ask(&other, method, path)?.status, 404, "{path}");
        // Control: a writer may read all of it, and no more than that.
        let status = ask(&token, method, path)?.status;
        assert_eq!(status, if path == "bundle" { 200 } else { 403 }, "{path}");
    }
    Ok(())
}

#[test]
fn what_was_taken_back_can_be_removed_at_once() -> Result {
    let site = Site::serving()?;
    let appliance = &site.appliance;
    let url = site.repo("lab/a")?;
    let tree = site.tree("tree")?;
    tree.write("README.md", "# App\n")?;
    tree.commit("first")?;
    tree.push(&url, "HEAD:main")?;
    let kept = tree.git(&["rev-parse", "HEAD"])?;
    tree.write("password", "hunter2\n")?;
    let gone = tree.commit("by mistake")?;
    tree.push(&url, "HEAD:main")?;
    tree.push(&url, &format!("+{}:main", kept.trim()))?;
    let bare = appliance.repositories()?.remove(0);
    let done = appliance.json(&["repo", "gc", "lab/a"])?;
    assert_eq!(
        (&done["set_aside"], &done["removed"]),
        (&3.into(), &0.into()),
        "{done}"
    );
    run(&bare, &["cat-file", "-e", gone.trim()])?;
    // Its time is over as soon as a second has passed.
    let watch = Stopwatch::start();
    while run(&bare, &["cat-file", "-e", gone.trim()]).is_ok() {
        if watch.elapsed() > Duration::from_secs(60) {
            return Err("it is still there".into());
        }
        appliance.ok(&["repo", "gc", "lab/a", "--grace-days", "0"])?;
    }
    run(&bare, &["fsck", "--strict", "--full"])?;
    let log = appliance.json(&["audit", "search", "--action", "gc.run"])?;
    assert!(
        log["entries"].as_array().is_some_and(|all| all.len() >= 2),
        "{log}"
    );
    Ok(())
}
