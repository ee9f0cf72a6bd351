//! An appliance with a generation, and clients that know of nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use store::{Store, StoreOptions};
use supply::testing::Draft;
use tempfile::TempDir;
use testkit::Result;
use testkit::appliance::Appliance;
use testkit::git::Tree;

use crate::content::kept;

const REPO: &str = "lab/app";

/// An appliance in a folder of its own, removed with it.
pub(crate) struct Site {
    pub(crate) appliance: Appliance,
    pub(crate) folder: TempDir,
    /// An access token of user `dev`.
    pub(crate) token: String,
}

/// What a test puts into a generation.
pub(crate) type Fill<'a> = &'a dyn Fn(&mut Draft, &Store) -> Result;

impl Site {
    /// Serving, with a first generation that `fill` made.
    pub(crate) fn serving(fill: Fill<'_>) -> Result<Self> {
        let mut site = Self::prepared(fill)?;
        site.appliance.start()?;
        site.token = site.appliance.user("dev", &[])?;
        Ok(site)
    }

    /// The same, not yet serving.
    pub(crate) fn prepared(fill: Fill<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("site-")
            .tempdir_in(kept()?)?;
        open_to_all(folder.path())?;
        let binary = Path::new(env!("CARGO_BIN_EXE_cofferdam"));
        let appliance = Appliance::init(binary, &folder.path().join("data"))?;
        let site = Self {
            appliance,
            folder,
            token: String::new(),
        };
        site.generation(1, fill)?;
        Ok(site)
    }

    /// Puts a further generation in while nothing serves.
    pub(crate) fn generation(&self, seq: u64, fill: Fill<'_>) -> Result {
        let data = self.appliance.data();
        let store = open(data)?;
        let mut draft = Draft::default();
        fill(&mut draft, &store)?;
        draft.activate(&store, seq)?;
        drop(store);
        // The serving process belongs to whoever owns the data directory.
        let given = Command::new("chown")
            .arg("-R")
            .arg("--reference")
            .args([data, data])
            .status()?;
        given
            .success()
            .then_some(())
            .ok_or_else(|| "the data could not be handed over".into())
    }

    /// The address of something on the web listener, with `dev`'s token in it.
    pub(crate) fn url(&self, path: &str) -> String {
        let address = self.appliance.address();
        format!("http://dev:{}@{address}{path}", self.token)
    }

    /// A program that has no settings but these: no index, no proxy, no home.
    pub(crate) fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let home = self.folder.path().join("home");
        std::fs::create_dir_all(&home)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .env("HOME", &home)
            .env("LANG", "C.UTF-8")
            .current_dir(self.folder.path());
        Ok(command)
    }

    /// pip with the appliance as its only index.
    pub(crate) fn pip(&self) -> Result<Command> {
        let mut pip = self.client("/usr/bin/python3")?;
        pip.args(["-m", "pip", "--no-cache-dir", "--disable-pip-version-check"])
            .env("PIP_CONFIG_FILE", "/dev/null")
            .env("PIP_INDEX_URL", self.url("/simple/"));
        Ok(pip)
    }

    /// Pushes a workflow with one job of these lines below `steps:`, on `ubuntu-latest`, and
    /// waits for its run; exit code and log.
    pub(crate) fn job(&self, steps: &str) -> Result<(i32, String)> {
        self.push(&format!(
            "on: push\njobs:\n  j:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"
        ))?;
        self.watch()
    }

    /// Pushes a workflow to a repo of `dev`, which is made when there is none.
    pub(crate) fn push(&self, workflow: &str) -> Result<String> {
        let folder = self.folder.path().join("tree");
        let tree = if folder.exists() {
            Tree { folder }
        } else {
            self.appliance.repo(REPO, "dev")?;
            Tree::init(&folder)?
        };
        tree.write(".github/workflows/ci.yml", workflow)?;
        tree.commit("a change")?;
        let url = self.appliance.url(REPO, "dev", &self.token);
        tree.push(&url, "HEAD:main")
    }

    /// Waits for the newest run; exit code and log.
    pub(crate) fn watch(&self) -> Result<(i32, String)> {
        let watched = self.appliance.run(&["run", "watch", REPO])?;
        let code = watched.status.code().ok_or("`run watch` was killed")?;
        Ok((code, self.appliance.ok(&["run", "log", REPO])?))
    }

    /// The names that were asked for in vain, as `kind name`, with the job that asked first.
    pub(crate) fn wants(&mut self) -> Result<Vec<(String, bool)>> {
        self.appliance.stop()?;
        let store = open(self.appliance.data())?;
        let wants = store.read(supply::generation::wants)?;
        Ok(wants
            .into_iter()
            .map(|want| {
                let name = format!("{} {}", want.kind, want.name);
                (name, want.first_job.is_some())
            })
            .collect())
    }
}

fn open_to_all(folder: &Path) -> Result {
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::Permissions::from_mode(0o755);
    Ok(std::fs::set_permissions(folder, open)?)
}

/// Opens the database and blobs of an appliance that does not serve.
pub(crate) fn open(data: &Path) -> Result<Store> {
    let migrations = [
        audit::MIGRATIONS,
        access::MIGRATIONS,
        forge::MIGRATIONS,
        queue::MIGRATIONS,
        supply::MIGRATIONS,
    ];
    Ok(Store::open(data, &migrations, StoreOptions::default())?)
}

/// A virtual environment of the host's Python, in which a client can be installed.
pub(crate) fn venv(at: &Path) -> Result<PathBuf> {
    crate::content::run(
        Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(at),
    )?;
    Ok(at.join("bin/python3"))
}
