//! Story: a host without systemd gets the appliance, is interrupted, gets it again, and loses it.
//!
//! The host is a folder with the files that an installation reads and writes; user, ids and
//! processes are real. Booted hosts with systemd are `cargo xtask hosts`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use stories::folder;
use stories::stick::Stick;
use testkit::Result;
use testkit::appliance::debug_binary;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n";
const GROUP: &str = "root:x:0:\n";

/// A host in a folder. What serves in it is ended with it.
struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Result<Self> {
        let host = Self { root: folder()? };
        fs::create_dir_all(host.at("etc"))?;
        fs::write(host.at("etc/passwd"), PASSWD)?;
        fs::write(host.at("etc/group"), GROUP)?;
        fs::write(host.at("etc/shadow"), "root:*:1::::::\n")?;
        fs::write(host.at("etc/subuid"), "")?;
        fs::write(host.at("etc/subgid"), "")?;
        Ok(host)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(debug_binary()?);
        command
            .args(words)
            .env("COFFERDAM_PREFIX", self.root.path())
            .env_remove("COFFERDAM_DATA")
            .stdin(Stdio::null());
        Ok(command)
    }

    fn run(&self, words: &[&str]) -> Result<Output> {
        Ok(self.command(words)?.output()?)
    }

    fn ok(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("{words:?} ended with {}: {said}{stderr}", output.status).into())
    }

    fn install(&self) -> Result<String> {
        self.ok(&["install", "--listen", "127.0.0.1:0", "--name", "forge.lab"])
    }

    fn data(&self) -> PathBuf {
        self.at("var/lib/cofferdam")
    }

    /// What is noted of the installed version.
    fn release(&self) -> Result<Value> {
        let path = self.at("opt/cofferdam/current/release.json");
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Every path of the host with what it holds, but for the appliance's data.
    fn snapshot(&self) -> Result<Vec<String>> {
        let listed = Command::new("find")
            .arg(self.root.path())
            .args(["-path", "*/var/lib/cofferdam", "-prune", "-o", "-type", "f"])
            .args([
                "-not",
                "-name",
                ".pwd.lock",
                "-exec",
                "sha256sum",
                "{}",
                "+",
            ])
            .output()?;
        let text = String::from_utf8(listed.stdout)?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Nothing may serve on from a folder that is about to be removed.
        if let Err(error) = self.run(&["uninstall", "--purge", "--yes"]) {
            println!("the host could not be cleaned: {error}");
        }
    }
}

fn owner(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.uid())
}

/// Whether the process still runs a program: one that ended and was not yet collected by the
/// host's init has an empty command line.
fn runs(pid: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn install_serves_with_a_user_of_its_own_and_uninstall_leaves_only_the_data() -> Result {
    let host = Host::new()?;
    let before = host.snapshot()?;
    let said = host.install()?;
    assert!(
        said.contains("sign in as admin with the password"),
        "{said}"
    );
    assert_eq!(owner(&host.data().join("cofferdam.db"))?, 999);
    assert_eq!(owner(&host.data().join("keys/tls/ca.key"))?, 999);
    let subuid = fs::read_to_string(host.at("etc/subuid"))?;
    assert_eq!(subuid, "cofferdam:1879048192:4194304\n");
    let pid = fs::read_to_string(host.at("run/cofferdam/serve.pid"))?;
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()))?;
    assert!(status.contains("\nUid:\t999\t999\t999\t999\n"), "{status}");
    assert!(status.contains("\nCapEff:\t0000000000000000\n"), "{status}");
    let noted = host.release()?;
    assert_eq!(noted["version"], cofferdam::Program::THIS.version);
    assert_eq!(noted["arch"], "amd64");
    let schema = serde_json::to_value(cofferdam::Program::THIS.schema())?;
    assert_eq!(noted["schema"], schema);
    assert_eq!((&noted["epoch"], &noted["bundle"]), (&json!(0), &json!("")));

    // Again: nothing changes, the same process serves, no second administrator is made.
    let installed = host.snapshot()?;
    let again = host.install()?;
    assert!(!again.contains("password"), "{again}");
    assert_eq!(host.snapshot()?, installed);

    host.ok(&["uninstall"])?;
    assert_eq!(host.snapshot()?, before);
    assert!(host.data().join("cofferdam.db").exists());
    assert!(!runs(pid.trim()));

    // The data is found again, and goes when that is asked for.
    host.install()?;
    host.ok(&["uninstall", "--purge", "--yes"])?;
    assert!(!host.data().exists());
    Ok(())
}

#[test]
fn a_refused_install_leaves_nothing_behind() -> Result {
    let host = Host::new()?;
    let before = host.snapshot()?;
    let pem = host.at("alien.pem");
    fs::write(&pem, "no certificate\n")?;
    let pem = pem.to_str().ok_or("a path is no text")?.to_owned();
    let empty = folder()?;
    let medium = empty.path().to_str().ok_or("a path is no text")?.to_owned();
    let fingerprint = "0".repeat(64);
    for (words, why) in [
        (
            vec!["install", "--cert", &pem, "--key", &pem],
            "certificate",
        ),
        (
            vec!["install", "--name", "not a name"],
            "neither a host's name",
        ),
        (vec!["install", "--data", "relative"], "slash"),
        (vec!["install", "--from", &medium], "on the paper"),
        (
            vec![
                "install",
                "--from",
                &medium,
                "--root-fingerprint",
                &fingerprint,
            ],
            "MANIFEST.json",
        ),
        (
            vec!["install", "--from", &medium, "--root-fingerprint", "123"],
            "64 digits",
        ),
    ] {
        let refused = host.run(&words)?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains(why),
            "{words:?}: {said}"
        );
    }
    fs::remove_file(host.at("alien.pem"))?;
    assert_eq!(host.snapshot()?, before);
    Ok(())
}

#[test]
fn a_delta_installs_only_where_what_it_leaves_out_is_there() -> Result {
    let host = Host::new()?;
    let medium = folder()?;
    let stick = Stick::new(medium.path())?;
    let there = b"carried before";
    let digest = vocab::Digest::of(there);
    let mut draft = Stick::draft(2);
    draft.have_sha256 = Some(vocab::Digest::of(b"slip"));
    draft.assumed.insert(digest, there.len() as u64);
    let delta = stick.bundle(draft, &[("old", there), ("new", b"carried now")])?;
    let delta = delta.to_str().ok_or("a path is no text")?;
    let fingerprint = stick.fingerprint();
    let words = [
        "install",
        "--listen",
        "127.0.0.1:0",
        "--from",
        delta,
        "--root-fingerprint",
        &fingerprint,
    ];
    let before = host.snapshot()?;
    let refused = host.run(&words)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success()
            && said.contains("1 of them are not in")
            && !said.contains("the program itself"),
        "{said}"
    );
    assert_eq!(host.snapshot()?, before);

    host.install()?;
    let home = store::blob_path(&host.data(), &digest);
    fs::create_dir_all(home.parent().ok_or("a blob has no folder")?)?;
    fs::write(&home, there)?;
    let said = host.ok(&words)?;
    assert!(said.contains("✓ import:"), "{said}");
    Ok(())
}

#[test]
fn nothing_is_installed_while_an_update_is_under_way() -> Result {
    let host = Host::new()?;
    host.install()?;
    let before = host.snapshot()?;
    let guard = fs::File::open(host.at("opt/cofferdam/update.lock"))?;
    guard.lock()?;
    let refused = host.run(&["install", "--listen", "127.0.0.1:0"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("an update is under way"),
        "{said}"
    );
    assert_eq!(host.snapshot()?, before);
    guard.unlock()?;
    host.install()?;
    Ok(())
}

#[test]
fn an_install_that_was_killed_at_any_step_is_completed_by_the_next() -> Result {
    for step in [
        "program",
        "user and ids",
        "data directory",
        "certificate",
        "start",
    ] {
        let host = Host::new()?;
        let mut killed = host
            .command(&["install", "--listen", "127.0.0.1:0"])?
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        kill_after(&mut killed, step)?;
        let said = host.install()?;
        assert!(said.contains("Cofferdam is at"), "after {step}: {said}");
        let passwd = fs::read_to_string(host.at("etc/passwd"))?;
        assert_eq!(passwd.matches("cofferdam:x:").count(), 1, "after {step}");
    }
    Ok(())
}

/// Kills the installer as soon as it says that `step` is done.
fn kill_after(installer: &mut Child, step: &str) -> Result {
    use std::io::BufRead as _;
    let out = installer
        .stdout
        .take()
        .ok_or("the installer has no output")?;
    for line in std::io::BufReader::new(out).lines() {
        if line?.contains(&format!("✓ {step}:")) {
            installer.kill()?;
            break;
        }
    }
    installer.wait()?;
    Ok(())
}
