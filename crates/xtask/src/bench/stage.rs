//! What is measured stands here: our appliance, and C git behind a small web server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use testkit::appliance::Appliance;
use testkit::git::{self, Tree};
use testkit::http;
use vocab::Stopwatch;

use super::cgi::CgiServer;

/// Both servers, and a folder for clients.
pub(super) struct Stage {
    pub(super) appliance: Appliance,
    pub(super) binary: PathBuf,
    pub(super) image: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) root: PathBuf,
    token: String,
    c_git: CgiServer,
}

impl Stage {
    pub(super) fn set_up(root: &Path, binary: &Path, image: &Path) -> Result<Self> {
        let folder = root.join("target/bench");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(folder.join("c-git"))?;
        let mut appliance = Appliance::init(binary, &folder.join("data")).map_err(plain)?;
        appliance.start().map_err(plain)?;
        let file = image.to_str().context("the path of the image is no text")?;
        appliance.ok(&["image", "import", file]).map_err(plain)?;
        let token = appliance.user("dev", &[]).map_err(plain)?;
        let c_git = CgiServer::start(&folder.join("c-git"))?;
        Ok(Self {
            appliance,
            binary: binary.to_owned(),
            image: image.to_owned(),
            folder,
            root: root.to_owned(),
            token,
            c_git,
        })
    }

    /// Makes our repo `lab/NAME`; gives its address.
    pub(super) fn our_repo(&self, name: &str) -> Result<String> {
        let path = format!("lab/{name}");
        self.appliance.repo(&path, "dev").map_err(plain)?;
        Ok(self.appliance.url(&path, "dev", &self.token))
    }

    /// Makes C git's repo `NAME`, with no fsync at all; gives its address.
    pub(super) fn c_repo(&self, name: &str) -> Result<String> {
        let bare = self.folder.join("c-git").join(format!("{name}.git"));
        let path = bare.to_str().context("the path is no text")?;
        git::run(&self.folder, &["init", "--quiet", "--bare", path]).map_err(plain)?;
        for setting in [["core.fsync", "none"], ["http.receivepack", "true"]] {
            git::run(&bare, &["config", setting[0], setting[1]]).map_err(plain)?;
        }
        Ok(format!("http://{}/{name}.git", self.c_git.address()))
    }

    /// Runs C git in its repo `NAME`.
    pub(super) fn c_git(&self, name: &str, words: &[&str]) -> Result<()> {
        let bare = self.folder.join("c-git").join(format!("{name}.git"));
        git::run(&bare, words).map(drop).map_err(plain)
    }

    /// Waits until the appliance has looked at the packs of a large repo.
    pub(super) fn wait_for_clone_pack(&self) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            let repositories = self.appliance.repositories().map_err(plain)?;
            let note = |dir: &PathBuf| dir.join("objects/info/closed-pack").is_file();
            if repositories.iter().any(note) {
                return Ok(());
            }
            if watch.elapsed() > std::time::Duration::from_secs(120) {
                return Err(anyhow!(
                    "the larger packs were not looked at within two minutes"
                ));
            }
            vocab::Clock::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// A working tree with one commit.
    pub(super) fn tree(&self, name: &str, workflow: Option<&str>) -> Result<Tree> {
        let tree = Tree::init(&self.folder.join(name)).map_err(plain)?;
        tree.write("README.md", "# Measured\n").map_err(plain)?;
        if let Some(text) = workflow {
            tree.write(".github/workflows/ci.yml", text)
                .map_err(plain)?;
        }
        tree.commit("first").map_err(plain)?;
        Ok(tree)
    }

    /// The receipt of the only job of the newest run of `lab/NAME`.
    pub(super) fn receipt(&self, name: &str) -> Result<Value> {
        let repo = format!("lab/{name}");
        let run = self
            .appliance
            .json(&["run", "show", &repo])
            .map_err(plain)?;
        let path = format!("/api/v1/jobs/{}/receipt", run["jobs"][0]["id"]);
        let request = http::Request {
            method: "GET",
            path: &path,
            headers: &[],
            body: b"",
        };
        let socket = self.appliance.data().join("control.sock");
        http::send_local(&socket, &request)
            .and_then(|answer| answer.json())
            .map_err(plain)
    }

    /// Waits for the newest run of `lab/NAME` to succeed.
    pub(super) fn watch(&self, name: &str) -> Result<()> {
        let repo = format!("lab/{name}");
        self.appliance
            .ok(&["run", "watch", &repo])
            .map(drop)
            .map_err(plain)
    }

    pub(super) fn close(&mut self) -> Result<()> {
        self.appliance.stop().map_err(plain)
    }
}

/// How long `work` takes, in milliseconds.
pub(super) fn milliseconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let watch = Stopwatch::start();
    work()?;
    Ok(watch.elapsed().as_secs_f64() * 1000.0)
}

/// An error of the test helpers as this program's own.
pub(super) fn plain(error: Box<dyn std::error::Error + Send + Sync>) -> anyhow::Error {
    anyhow!(error)
}
