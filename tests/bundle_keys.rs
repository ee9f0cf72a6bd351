//! Story: a site makes its keys, says who may sign, rotates and revokes, without any appliance.

use std::path::Path;
use std::process::{Command, Output};

use stories::folder;
use testkit::Result;
use testkit::appliance::debug_binary;

/// Runs `cofferdam bundle …` in `folder`.
fn bundle(folder: &Path, words: &[&str]) -> Result<Output> {
    Ok(Command::new(debug_binary()?)
        .arg("bundle")
        .args(words)
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .output()?)
}

fn ok(folder: &Path, words: &[&str]) -> Result<String> {
    let ran = bundle(folder, words)?;
    if !ran.status.success() {
        return Err(format!("{words:?}: {}", String::from_utf8_lossy(&ran.stderr)).into());
    }
    Ok(String::from_utf8(ran.stdout)?)
}

#[test]
fn a_site_keeps_its_own_trust_root() -> Result {
    let folder = folder()?;
    let at = folder.path();
    for name in ["root-a", "root-b", "release-a", "release-b"] {
        ok(at, &["keygen", name, "--no-password"])?;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(at.join("root-a.key"))?
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let init = [
        "root",
        "init",
        "--site",
        "lab",
        "--root",
        "root-a",
        "--root",
        "root-b",
        "--release",
        "release-a",
        "--release",
        "release-b",
        "--key",
        "root-a",
    ];
    // Two of two root keys must sign; the second one is missing, and that is said.
    let first = bundle(at, &init)?;
    assert_eq!(first.status.code(), Some(1));
    let said = String::from_utf8(first.stdout)?;
    assert!(
        said.contains("not in force yet") && said.contains("root-b"),
        "{said}"
    );
    let said = ok(at, &["root", "sign", "--key", "root-b"])?;
    assert!(said.contains("fingerprint"), "{said}");

    let refused = bundle(at, &["root", "revoke", "release-a"])?;
    assert_eq!(
        refused.status.code(),
        Some(2),
        "one key cannot be two of two"
    );
    let next = bundle(
        at,
        &["root", "revoke", "release-a", "--release-threshold", "1"],
    )?;
    assert_eq!(next.status.code(), Some(1), "unsigned, so not in force");
    for key in ["root-a", "root-b"] {
        bundle(at, &["root", "sign", "--key", key])?;
    }
    let shown: serde_json::Value = serde_json::from_str(&ok(at, &["root", "show", "--json"])?)?;
    assert_eq!(shown["statements"][1]["holds"], true, "{shown:#}");
    assert_eq!(
        shown["statements"][1]["statement"]["revoked"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    Ok(())
}

#[test]
fn a_key_is_never_overwritten_and_a_stranger_cannot_sign_statements() -> Result {
    let folder = folder()?;
    let at = folder.path();
    for name in ["root-a", "release-a", "stranger"] {
        ok(at, &["keygen", name, "--no-password"])?;
    }
    let again = bundle(at, &["keygen", "root-a", "--no-password"])?;
    assert_eq!(again.status.code(), Some(2));
    let init = [
        "root",
        "init",
        "--site",
        "lab",
        "--root",
        "root-a",
        "--release",
        "release-a",
    ];
    bundle(at, &init)?;
    let refused = bundle(at, &["root", "sign", "--key", "stranger"])?;
    let said = String::from_utf8(refused.stderr)?;
    assert!(said.contains("is no root key of statement 1"), "{said}");
    ok(at, &["root", "sign", "--key", "root-a"])?;
    // Without a terminal a password cannot be asked for; the error says what to do.
    let asked = bundle(at, &["keygen", "other"])?;
    let said = String::from_utf8(asked.stderr)?;
    assert!(said.contains("--password-file"), "{said}");
    Ok(())
}
