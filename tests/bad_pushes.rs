//! Story: somebody sends what no git would send, or to where they may not.

use std::io::Write as _;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use stories::Site;
use testkit::git::{self, Tree};
use testkit::http::{self, Request, Response};
use testkit::{Result, git::run};

const REPO: &str = "lab/app";
const NOTHING: &str = "0000000000000000000000000000000000000000";

/// A serving site with one pushed commit, and what is needed to push raw bytes to it.
struct Target {
    site: Site,
    token: String,
    tree: Tree,
    commit: String,
}

impl Target {
    fn new() -> Result<Self> {
        let site = Site::serving()?;
        let token = site.appliance.user("dev", &[])?;
        site.appliance.repo(REPO, "dev")?;
        let tree = site.tree("tree")?;
        tree.write("README.md", "# App\n")?;
        let commit = tree.commit("first")?;
        tree.push(&site.appliance.url(REPO, "dev", &token), "HEAD:main")?;
        Ok(Self {
            site,
            token,
            tree,
            commit,
        })
    }

    /// Asks to create `name` at `id`, with these bytes as the pack.
    fn send(&self, name: &str, id: &str, pack: &[u8]) -> Result<Response> {
        let line = format!("{NOTHING} {id} {name}\0 report-status agent=story/1\n");
        let mut body = format!("{:04x}{line}0000", line.len() + 4).into_bytes();
        body.extend_from_slice(pack);
        let login = http::basic("dev", &self.token);
        let headers = [
            ("Authorization", login.as_str()),
            ("Content-Type", "application/x-git-receive-pack-request"),
        ];
        let path = format!("/{REPO}.git/git-receive-pack");
        http::send(
            self.site.appliance.address(),
            &Request {
                method: "POST",
                path: &path,
                headers: &headers,
                body: &body,
            },
        )
    }

    fn refs(&self) -> Result<String> {
        let url = self.site.appliance.url(REPO, "dev", &self.token);
        run(&self.tree.folder, &["ls-remote", &url])
    }

    /// A commit that the server does not have, and its pack.
    fn new_commit(&self) -> Result<(String, Vec<u8>)> {
        self.tree.write(
            "more",
            "some more text, some more text, some more text\n".repeat(50),
        )?;
        let commit = self.tree.commit("second")?;
        let mut packer = git::command(&self.tree.folder)
            .args(["pack-objects", "--revs", "--stdout", "-q"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let wanted = format!("{commit}\n^{}\n", self.commit);
        packer
            .stdin
            .take()
            .ok_or("no standard input")?
            .write_all(wanted.as_bytes())?;
        Ok((commit, packer.wait_with_output()?.stdout))
    }

    /// Whatever was sent: no ref moved, nothing is left behind, stock git finds all sound.
    fn is_unharmed(&mut self) -> Result {
        let refs = self.refs()?;
        assert_eq!(
            refs.lines().filter(|line| line.contains("refs/")).count(),
            1,
            "{refs}"
        );
        assert!(refs.contains(&self.commit), "{refs}");
        for repository in self.site.appliance.repositories()? {
            git::fsck(&repository)?;
        }
        self.site.appliance.stop()?;
        self.site.appliance.ok(&["fsck"]).map(drop)
    }
}

fn is_refused(response: &Response) -> bool {
    let text = response.text();
    response.status >= 400
        || text.contains("unpack ") && !text.contains("unpack ok")
        || text.contains("ng refs")
}

fn sha1(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("sha1sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .ok_or("no standard input")?
        .write_all(bytes)?;
    let text = String::from_utf8(child.wait_with_output()?.stdout)?;
    Ok(hex::decode(text.split(' ').next().unwrap_or_default())?)
}

/// A pack with one blob that claims `claimed` bytes and inflates to `real` zeros.
fn pack_of_zeros(claimed: u64, real: u64) -> Result<Vec<u8>> {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    let mut byte = u8::try_from(claimed & 15)? | 0x30;
    let mut rest = claimed >> 4;
    while rest > 0 {
        pack.push(byte | 0x80);
        byte = u8::try_from(rest & 127)?;
        rest >>= 7;
    }
    pack.push(byte);
    let mut packed = ZlibEncoder::new(pack, Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..real >> 20 {
        packed.write_all(&zeros)?;
    }
    let mut pack = packed.finish()?;
    let sum = sha1(&pack)?;
    pack.extend(sum);
    Ok(pack)
}

#[test]
fn truncated_and_corrupt_packs_change_nothing() -> Result {
    let mut target = Target::new()?;
    let (commit, pack) = target.new_commit()?;
    for cut in [0, 11, 12, 40, pack.len() / 2, pack.len() - 1] {
        let response = target.send("refs/heads/cut", &commit, &pack[..cut])?;
        assert!(
            is_refused(&response),
            "cut at {cut}: {} {}",
            response.status,
            response.text()
        );
    }
    for at in [4, 8, 13, 30, pack.len() / 2, pack.len() - 5] {
        let mut bent = pack.clone();
        bent[at] ^= 0x55;
        let response = target.send("refs/heads/bent", &commit, &bent)?;
        assert!(
            is_refused(&response),
            "bent at {at}: {} {}",
            response.status,
            response.text()
        );
    }
    let control = target.send("refs/heads/whole", &commit, &pack)?;
    assert!(
        !is_refused(&control),
        "the whole pack was refused: {}",
        control.text()
    );
    target.tree.push(
        &target.site.appliance.url(REPO, "dev", &target.token),
        ":refs/heads/whole",
    )?;
    target.is_unharmed()
}

#[test]
fn a_pack_that_expands_without_end_is_refused_in_bounded_memory() -> Result {
    let mut target = Target::new()?;
    let id = target.commit.replace(['a', 'b', 'c'], "9");
    for (claimed, real) in [(1 << 30, 1 << 30), (10, 1 << 30), (1 << 42, 1 << 20)] {
        let pack = pack_of_zeros(claimed, real)?;
        let response = target.send("refs/heads/bomb", &id, &pack)?;
        assert!(
            is_refused(&response),
            "{claimed} {real}: {} {}",
            response.status,
            response.text()
        );
    }
    let id = target.site.appliance.server()?.id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_default();
    let peak: u64 = peak.trim().trim_end_matches(" kB").trim().parse()?;
    assert!(peak < 512 << 10, "the server used {peak} KiB");
    target.is_unharmed()
}

#[test]
fn a_pack_that_lacks_what_its_commit_needs_is_refused() -> Result {
    let mut target = Target::new()?;
    target.tree.write("more", "text that is never sent\n")?;
    let commit = target.tree.commit("second")?;
    let packer = git::command(&target.tree.folder)
        .args(["pack-objects", "--stdout", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut packer = packer?;
    packer
        .stdin
        .take()
        .ok_or("no standard input")?
        .write_all(format!("{commit}\n").as_bytes())?;
    let pack = packer.wait_with_output()?.stdout;
    let response = target.send("refs/heads/hollow", &commit, &pack)?;
    assert!(
        is_refused(&response),
        "{} {}",
        response.status,
        response.text()
    );
    target.is_unharmed()
}

#[test]
fn refs_with_odd_names_are_refused_one_by_one() -> Result {
    let mut target = Target::new()?;
    let (commit, pack) = target.new_commit()?;
    let names = [
        "refs/heads/a..b",
        "refs/heads/.hidden",
        "refs/heads/x.lock",
        "refs/heads/a b",
        "refs/heads/a\x07b",
        "refs/heads/a~1",
        "refs/heads/a:b",
        "refs/heads/a//b",
        "refs/heads/a/",
        "refs/heads/@{x}",
        "refs/heads/../../escape",
        "refs/../config",
        "HEAD",
        "config",
        "main",
        "",
    ];
    for name in names {
        let response = target.send(name, &commit, &pack)?;
        let text = response.text();
        let refused = response.status >= 400 || text.contains("ng ") || is_refused(&response);
        assert!(refused, "{name:?}: {} {text}", response.status);
    }
    target.is_unharmed()
}

#[test]
fn tokens_that_are_wrong_revoked_or_too_narrow_do_not_push() -> Result {
    let target = Target::new()?;
    let appliance = &target.site.appliance;
    target.tree.write("x", "x")?;
    target.tree.commit("more")?;
    let try_with = |token: &str| {
        target
            .tree
            .push(&appliance.url(REPO, "dev", token), "HEAD:main")
    };
    assert!(try_with("nonsense").is_err());
    let narrow = appliance.token("dev", &["repo:read"])?;
    let said = try_with(&narrow)
        .err()
        .ok_or("a token that may only read has pushed")?
        .to_string();
    assert!(
        said.contains("403") || said.contains("repo:write"),
        "{said}"
    );
    let gone = appliance.token("dev", &[])?;
    let tokens = appliance.json(&["token", "list", "dev"])?;
    let list = tokens
        .as_array()
        .or_else(|| tokens["tokens"].as_array())
        .ok_or("no list")?;
    let id = list
        .iter()
        .filter_map(|token| token["id"].as_i64())
        .max()
        .ok_or("no token")?;
    appliance.ok(&["token", "revoke", &id.to_string()])?;
    assert!(try_with(&gone).is_err(), "a revoked token has pushed");
    try_with(&target.token).map(drop)
}

#[test]
fn an_expired_token_does_not_push() -> Result {
    let mut target = Target::new()?;
    target.tree.write("x", "x")?;
    target.tree.commit("more")?;
    target.site.appliance.stop()?;
    let database = target.site.appliance.data().join("cofferdam.db");
    let script = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        columns = [row[1] for row in db.execute('pragma table_info(token)')]\n\
        column = next(name for name in columns if 'expire' in name)\n\
        assert db.execute(f'update token set {column} = 1000').rowcount > 0\n\
        db.commit()\n";
    let made = Command::new("python3")
        .arg("-c")
        .arg(script)
        .arg(&database)
        .output()?;
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    target.site.appliance.start()?;
    let url = target.site.appliance.url(REPO, "dev", &target.token);
    assert!(target.tree.push(&url, "HEAD:main").is_err());
    Ok(())
}

#[test]
fn another_users_private_repo_is_as_if_it_were_not_there() -> Result {
    let target = Target::new()?;
    let appliance = &target.site.appliance;
    let eve = appliance.user("eve", &[])?;
    let address = appliance.address();
    let login = http::basic("eve", &eve);
    let ask = |path: &str, headers: &[(&str, &str)]| http::get(address, path, headers);
    let service = "info/refs?service=git-upload-pack";
    let foreign = ask(
        &format!("/{REPO}.git/{service}"),
        &[("Authorization", &login)],
    )?;
    let absent = ask(
        &format!("/lab/nothing.git/{service}"),
        &[("Authorization", &login)],
    )?;
    assert_eq!(foreign.status, absent.status);
    assert_eq!(
        foreign.text().replace(REPO, "X"),
        absent.text().replace("lab/nothing", "X")
    );
    assert_eq!(ask(&format!("/{REPO}.git/{service}"), &[])?.status, 401);
    target.tree.write("x", "x")?;
    target.tree.commit("more")?;
    assert!(
        target
            .tree
            .push(&appliance.url(REPO, "eve", &eve), "HEAD:main")
            .is_err()
    );
    let bearer = format!("Bearer {eve}");
    let shown = ask(
        &format!("/api/v1/repos/{REPO}"),
        &[("Authorization", &bearer)],
    )?;
    assert_eq!(shown.status, 404);
    Ok(())
}

#[test]
fn forced_deleted_and_tagged_refs_clone_as_stock_git_left_them() -> Result {
    let target = Target::new()?;
    let url = target.site.appliance.url(REPO, "dev", &target.token);
    target.tree.write("two", "2")?;
    target.tree.commit("second")?;
    target.tree.push(&url, "HEAD:main")?;
    target.tree.git(&["reset", "--quiet", "--hard", "HEAD~1"])?;
    target.tree.write("other", "3")?;
    let rewritten = target.tree.commit("rewritten")?;
    assert!(
        target.tree.push(&url, "HEAD:main").is_err(),
        "a rewrite needs force"
    );
    target.tree.push(&url, "+HEAD:main")?;
    target.tree.git(&["tag", "-a", "-m", "one", "v1"])?;
    target.tree.push(&url, "v1")?;
    target.tree.push(&url, "HEAD:refs/heads/side")?;
    target.tree.push(&url, ":refs/heads/side")?;
    let folder = target.site.folder.path();
    run(folder, &["clone", "--quiet", &url, "full"])?;
    run(
        folder,
        &["clone", "--quiet", "--depth", "1", &url, "shallow"],
    )?;
    for clone in ["full", "shallow"] {
        let clone = folder.join(clone);
        assert_eq!(run(&clone, &["rev-parse", "HEAD"])?.trim(), rewritten);
        git::fsck(&clone)?;
    }
    assert_eq!(
        run(&folder.join("shallow"), &["rev-list", "--count", "HEAD"])?.trim(),
        "1"
    );
    assert!(!target.refs()?.contains("side"));
    for repository in target.site.appliance.repositories()? {
        git::fsck(&repository)?;
    }
    Ok(())
}
