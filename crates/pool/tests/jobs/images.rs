//! Jobs in an image: its environment, its user, its name in the receipt.

use std::path::Path;
use std::process::Command;

use runner::executor::ImageFacts;
use vocab::{Digest, Outcome};

use crate::common::{case, executor};

/// Puts programs of this host, with the libraries they need, into a layer.
fn layer(dir: &Path, programs: &[&str]) {
    for name in ["bin", "etc", "tmp", "home/ci"] {
        std::fs::create_dir_all(dir.join(name)).expect("it is new");
    }
    for program in programs {
        let path = format!("/usr/bin/{program}");
        std::fs::copy(&path, dir.join("bin").join(program)).expect("the host has it");
        let listed = Command::new("ldd")
            .arg(&path)
            .output()
            .expect("the host has ldd");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for library in listed.split_whitespace().filter(|w| w.starts_with('/')) {
            let target = dir.join(&library[1..]);
            std::fs::create_dir_all(target.parent().expect("absolute")).expect("a folder");
            std::fs::copy(library, target).expect("ldd named it");
        }
    }
    let passwd = "root:x:0:0::/root:/bin/sh\nci:x:1001:1002::/home/ci:/bin/sh\n";
    std::fs::write(dir.join("etc/passwd"), passwd).expect("a file");
}

#[test]
fn a_job_has_its_images_environment_and_user() {
    let Some(executor) = executor() else { return };
    let dir = tempfile::tempdir().unwrap();
    layer(dir.path(), &["sh", "id", "cat", "touch"]);
    let mut case = case(
        r#"steps:
  - id: all
    run: |
      echo "$(id -u):$(id -g) $HOME $FROM_IMAGE $PATH"
      touch "$GITHUB_WORKSPACE/mine" "$RUNNER_TEMP/mine" && echo x=1 >> "$GITHUB_OUTPUT"
      echo "to stderr" > /dev/stderr
  - run: echo "${{ steps.all.outputs.x }}"
"#,
    );
    let digest = Digest::of(b"image");
    case.order.image = Some(ImageFacts {
        name: "tiny".to_owned(),
        digest,
        layers: vec![dir.path().to_owned()],
        env: vec!["PATH=/bin".to_owned(), "FROM_IMAGE=yes".to_owned()],
        user: "ci".to_owned(),
    });
    let ran = case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Success, "{}", ran.log());
    assert_eq!(
        ran.out(),
        ["1001:1002 /home/ci yes /bin", "to stderr", "1"],
        "{}",
        ran.log()
    );
    let root = &ran.receipt("root")[0];
    assert!(
        root.starts_with(&format!("image tiny {digest}; overlay ")),
        "{root}"
    );

    case.order.image.as_mut().unwrap().user = "nobody-here".to_owned();
    let ran = case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Failure);
    assert!(
        ran.report.reason.contains("'nobody-here' is not there"),
        "{}",
        ran.report.reason
    );

    case.order.image.as_mut().unwrap().layers = vec![dir.path().join("gone")];
    let ran = case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Failure);
    assert!(ran.report.receipt.is_none() && !ran.report.reason.is_empty());
}
