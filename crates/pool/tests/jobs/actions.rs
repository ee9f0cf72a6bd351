//! The built-in actions: checkout and setup-python.

use std::process::Command;
use std::sync::Arc;

use git::{Durability, Repository};
use pool::RepoSource;
use vocab::Outcome;

use crate::common::{Case, Tree, case, executor};

fn with_tree(job: &str, files: &[(&'static str, &'static str)]) -> Case {
    let mut case = case(job);
    case.source = Box::new(Tree {
        files: files.to_vec(),
        has_submodules: false,
    });
    case
}

#[test]
fn checkout_puts_the_tree_into_the_workspace_and_cleans_what_was_there() {
    let Some(executor) = executor() else { return };
    let ran = with_tree(
        r#"steps:
  - { id: co, uses: actions/checkout@v4 }
  - run: |
      cat README.md src/a.py; echo "${{ steps.co.outputs.commit }} ${{ steps.co.outputs.ref }}"
      touch left-over
  - { uses: actions/checkout@v2.1 }
  - { run: "test ! -e left-over && echo clean && touch kept" }
  - { uses: actions/checkout@v3, with: { clean: false } }
  - { uses: actions/checkout@v3, with: { path: sub/dir } }
  - { run: "test -e kept && ls sub/dir" }
"#,
        &[("README.md", "hello\n"), ("src/a.py", "print(1)\n")],
    )
    .run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Success, "{}", ran.log());
    let sha = "0123456789012345678901234567890123456789 refs/heads/main";
    assert_eq!(
        ran.out(),
        ["hello", "print(1)", sha, "clean", "README.md", "src"]
    );
}

#[test]
fn checkout_refuses_with_a_word_what_it_cannot_do() {
    let Some(executor) = executor() else { return };
    let mut case = case(
        r#"steps:
  - { id: other, continue-on-error: true, uses: actions/checkout@v4, with: { repository: a/b } }
  - { id: out, continue-on-error: true, uses: actions/checkout@v4, with: { path: ../../etc } }
  - { id: lfs, continue-on-error: true, uses: actions/checkout@v4, with: { lfs: true } }
  - { id: depth, continue-on-error: true, uses: actions/checkout@v4, with: { fetch-depth: -1 } }
  - { id: subs, continue-on-error: true, uses: actions/checkout@v4, with: { submodules: recursive } }
  - { id: none, uses: actions/cache@v4 }
"#,
    );
    case.source = Box::new(Tree {
        files: vec![(".gitmodules", "x")],
        has_submodules: true,
    });
    let ran = case.run(&executor);
    let reason = |id| ran.step(id).reason.clone();
    assert!(
        reason("other").contains("a/b is not one that this job may read"),
        "{}",
        ran.log()
    );
    assert!(
        reason("out").contains("leaves the workspace"),
        "{}",
        ran.log()
    );
    assert!(reason("lfs").contains("lfs"), "{}", ran.log());
    assert!(reason("depth").contains("fetch-depth"), "{}", ran.log());
    assert!(reason("subs").contains("submodules"), "{}", ran.log());
    let none = reason("none");
    assert!(
        none.contains("action actions/cache@v4 is neither built in nor"),
        "{none}"
    );
}

fn git(dir: &std::path::Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.test"])
        .args(args)
        .output()
        .expect("git runs");
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

#[test]
fn a_real_repo_is_checked_out_as_a_work_tree_that_git_finds_clean() {
    let Some(executor) = executor() else { return };
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    git(&work, &["init", "-q", "-b", "main"]);
    std::fs::write(work.join("a.txt"), "one\n").unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "first"]);
    std::fs::write(work.join("a.txt"), "two\n").unwrap();
    git(&work, &["commit", "-qam", "second"]);
    let sha = git(&work, &["rev-parse", "HEAD"]);
    let bare = dir.path().join("bare.git");
    git(dir.path(), &["clone", "-q", "--bare", "work", "bare.git"]);

    let repo = Arc::new(Repository::open(&bare, Durability::Full).unwrap());
    let mut case = case(
        r#"steps:
  - { uses: actions/checkout@v4 }
  - run: |
      cat a.txt; git rev-parse HEAD; git status --porcelain; git log --oneline | wc -l
      git branch --show-current
      git config --get remote.origin.url
      if grep -rniE 'authorization|extraheader|password' .git/config; then echo LEAK; fi
  - { uses: actions/checkout@v4, with: { fetch-depth: 0, path: full } }
  - { run: git log --format=%s, working-directory: full }
"#,
    );
    case.order
        .github
        .insert("sha".to_owned(), sha.clone().into());
    case.source = Box::new(RepoSource::new("lab/tasks-app".to_owned(), repo));
    let ran = case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Success, "{}", ran.log());
    let url = "http://forge.test/lab/tasks-app.git";
    assert_eq!(
        ran.out(),
        ["two", sha.as_str(), "1", "main", url, "second", "first"]
    );
}

#[test]
fn setup_python_gives_an_unmanaged_prefix_in_which_pip_installs() {
    let Some(executor) = executor() else { return };
    let ran = with_tree(
        r#"steps:
  - { uses: actions/checkout@v4 }
  - { id: py, uses: actions/setup-python@v5, with: { python-version: "3.x" } }
  - run: |
      command -v python python3
      python -c 'import sys; print(sys.prefix != sys.base_prefix, sys.prefix)'
      test "$(python -c 'import platform; print(platform.python_version())')" = "${{ steps.py.outputs.python-version }}"
      test "$pythonLocation" = "$(python -c 'import sys; print(sys.prefix)')"
      test "${{ steps.py.outputs.python-path }}" = "$(command -v python)"
      test "$(command -v pip)" = "$pythonLocation/bin/pip"
      pip --version | grep -o '^pip'
      pip install --quiet --no-index --no-deps ./demo-1.0-py3-none-any.whl 2>&1 | grep -v -i 'running pip as' || true
      demo
      python -m pip uninstall -qy demo 2>&1 | grep -v -i 'running pip as' || true
      python -c 'import yaml' 2>/dev/null && echo LEAKED || echo sealed
"#,
        &[],
    );
    let mut ran_case = ran;
    ran_case.source = Box::new(Wheel);
    let ran = ran_case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Success, "{}", ran.log());
    let out = ran.out();
    assert!(
        out[0].starts_with("/work/_python/3.") && out[0].ends_with("/bin/python"),
        "{out:?}"
    );
    assert!(out[2].starts_with("True /work/_python/3."), "{out:?}");
    assert_eq!(out[3..], ["pip", "demo runs", "sealed"], "{}", ran.log());
}

#[test]
fn setup_python_says_what_there_is_when_nothing_fits() {
    let Some(executor) = executor() else { return };
    let ran = with_tree(
        r#"steps:
  - { uses: actions/checkout@v4 }
  - { id: old, continue-on-error: true, uses: actions/setup-python@v5, with: { python-version: "2.7" } }
  - { id: odd, continue-on-error: true, uses: actions/setup-python@v5, with: { python-version: latest } }
  - { id: file, continue-on-error: true, uses: actions/setup-python@v5, with: { python-version-file: pyproject.toml } }
  - { id: range, uses: actions/setup-python@v5, with: { python-version: ">=3.6 <4" } }
"#,
        &[("pyproject.toml", "[project]\nrequires-python = \"==2.7.*\"\n")],
    )
    .run(&executor);
    assert!(
        ran.step("old")
            .reason
            .contains("Python 2.7 is not in this image"),
        "{}",
        ran.log()
    );
    assert!(
        ran.step("old").reason.contains("(/usr/bin/python3."),
        "{}",
        ran.log()
    );
    assert!(
        ran.step("odd")
            .reason
            .contains("'latest' is not understood"),
        "{}",
        ran.log()
    );
    assert!(ran.step("file").reason.contains("==2.7.*"), "{}", ran.log());
    assert_eq!(
        ran.step("range").conclusion,
        Outcome::Success,
        "{}",
        ran.log()
    );
}

/// A tree with one wheel, which is a zip archive without compression.
struct Wheel;

impl runner::Source for Wheel {
    fn checkout(
        &self,
        _: &runner::CheckoutRequest,
        out: &mut dyn std::io::Write,
    ) -> Result<runner::CheckedOut, runner::SourceError> {
        let info = "demo-1.0.dist-info";
        let files = [
            (
                "demo.py".to_owned(),
                "def main():\n    print('demo runs')\n".to_owned(),
            ),
            (
                format!("{info}/METADATA"),
                "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n".into(),
            ),
            (
                format!("{info}/WHEEL"),
                "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
                    .into(),
            ),
            (
                format!("{info}/entry_points.txt"),
                "[console_scripts]\ndemo = demo:main\n".into(),
            ),
            (format!("{info}/RECORD"), String::new()),
        ];
        let wheel = stored_zip(&files);
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(wheel.len()).expect("it is small"));
        header.set_mode(0o644);
        let mut tar = tar::Builder::new(out);
        tar.append_data(&mut header, "demo-1.0-py3-none-any.whl", wheel.as_slice())
            .expect("it is small");
        tar.finish().expect("it is small");
        Ok(runner::CheckedOut {
            commit: String::new(),
            reference: String::new(),
            has_submodules: false,
            files: 1,
        })
    }
}

/// A zip archive of stored files (APPNOTE.TXT 4.3).
fn stored_zip(files: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut central = Vec::new();
    for (name, text) in files {
        let at = u32::try_from(out.len()).expect("it is small");
        let size = u32::try_from(text.len())
            .expect("it is small")
            .to_le_bytes();
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend_from_slice(&crc32(text.as_bytes()).to_le_bytes());
        common.extend_from_slice(&size);
        common.extend_from_slice(&size);
        common.extend_from_slice(
            &u16::try_from(name.len())
                .expect("it is small")
                .to_le_bytes(),
        );
        common.extend_from_slice(&[0, 0]);
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&common);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(text.as_bytes());
        central.extend_from_slice(b"PK\x01\x02\x14\0");
        central.extend_from_slice(&common);
        central.extend_from_slice(&[0; 10]);
        central.extend_from_slice(&at.to_le_bytes());
        central.extend_from_slice(name.as_bytes());
    }
    let count = u16::try_from(files.len())
        .expect("it is small")
        .to_le_bytes();
    let start = u32::try_from(out.len()).expect("it is small").to_le_bytes();
    let length = u32::try_from(central.len())
        .expect("it is small")
        .to_le_bytes();
    out.extend_from_slice(&central);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    for field in [&count[..], &count, &length, &start, &[0, 0]] {
        out.extend_from_slice(field);
    }
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}
