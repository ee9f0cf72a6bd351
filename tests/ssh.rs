//! Story: git over SSH, with the OpenSSH client; and those who want more of it than git.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use stories::Site;
use testkit::git::{self, Tree};
use testkit::{Result, http};

const REPO: &str = "lab/app";

/// A site that serves SSH, with user `dev`, who has a key, and one repo.
struct Lab {
    site: Site,
    port: u16,
    fingerprint: String,
}

impl Lab {
    fn new() -> Result<Self> {
        let mut site = Site::bare()?;
        let words = ["--ssh-listen", "127.0.0.1:0"];
        site.appliance.serve_with(&words);
        let mut lab = Self {
            site,
            port: 0,
            fingerprint: String::new(),
        };
        lab.start()?;
        lab.site.appliance.user("dev", &[])?;
        lab.site.appliance.repo(REPO, "dev")?;
        let public = lab.make_key("dev", &["-t", "ed25519"])?;
        lab.add("dev", &public)?;
        Ok(lab)
    }

    /// Starts serving, and learns where, and the host key's public half from the data directory.
    fn start(&mut self) -> Result {
        self.site.appliance.start()?;
        let line = self.site.appliance.server()?.line()?;
        let (address, print) = line.trim().split_once(' ').ok_or("no fingerprint")?;
        let port = address.rsplit_once(':').ok_or("no port")?.1;
        self.port = port.parse()?;
        self.fingerprint = print.to_owned();
        let private = self.site.appliance.data().join("keys/ssh_host_ed25519_key");
        let public = done(Command::new("ssh-keygen").arg("-y").arg("-f").arg(private))?;
        let known = format!("[127.0.0.1]:{} {public}", self.port);
        Ok(std::fs::write(self.path("known_hosts"), known)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.folder.path().join(name)
    }

    /// Makes the key NAME; gives the file of its public half.
    fn make_key(&self, name: &str, how: &[&str]) -> Result<String> {
        let path = self.path(name);
        done(
            Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-C", "dev@lab"])
                .args(how)
                .arg("-f")
                .arg(&path),
        )?;
        Ok(format!("{}.pub", path.display()))
    }

    fn add(&self, user: &str, public: &str) -> Result<String> {
        self.site
            .appliance
            .ok(&["key", "add", user, "--file", public])
    }

    /// The words of `ssh` with the key NAME and nothing of whoever runs the tests.
    fn words(&self, key: &str) -> Vec<String> {
        let known = format!("UserKnownHostsFile={}", self.path("known_hosts").display());
        let mut words: Vec<String> = vec!["-F".into(), "/dev/null".into(), "-i".into()];
        words.push(self.path(key).display().to_string());
        for option in [
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "ConnectTimeout=20",
            &known,
        ] {
            words.extend(["-o".into(), option.into()]);
        }
        words
    }

    fn ssh(&self, key: &str, more: &[&str], user: &str, line: &[&str]) -> Result<Output> {
        let mut command = Command::new("ssh");
        command.args(self.words(key)).args(more);
        command.args(["-p", &self.port.to_string()]);
        command.arg(format!("{user}@127.0.0.1")).args(line);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    fn url(&self) -> String {
        format!("ssh://git@127.0.0.1:{}/{REPO}.git", self.port)
    }

    /// Git in `folder` with the key NAME, and these words for `ssh` besides.
    fn git(&self, folder: &std::path::Path, key: &str, more: &[&str]) -> Command {
        let mut ssh = vec!["ssh".to_owned()];
        ssh.extend(self.words(key));
        ssh.extend(more.iter().map(|word| (*word).to_owned()));
        let mut command = git::command(folder);
        command.env("GIT_SSH_COMMAND", ssh.join(" "));
        command
    }

    fn push(&self, tree: &Tree, key: &str, refspec: &str) -> Result<Output> {
        let mut command = self.git(&tree.folder, key, &[]);
        Ok(command.args(["push", &self.url(), refspec]).output()?)
    }

    /// A working tree with one commit, pushed.
    fn pushed(&self) -> Result<Tree> {
        let tree = self.site.tree("tree")?;
        tree.write("README.md", "# App\n")?;
        tree.commit("first")?;
        let pushed = self.push(&tree, "dev", "HEAD:main")?;
        assert!(pushed.status.success(), "{}", said(&pushed));
        Ok(tree)
    }

    fn entries(&self, action: &str) -> Result<Vec<serde_json::Value>> {
        let words = ["audit", "search", "--action", action];
        let found = self.site.appliance.json(&words)?;
        Ok(found["entries"].as_array().ok_or("no entries")?.clone())
    }

    fn head(&self) -> Result<String> {
        let repositories = self.site.appliance.repositories()?;
        let only = repositories.first().ok_or("no repository")?;
        Ok(git::run(only, &["rev-parse", "refs/heads/main"])?
            .trim()
            .to_owned())
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn done(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(format!("{command:?}: {}", said(&output)).into())
    }
}

#[test]
fn clone_fetch_and_push_go_over_ssh_with_each_protocol() -> Result {
    let lab = Lab::new()?;
    let tree = lab.pushed()?;
    tree.write("two", "2")?;
    let second = tree.commit("second")?;
    let pushed = lab.push(&tree, "dev", "HEAD:main")?;
    assert!(pushed.status.success(), "{}", said(&pushed));
    let folder = lab.site.folder.path();
    for version in ["0", "1", "2"] {
        let name = format!("v{version}");
        let option = format!("protocol.version={version}");
        let url = lab.url();
        done(
            lab.git(folder, "dev", &[])
                .args(["-c", &option, "clone", "-q", &url, &name]),
        )?;
        let shallow = format!("shallow{version}");
        let words = ["-c", &option, "clone", "-q", "--depth", "1", &url, &shallow];
        done(lab.git(folder, "dev", &[]).args(words))?;
        let count = git::run(&folder.join(&shallow), &["rev-list", "--count", "HEAD"])?;
        assert_eq!(count.trim(), "1");
        let head = git::run(&folder.join(&name), &["rev-parse", "HEAD"])?;
        assert_eq!(head.trim(), second);
        git::fsck(&folder.join(&name))?;
    }
    tree.write("three", "3")?;
    let third = tree.commit("third")?;
    let pushed = lab.push(&tree, "dev", "HEAD:main")?;
    assert!(pushed.status.success(), "{}", said(&pushed));
    for version in ["0", "2"] {
        let clone = folder.join(format!("v{version}"));
        let option = format!("protocol.version={version}");
        done(
            lab.git(&clone, "dev", &[])
                .args(["-c", &option, "fetch", "-q"]),
        )?;
        let there = git::run(&clone, &["rev-parse", "origin/main"])?;
        assert_eq!(there.trim(), third);
    }
    let entries = lab.entries("git.push")?;
    assert_eq!(entries.len(), 3, "{entries:?}");
    let print = done(
        Command::new("ssh-keygen")
            .arg("-lf")
            .arg(lab.path("dev.pub")),
    )?;
    for entry in &entries {
        let cred = entry["who"]["cred"].as_str().unwrap_or_default();
        assert!(
            print.contains(cred) && cred.starts_with("SHA256:"),
            "{entry}"
        );
        assert_eq!(entry["who"]["auth"], "ssh", "{entry}");
        assert_eq!(entry["src"]["via"], "ssh", "{entry}");
    }
    assert!(!lab.entries("sshkey.auth_ok")?.is_empty());
    assert!(!lab.entries("git.clone")?.is_empty());
    for repository in lab.site.appliance.repositories()? {
        git::fsck(&repository)?;
    }
    let doctor = lab.site.appliance.json(&["doctor"]);
    // Its verdict on this host's sandboxes is another story's.
    if let Ok(doctor) = doctor {
        assert_eq!(doctor["ssh_host_key"], lab.fingerprint.as_str());
    }
    Ok(())
}

#[test]
fn every_kind_of_key_that_is_taken_signs_in_and_rsa_with_sha_1_does_not() -> Result {
    let lab = Lab::new()?;
    for (name, how) in [
        ("p256", ["-t", "ecdsa", "-b", "256"]),
        ("p384", ["-t", "ecdsa", "-b", "384"]),
        ("p521", ["-t", "ecdsa", "-b", "521"]),
        ("rsa", ["-t", "rsa", "-b", "2048"]),
    ] {
        let public = lab.make_key(name, &how)?;
        lab.add("dev", &public)?;
        let hi = lab.ssh(name, &[], "git", &[])?;
        assert!(said(&hi).contains("Hi dev!"), "{name}: {}", said(&hi));
    }
    for (algorithm, fine) in [
        ("rsa-sha2-256", true),
        ("rsa-sha2-512", true),
        ("ssh-rsa", false),
    ] {
        let option = format!("PubkeyAcceptedAlgorithms={algorithm}");
        let came = lab.ssh("rsa", &["-o", &option], "git", &[])?;
        assert_eq!(
            said(&came).contains("Hi dev!"),
            fine,
            "{algorithm}: {}",
            said(&came)
        );
    }
    Ok(())
}

#[test]
fn wrong_removed_and_suspended_keys_do_not_come_in() -> Result {
    let mut lab = Lab::new()?;
    let tree = lab.pushed()?;
    lab.make_key("stranger", &["-t", "ed25519"])?;
    tree.write("x", "x")?;
    tree.commit("more")?;
    let before = lab.head()?;
    let refused = lab.push(&tree, "stranger", "HEAD:main")?;
    assert!(
        said(&refused).contains("Permission denied"),
        "{}",
        said(&refused)
    );
    // The right key under another name.
    let other = lab.ssh("dev", &[], "root", &[])?;
    assert!(
        said(&other).contains("Permission denied"),
        "{}",
        said(&other)
    );
    let failed = lab.entries("sshkey.auth_fail")?;
    assert_eq!(failed[0]["out"], "denied", "{failed:?}");
    let suspend = |lab: &mut Lab, value: &str| -> Result {
        lab.site.appliance.stop()?;
        let script = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1])\n\
            db.execute('update user set suspended_ms = ' + sys.argv[2])\n\
            db.commit()\n";
        let database = lab.site.appliance.data().join("cofferdam.db");
        done(
            Command::new("python3")
                .args(["-c", script])
                .arg(database)
                .arg(value),
        )?;
        lab.start()
    };
    suspend(&mut lab, "1000")?;
    let refused = lab.push(&tree, "dev", "HEAD:main")?;
    assert!(
        said(&refused).contains("Permission denied"),
        "{}",
        said(&refused)
    );
    suspend(&mut lab, "null")?;
    let control = lab.ssh("dev", &[], "git", &[])?;
    assert!(said(&control).contains("Hi dev!"), "{}", said(&control));
    lab.site.appliance.ok(&["key", "remove", "1"])?;
    let refused = lab.push(&tree, "dev", "HEAD:main")?;
    assert!(
        said(&refused).contains("Permission denied"),
        "{}",
        said(&refused)
    );
    assert_eq!(lab.head()?, before);
    Ok(())
}

#[test]
fn a_deploy_key_that_reads_does_not_push_and_one_that_writes_does() -> Result {
    let lab = Lab::new()?;
    let tree = lab.pushed()?;
    lab.site.appliance.repo("lab/other", "dev")?;
    let reader = lab.make_key("reader", &["-t", "ed25519"])?;
    let writer = lab.make_key("writer", &["-t", "ed25519"])?;
    let add = ["repo", "key", "add", REPO, "--file"];
    lab.site.appliance.ok(&[&add[..], &[&reader]].concat())?;
    lab.site
        .appliance
        .ok(&[&add[..], &[&writer, "--write"]].concat())?;
    let folder = lab.site.folder.path();
    done(
        lab.git(folder, "reader", &[])
            .args(["clone", "-q", &lab.url(), "read"]),
    )?;
    let other = lab.url().replace(REPO, "lab/other");
    for key in ["reader", "writer"] {
        let words = ["clone", "-q", &other, "not"];
        let foreign = lab.git(folder, key, &[]).args(words).output()?;
        assert!(
            said(&foreign).contains("no such repo"),
            "{}",
            said(&foreign)
        );
    }
    tree.write("x", "x")?;
    let commit = tree.commit("more")?;
    let refused = lab.push(&tree, "reader", "HEAD:main")?;
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("may only read"),
        "{}",
        said(&refused)
    );
    let pushed = lab.push(&tree, "writer", "HEAD:main")?;
    assert!(pushed.status.success(), "{}", said(&pushed));
    assert_eq!(lab.head()?, commit);
    let rejected = lab.entries("git.push_rejected")?;
    assert_eq!(rejected[0]["why"], "E_READ_ONLY_KEY", "{rejected:?}");
    Ok(())
}

#[test]
fn nothing_but_git_is_to_be_had() -> Result {
    let lab = Lab::new()?;
    lab.pushed()?;
    let hi = lab.ssh("dev", &[], "git", &[])?;
    assert_eq!(hi.status.code(), Some(1));
    assert!(said(&hi).contains("Hi dev!"), "{}", said(&hi));
    let terminal = lab.ssh("dev", &["-tt"], "git", &[])?;
    assert!(!terminal.status.success());
    let words = said(&terminal);
    assert!(words.contains("PTY allocation request failed"), "{words}");
    for line in [
        &["id"][..],
        &["sh", "-c", "id"],
        &["git-upload-pack '/lab/app.git'; id"],
        &["git-upload-archive '/lab/app.git'"],
        &["git-lfs-authenticate", "lab/app.git", "upload"],
    ] {
        let refused = lab.ssh("dev", &[], "git", line)?;
        let text = said(&refused);
        assert_eq!(refused.status.code(), Some(128), "{line:?}: {text}");
        assert!(!text.contains("uid="), "{line:?}: {text}");
    }
    let lfs = lab.ssh(
        "dev",
        &[],
        "git",
        &["git-lfs-authenticate lab/app.git upload"],
    )?;
    assert!(said(&lfs).contains("LFS is not served"), "{}", said(&lfs));
    let sftp = lab.ssh("dev", &["-s"], "git", &["sftp"])?;
    assert!(
        said(&sftp).contains("subsystem request failed"),
        "{}",
        said(&sftp)
    );
    // A port of the server's own loopback, from outside and from inside.
    let web = lab.site.appliance.address().to_owned();
    let through = lab.ssh("dev", &["-W", &web], "git", &[])?;
    assert!(!through.status.success());
    assert!(said(&through).contains("prohibited"), "{}", said(&through));
    let option = [
        "-o",
        "ExitOnForwardFailure=yes",
        "-N",
        "-R",
        "0:127.0.0.1:1",
    ];
    let back = lab.ssh("dev", &option, "git", &[])?;
    assert!(!back.status.success());
    assert!(said(&back).contains("forwarding failed"), "{}", said(&back));
    Ok(())
}

#[test]
fn a_thousand_connections_that_never_sign_in_keep_nobody_out() -> Result {
    let mut lab = Lab::new()?;
    lab.pushed()?;
    let id = lab.site.appliance.server()?.id();
    let memory = move || -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let text = line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB");
        Ok(text.trim().parse()?)
    };
    let before = memory()?;
    let mut idle = Vec::new();
    for number in 0..1000 {
        let mut stream = TcpStream::connect(("127.0.0.1", lab.port))?;
        // Half of them say who they are, so that the server waits in another place.
        if number % 2 == 0 {
            stream.write_all(b"SSH-2.0-idle\r\n")?;
        }
        idle.push(stream);
    }
    let from = ["-b", "127.0.0.2"];
    let hi = lab.ssh("dev", &from, "git", &[])?;
    assert!(said(&hi).contains("Hi dev!"), "{}", said(&hi));
    let ready = http::get(lab.site.appliance.address(), "/readyz", &[])?;
    assert_eq!(ready.status, 200);
    let folder = lab.site.folder.path();
    done(
        lab.git(folder, "dev", &from)
            .args(["clone", "-q", &lab.url(), "clone"]),
    )?;
    let grown = memory()?.saturating_sub(before);
    assert!(grown < 64 << 10, "the server grew by {grown} KiB");
    // All but those that may wait were hung up on: their streams end.
    let ended = idle
        .iter_mut()
        .take(900)
        .filter_map(|stream| stream.read_to_end(&mut Vec::new()).ok())
        .count();
    assert!(ended > 0, "nobody was hung up on");
    Ok(())
}

#[test]
fn a_big_push_arrives_and_one_that_is_killed_leaves_nothing() -> Result {
    let mut lab = Lab::new()?;
    let tree = lab.pushed()?;
    let first = lab.head()?;
    let mut noise = vec![0; 64 << 20];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut noise)?;
    tree.write("noise", &noise)?;
    let commit = tree.commit("big")?;
    let mut packer = git::command(&tree.folder)
        .args(["pack-objects", "--revs", "--stdout", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let wanted = format!("{commit}\n^{first}\n");
    let mut ask = packer.stdin.take().ok_or("no input")?;
    ask.write_all(wanted.as_bytes())?;
    drop(ask);
    let pack = packer.wait_with_output()?.stdout;
    let mut client = Command::new("ssh")
        .args(lab.words("dev"))
        .args(["-p", &lab.port.to_string(), "git@127.0.0.1"])
        .arg(format!("git-receive-pack '/{REPO}.git'"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = client.stdin.take().ok_or("no input")?;
    let line = format!("{first} {commit} refs/heads/main\0 report-status");
    input.write_all(format!("{:04x}{line}0000", line.len() + 4).as_bytes())?;
    input.write_all(&pack[..pack.len() / 2])?;
    client.kill()?;
    client.wait()?;
    drop(input);
    assert_eq!(lab.head()?, first);
    let pushed = lab.push(&tree, "dev", "HEAD:main")?;
    assert!(pushed.status.success(), "{}", said(&pushed));
    assert_eq!(lab.head()?, commit);
    for repository in lab.site.appliance.repositories()? {
        git::fsck(&repository)?;
    }
    lab.site.appliance.stop()?;
    let checked = lab.site.appliance.ok(&["fsck"])?;
    assert!(checked.contains("all is well"), "{checked}");
    Ok(())
}
