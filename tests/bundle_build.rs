//! Story: on the connected side a recipe becomes a bundle, twice the same, by the program alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use bundle::sign::SecretKey;
use bundle::slip::{self, Have};
use serde_json::Value;
use stories::{folder, tasks_app};
use testkit::Result;
use testkit::appliance::debug_binary;
use testkit::git::Tree;

const RECIPE: &str = "[bundle]\nproduct = \"lab\"\nchannel = \"stable\"\nvolume = \"100MB\"\n\
    [[doc]]\nname = \"readme.md\"\npath = \"README.md\"\n\
    [self]\n";

/// The program, in `at`, with its own cache, time zone and umask.
fn program(at: &Path, cache: &str, zone: &str, umask: &str) -> Result<Command> {
    let mut command = Command::new("sh");
    let script = format!("umask {umask}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(debug_binary()?);
    command.current_dir(at).env("TZ", zone);
    command.env("XDG_CACHE_HOME", at.join(cache));
    Ok(command)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

fn site(at: &Path) -> Result {
    fs::write(at.join("demo.toml"), RECIPE)?;
    fs::write(at.join("README.md"), "# Read me\n")?;
    for words in [
        &["bundle", "keygen", "release-a", "--no-password"][..],
        &["bundle", "keygen", "root-a", "--no-password"],
        &[
            "bundle",
            "root",
            "init",
            "--site",
            "lab",
            "--root",
            "root-a",
            "--release",
            "release-a",
            "--key",
            "root-a",
        ],
    ] {
        run(program(at, "cache", "UTC", "022")?.args(words))?;
    }
    Ok(())
}

#[test]
fn a_recipe_becomes_the_same_bundle_whoever_builds_it() -> Result {
    let folder = folder()?;
    let at = folder.path();
    site(at)?;
    let said =
        run(program(at, "cache", "UTC", "022")?.args(["--json", "bundle", "lock", "demo.toml"]))?;
    let locked: Value = serde_json::from_str(&said)?;
    assert_eq!(
        (&locked["seq"], &locked["entries"]),
        (&1.into(), &2.into()),
        "{said}"
    );
    let build = |out: &str, cache: &str, zone: &str, umask: &str| {
        run(program(at, cache, zone, umask)?.args([
            "--json",
            "bundle",
            "build",
            "demo.toml",
            "-o",
            out,
            "--key",
            "release-a",
            "--locked",
        ]))
    };
    let first: Value = serde_json::from_str(&build("a", "cache", "UTC", "022")?)?;
    let second: Value = serde_json::from_str(&build("b", "other", "Asia/Tokyo", "077")?)?;
    assert_eq!(first["manifest_sha256"], second["manifest_sha256"]);
    assert_eq!(first["signatures_missing"], 0);
    for entry in fs::read_dir(at.join("a/lab-stable-000001"))? {
        let entry = entry?;
        let other = at.join("b/lab-stable-000001").join(entry.file_name());
        let name = entry.file_name().to_string_lossy().into_owned();
        // A signature holds noise; that it is there is enough.
        let same = name.ends_with(".minisig") && other.is_file()
            || fs::read(entry.path())? == fs::read(&other)?;
        assert!(same, "{name} differs");
        assert_eq!(
            entry.metadata()?.permissions(),
            other.metadata()?.permissions(),
            "{name}"
        );
    }
    let program_there = at.join("a/lab-stable-000001/cofferdam-linux-x86_64");
    let version = run(Command::new(&program_there).arg("--version"))?;
    assert!(version.starts_with("cofferdam "), "{version}");
    let verified = run(Command::new("sh")
        .arg(at.join("a/lab-stable-000001/verify.sh"))
        .arg(at.join("release-a.pub")))?;
    assert!(
        verified.contains("blobs: 2, each what its name says"),
        "{verified}"
    );
    Ok(())
}

/// The slip of an appliance that imported number 1 and holds these blobs.
fn have(blobs: Vec<String>) -> Result<String> {
    let have = Have {
        cofferdam_have: 1,
        appliance: "lab-1".to_owned(),
        version: "0.1.0".to_owned(),
        arch: "amd64".to_owned(),
        day: "2026-11-20".to_owned(),
        product: "lab".to_owned(),
        channel: "stable".to_owned(),
        seq: 1,
        root: 1,
        free_bytes: 1,
        manifest: None,
        pins: Vec::new(),
        keys: Vec::new(),
        log: None,
        blobs,
    };
    let (_, secret) = bundle::sign::generate(None)?;
    Ok(slip::seal(&have, &SecretKey::open(&secret, None)?)?)
}

#[test]
fn a_delta_carries_the_program_only_to_who_lacks_it_and_nothing_new_is_installed_from_it() -> Result
{
    let folder = folder()?;
    let at = folder.path();
    site(at)?;
    run(program(at, "cache", "UTC", "022")?.args(["bundle", "lock", "demo.toml"]))?;
    let build = |out: &str, more: &[&str]| {
        let words = [
            "bundle",
            "build",
            "demo.toml",
            "--key",
            "release-a",
            "-o",
            out,
        ];
        run(program(at, "cache", "UTC", "022")?.args(words).args(more))
    };
    build("whole", &[])?;
    let sealed = bundle::Sealed::open(&at.join("whole"))?;
    let trust = bundle::Trust::Pinned(sealed.roots[&1].fingerprint());
    let manifest = sealed.verify(&trust)?.manifest;
    let own = debug_binary()?;
    let own = vocab::Digest::of(&fs::read(own)?).hex();
    let all: Vec<String> = manifest.blobs.iter().map(|blob| blob.d.hex()).collect();
    assert!(all.contains(&own));
    let rest: Vec<String> = all.iter().filter(|hex| **hex != own).cloned().collect();
    fs::write(at.join("all.slip"), have(all)?)?;
    fs::write(at.join("rest.slip"), have(rest)?)?;

    let said = build("without", &["--seq", "2", "--have", "all.slip"])?;
    assert!(said.contains("the program is left out"), "{said}");
    let without = at.join("without/lab-stable-000002");
    assert!(!without.join("cofferdam-linux-x86_64").exists());
    let mut bytes = 0;
    for entry in fs::read_dir(&without)? {
        bytes += entry?.metadata()?.len();
    }
    assert!(bytes < 200_000, "a delta of nothing takes {bytes} bytes");
    let told = fs::read_to_string(without.join("VERIFY.txt"))?;
    assert!(
        told.contains("not among these files") && told.contains(&own),
        "{told}"
    );
    let verified = run(Command::new("sh")
        .arg(without.join("verify.sh"))
        .arg(at.join("release-a.pub")))?;
    assert!(verified.contains("blobs: 0, each"), "{verified}");

    // Who lacks that very program gets it, in its volume and beside it.
    let said = build("with", &["--seq", "2", "--have", "rest.slip"])?;
    assert!(!said.contains("left out"), "{said}");
    let beside = fs::read(at.join("with/lab-stable-000002/cofferdam-linux-x86_64"))?;
    assert_eq!(vocab::Digest::of(&beside).hex(), own);

    let refused = program(at, "cache", "UTC", "022")?
        .env("COFFERDAM_PREFIX", at.join("host"))
        .args(["install", "--from", "without", "--root-fingerprint"])
        .arg(sealed.roots[&1].fingerprint().hex())
        .output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("2 of them are not in") && said.contains("the program itself among them"),
        "{said}"
    );
    assert!(!refused.status.success() && !at.join("host").exists());
    Ok(())
}

#[test]
fn what_cannot_be_reached_is_told_with_its_line_and_nothing_is_built() -> Result {
    let folder = folder()?;
    let at = folder.path();
    site(at)?;
    fs::remove_file(at.join("README.md"))?;
    let output = program(at, "cache", "UTC", "022")?
        .args(["bundle", "lock", "demo.toml"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("demo.toml:5: doc readme.md: "), "{said}");
    let output = program(at, "cache", "UTC", "022")?
        .args(["bundle", "build", "demo.toml", "-o", "a", "--locked"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("demo.toml:5: doc readme.md is not locked"),
        "{said}"
    );
    assert!(!at.join("a").exists());
    Ok(())
}

#[test]
fn a_plan_names_what_workflows_need_and_where() -> Result {
    let folder = folder()?;
    let tree = Tree::init(&folder.path().join("app"))?;
    tasks_app(&tree)?;
    tree.write(
        ".github/workflows/more.yml",
        "on: push\njobs:\n  a:\n    runs-on: ${{ matrix.os }}\n    strategy:\n      matrix:\n        \
         os: [ubuntu-latest, big]\n    steps:\n      \
         - uses: actions/setup-node@v4\n        with:\n          node-version: 20.x\n      \
         - uses: ./act\n      - run: |\n          pip install -q ruff 'pytest>=8'\n",
    )?;
    // A job in a container cannot run here yet; what it needs is told all the same.
    tree.write(
        ".github/workflows/boxed.yml",
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    container: postgres:16\n    steps: \
         [{ run: ls }]\n",
    )?;
    tree.write(
        "act/action.yml",
        "runs:\n  using: composite\n  steps:\n    - uses: lab/inner@v2\n",
    )?;
    tree.write("requirements.txt", "# first\nflask==3.1\n")?;
    tree.commit("more")?;
    let words = ["--json", "bundle", "plan", "app"];
    let said = run(program(folder.path(), "cache", "UTC", "022")?.args(words))?;
    let plan: Value = serde_json::from_str(&said)?;
    let found = |kind: &str, name: &str| {
        let needs = plan["needs"].as_array().into_iter().flatten();
        let need = needs
            .into_iter()
            .find(|n| n["kind"] == kind && n["name"] == name);
        need.map(|n| (n["met"].clone(), n["found"][0].clone()))
    };
    let more = "app/.github/workflows/more.yml";
    for (kind, name, met, place) in [
        ("label", "big", false, format!("{more}:4")),
        (
            "oci",
            "postgres:16",
            false,
            "app/.github/workflows/boxed.yml:5".to_owned(),
        ),
        (
            "action",
            "actions/checkout@v4",
            true,
            "app/.github/workflows/ci.yml:11".to_owned(),
        ),
        (
            "action",
            "lab/inner@v2",
            false,
            "app/act/action.yml:4".to_owned(),
        ),
        ("toolcache", "node@20.x", false, format!("{more}:9")),
        ("pypi", "pytest>=8", false, format!("{more}:14")),
        (
            "pypi",
            "flask==3.1",
            false,
            "app/requirements.txt:2".to_owned(),
        ),
    ] {
        assert_eq!(
            found(kind, name),
            Some((met.into(), place.into())),
            "{kind} {name}: {said}"
        );
    }
    Ok(())
}
