//! What the tests share: a tiny HTTP server over the crate's functions, and real git clients.

mod daemon;
mod http;
pub(crate) mod packs;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use git::{Durability, ReceiveLimits, Repository, UploadLimits};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T = ()> = std::result::Result<T, Error>;

/// The protocol versions that every scenario is run on.
pub(crate) const VERSIONS: [u8; 2] = [2, 0];

/// A directory of repositories, served over HTTP on loopback.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    state: Arc<State>,
    address: SocketAddr,
}

pub(crate) struct State {
    root: PathBuf,
    repos: Mutex<HashMap<String, Arc<Repository>>>,
    pub(crate) receive: Mutex<ReceiveLimits>,
    pub(crate) upload: Mutex<UploadLimits>,
    stop: AtomicBool,
}

impl State {
    /// The repository of that name, opened once.
    fn repo(&self, name: &str) -> Result<Arc<Repository>> {
        let mut repos = self.repos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = repos.get(name) {
            return Ok(Arc::clone(repo));
        }
        let repo = Arc::new(Repository::open(&self.root.join(name), Durability::Full)?);
        repos.insert(name.to_owned(), Arc::clone(&repo));
        Ok(repo)
    }
}

impl Site {
    /// Starts a server with one empty repository, `a.git`.
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("srv");
        Repository::init_bare(&root.join("a.git"), "main", Durability::Full)?;
        let state = Arc::new(State {
            root,
            repos: Mutex::new(HashMap::new()),
            receive: Mutex::new(ReceiveLimits::default()),
            upload: Mutex::new(UploadLimits::default()),
            stop: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let served = Arc::clone(&state);
        std::thread::spawn(move || http::listen(&listener, &served));
        Ok(Self {
            dir,
            state,
            address,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/a.git", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the same repository over one stream, as SSH would be.
    pub(crate) fn stream_url(&self) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let served = Arc::clone(&self.state);
        std::thread::spawn(move || daemon::listen(&listener, &served));
        Ok(format!("git://{address}/a.git"))
    }

    pub(crate) fn repo(&self) -> Result<Arc<Repository>> {
        self.state.repo("a.git")
    }

    /// The bare repository on disk.
    pub(crate) fn bare(&self) -> PathBuf {
        self.state.root.join("a.git")
    }

    /// A path for a client's work.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn limit(&self, change: impl FnOnce(&mut ReceiveLimits)) {
        change(
            &mut self
                .state
                .receive
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Hides refs with this prefix from fetches.
    pub(crate) fn hide(&self, prefix: &str) {
        let mut upload = self
            .state
            .upload
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        upload.hidden_prefixes.push(prefix.to_owned());
    }

    /// A clone of the served repository.
    pub(crate) fn clone_to(&self, name: &str, options: &[&str]) -> Result<Work> {
        let path = self.path(name);
        let url = self.url();
        let mut args = vec!["clone", "-q"];
        args.extend(options);
        let path_text = path.to_str().ok_or("path")?.to_owned();
        args.extend([url.as_str(), path_text.as_str()]);
        git(self.dir.path(), &args)?;
        Ok(Work(path))
    }

    /// A new repository whose origin is the served one.
    pub(crate) fn work(&self, name: &str) -> Result<Work> {
        let path = self.path(name);
        git(
            self.dir.path(),
            &["init", "-q", "-b", "main", path.to_str().ok_or("path")?],
        )?;
        let work = Work(path);
        work.git(&["remote", "add", "origin", &self.url()])?;
        Ok(work)
    }

    /// Stock git finds nothing wrong with the served repository, and no leftovers lie in it.
    pub(crate) fn check(&self) -> Result {
        let out = git(&self.bare(), &["fsck", "--strict", "--full"])?;
        if out.contains("error") || out.contains("missing") {
            return Err(format!("fsck says: {out}").into());
        }
        let left = leftovers(&self.bare())?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("leftovers: {left:?}").into())
        }
    }

    /// What a ref names on the server, as stock git reads it.
    pub(crate) fn server_ref(&self, name: &str) -> Result<String> {
        git(&self.bare(), &["rev-parse", "--verify", "-q", name])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(std::net::TcpStream::connect(self.address));
    }
}

/// Locks, quarantines and loose objects: nothing that a push may leave behind.
fn leftovers(bare: &Path) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    let mut todo = vec![bare.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".lock") || name.starts_with("tmp_") || name.ends_with(".keep") {
                left.push(entry.path());
            }
            if entry.file_type()?.is_dir() {
                if dir.ends_with("objects") && name.len() == 2 {
                    left.push(entry.path());
                }
                todo.push(entry.path());
            }
        }
    }
    Ok(left)
}

/// A client's work tree.
pub(crate) struct Work(pub(crate) PathBuf);

impl Work {
    pub(crate) fn git(&self, args: &[&str]) -> Result<String> {
        git(&self.0, args)
    }

    /// The same on one protocol version.
    pub(crate) fn git_v(&self, version: u8, args: &[&str]) -> Result<String> {
        let version = format!("protocol.version={version}");
        let mut all = vec!["-c", version.as_str()];
        all.extend(args);
        git(&self.0, &all)
    }

    /// Runs a command that must fail; what it said.
    pub(crate) fn fails(&self, args: &[&str]) -> Result<String> {
        let out = run(&self.0, args)?;
        if out.status.success() {
            return Err(format!("git {args:?} succeeded").into());
        }
        Ok(text(&out))
    }

    pub(crate) fn write(&self, path: &str, contents: &str) -> Result {
        let path = self.0.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(std::fs::write(path, contents)?)
    }

    /// Writes a file and commits it; the commit's id.
    pub(crate) fn commit(&self, path: &str, contents: &str) -> Result<String> {
        self.write(path, contents)?;
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "-m", &format!("change {path}")])?;
        self.git(&["rev-parse", "HEAD"])
    }
}

fn text(out: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}

/// The `git` on the path, cut off from the machine's configuration.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "A U Thor")
        .env("GIT_AUTHOR_EMAIL", "author@example.org")
        .env("GIT_COMMITTER_NAME", "C O Mitter")
        .env("GIT_COMMITTER_EMAIL", "committer@example.org")
        .env_remove("GIT_DIR")
        .stdin(Stdio::null())
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
    command
}

pub(crate) fn run(dir: &Path, args: &[&str]) -> Result<Output> {
    Ok(command(dir).args(args).output()?)
}

/// Runs git; its standard output, trimmed.
pub(crate) fn git(dir: &Path, args: &[&str]) -> Result<String> {
    let out = run(dir, args)?;
    if !out.status.success() {
        return Err(format!("git {args:?} in {}: {}", dir.display(), text(&out)).into());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Runs git with bytes on its standard input; its standard output, raw.
pub(crate) fn git_with_input(dir: &Path, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut child = command(dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().ok_or("stdin")?.write_all(input)?;
    let out = child.wait_with_output()?;
    if !out.status.success() {
        return Err(format!("git {args:?}: {}", text(&out)).into());
    }
    Ok(out.stdout)
}

/// A pkt-line.
pub(crate) fn pkt(line: &str) -> Vec<u8> {
    format!("{:04x}{line}", line.len() + 4).into_bytes()
}

/// Posts bytes to a service of the served repository; the answer's body.
pub(crate) fn post(site: &Site, service: &str, body: &[u8]) -> Result<Vec<u8>> {
    http::post(site.address(), &format!("/a.git/{service}"), body)
}

/// A site whose `main` has three commits.
pub(crate) fn filled() -> Result<(Site, Work)> {
    let site = Site::new()?;
    let work = site.work("first")?;
    work.commit("README.md", "hello\n")?;
    work.commit("src/app.py", "print(1)\n")?;
    work.commit("src/app.py", "print(2)\n")?;
    work.git(&["push", "-q", "-u", "origin", "main"])?;
    Ok((site, work))
}
