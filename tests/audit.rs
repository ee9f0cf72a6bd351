//! Story: an auditor takes an export away and checks it where there is no appliance.

use std::fs;

use serde_json::Value;
use stories::Site;
use testkit::Result;

const REPO: &str = "lab/app";

fn deeds() -> Result<Site> {
    let site = Site::serving()?;
    site.repo(REPO)?;
    Ok(site)
}

fn code(out: &std::process::Output) -> (Option<i32>, String) {
    let said = [&out.stdout[..], &out.stderr[..]].concat();
    (
        out.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn an_export_is_verified_with_nothing_else_at_hand_and_the_next_continues_it() -> Result {
    let mut site = deeds()?;
    let path = |name: &str| site.folder.path().join(name).display().to_string();
    let (first, second) = (path("q1.cfa"), path("q2.cfa"));
    site.appliance.ok(&["audit", "export", "-o", &first])?;
    site.appliance.user("eve", &[])?;
    site.appliance
        .ok(&["audit", "export", "--with-names", "-o", &second])?;
    let key = fs::read_to_string(site.appliance.data().join("audit/log.key"))?;
    site.appliance.stop()?;
    fs::remove_dir_all(site.appliance.data())?;

    let said = site.appliance.ok(&[
        "audit",
        "verify",
        &second,
        "--previous",
        &first,
        "--key",
        &key,
    ])?;
    assert!(said.contains("it continues the earlier export"), "{said}");
    let verdict = site.appliance.json(&["audit", "verify", &second])?;
    assert_eq!(verdict["good"], true);
    assert!(verdict["openings"].as_u64() > Some(0), "{verdict}");

    let backwards = site
        .appliance
        .run(&["audit", "verify", &first, "--previous", &second])?;
    let (status, said) = code(&backwards);
    assert!(status == Some(1) && said.contains("REFUSED"), "{said}");
    let mut bytes = fs::read(&second)?;
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&second, bytes)?;
    let (status, said) = code(&site.appliance.run(&["audit", "verify", &second])?);
    assert!(status == Some(1) && said.contains("refused: "), "{said}");
    let (status, said) = code(&site.appliance.run(&["audit", "verify", "/dev/zero"])?);
    assert!(
        status == Some(2) && said.contains("no regular file"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_search_finds_by_name_and_kind_and_an_export_hides_the_rest() -> Result {
    let site = deeds()?;
    let found = site
        .appliance
        .json(&["audit", "search", "--action", "token.*"])?;
    let entries = found["entries"].as_array().ok_or("no entries")?;
    assert!(!entries.is_empty());
    assert!(
        entries.iter().all(|entry| entry["act"] == "token.create"),
        "{found}"
    );
    let nobody = site
        .appliance
        .json(&["audit", "search", "--actor", "dev"])?;
    assert_eq!(
        nobody["entries"],
        Value::Array(Vec::new()),
        "dev did nothing"
    );
    let later = site
        .appliance
        .json(&["audit", "search", "--since", "2999-01-01"])?;
    assert_eq!(later["entries"], Value::Array(Vec::new()));

    let out = site.folder.path().join("tokens.cfa").display().to_string();
    let said = site
        .appliance
        .json(&["audit", "export", "--action", "token.*", "-o", &out])?;
    assert_eq!(said["shown"], entries.len());
    assert!(said["hidden"].as_u64() > Some(0), "{said}");
    let again = site.appliance.run(&["audit", "export", "-o", &out])?;
    assert!(code(&again).1.contains("-o takes a new file"), "{again:?}");
    Ok(())
}

#[test]
fn who_follows_the_log_sees_what_is_done_then() -> Result {
    let site = deeds()?;
    let mut command = site
        .appliance
        .command(&["audit", "tail", "--follow", "--action", "user.*"]);
    command.stdout(std::process::Stdio::piped());
    let mut tail = command.spawn()?;
    let lines = std::io::BufReader::new(tail.stdout.take().ok_or("no output")?);
    let mut lines = std::io::BufRead::lines(lines);
    let first = lines.next().ok_or("it ended")??;
    assert!(first.contains("user.create"), "{first}");
    site.appliance.user("eve", &[])?;
    let next: Value = serde_json::from_str(&lines.next().ok_or("it ended")??)?;
    assert_eq!(next["act"], "user.create");
    tail.kill()?;
    tail.wait()?;
    Ok(())
}

#[test]
fn an_appliance_whose_log_was_tampered_with_reads_and_changes_nothing() -> Result {
    let mut site = deeds()?;
    site.appliance.stop()?;
    site.appliance.ok(&["fsck"])?;
    let tile = fs::read_dir(site.appliance.data().join("audit/tile/0/000.p"))?;
    let tile = tile.last().ok_or("no tile")??.path();
    let mut bytes = fs::read(&tile)?;
    bytes[0] ^= 1;
    fs::write(&tile, bytes)?;
    let (status, said) = code(&site.appliance.run(&["fsck"])?);
    assert!(
        status == Some(1) && said.contains("audit entry 0 is not the one"),
        "{said}"
    );
    site.appliance.start()?;
    let refused = loop {
        // The check runs beside the start; what is done before it ends is done.
        let out = site.appliance.run(&["repo", "create", "lab/other"])?;
        if !out.status.success() {
            break code(&out).1;
        }
        site.appliance.run(&["repo", "delete", "lab/other"])?;
    };
    assert!(!refused.is_empty());
    assert!(
        site.appliance
            .ok(&["audit", "search"])?
            .contains("repo.create")
    );
    Ok(())
}
