//! What the stories share: folders on the right file system, a site with its image imported.

pub mod connected;
pub mod installed;
pub mod pages;
pub mod stick;

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use testkit::Result;
use testkit::appliance::{Appliance, debian_image, debug_binary};
use testkit::git::Tree;

/// The folder of the workspace.
pub fn workspace() -> Result<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(above
        .ok_or("the stories have no folder above them")?
        .to_owned())
}

/// A new folder on the file system of the target folder, open to the serving user.
pub fn folder() -> Result<TempDir> {
    let base = workspace()?.join("target/stories");
    std::fs::create_dir_all(&base)?;
    let folder = tempfile::Builder::new().prefix("story-").tempdir_in(base)?;
    open_to_all(folder.path())?;
    Ok(folder)
}

/// Lets every user list and enter `folder`.
pub fn open_to_all(folder: &Path) -> Result {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(
        folder,
        std::fs::Permissions::from_mode(0o755),
    )?)
}

/// An appliance in a folder of its own, removed with it.
pub struct Site {
    /// The appliance, not yet serving.
    pub appliance: Appliance,
    /// Where it lives, with room for working trees beside it.
    pub folder: TempDir,
}

impl Site {
    /// With no image: whatever needs a job waits.
    pub fn bare() -> Result<Self> {
        let folder = folder()?;
        let appliance = Appliance::init(&debug_binary()?, &folder.path().join("data"))?;
        Ok(Self { appliance, folder })
    }

    /// As [`Site::bare`], already serving.
    pub fn serving() -> Result<Self> {
        let mut site = Self::bare()?;
        site.appliance.start()?;
        Ok(site)
    }

    /// Serving, with the Debian image imported, so that jobs run.
    pub fn with_image() -> Result<Self> {
        let folder = folder()?;
        let data = folder.path().join("data");
        copy_site(&prepared_site()?, &data)?;
        let mut appliance = Appliance::at(&debug_binary()?, &data);
        appliance.start()?;
        Ok(Self { appliance, folder })
    }

    /// Makes user `dev`, a token and the repo `path`; gives the address to push to.
    pub fn repo(&self, path: &str) -> Result<String> {
        let token = self.appliance.user("dev", &[])?;
        self.appliance.repo(path, "dev")?;
        Ok(self.appliance.url(path, "dev", &token))
    }

    /// An empty working tree in a folder beside the data.
    pub fn tree(&self, name: &str) -> Result<Tree> {
        Tree::init(&self.folder.path().join(name))
    }

    /// A working tree with this one workflow, `ci.yml`, committed.
    pub fn tree_with(&self, name: &str, workflow: &str) -> Result<Tree> {
        let tree = self.tree(name)?;
        tree.write(".github/workflows/ci.yml", workflow)?;
        tree.write("README.md", "# A repo\n")?;
        tree.commit("first")?;
        Ok(tree)
    }

    /// Pushes `tree` to `main`, waits for the newest run of `repo` to end; gives exit code, log.
    pub fn push_and_watch(&self, tree: &Tree, url: &str, repo: &str) -> Result<(i32, String)> {
        tree.push(url, "HEAD:main")?;
        self.watch(repo)
    }

    /// Waits for the newest run of `repo` to end; gives the exit code and the whole log.
    pub fn watch(&self, repo: &str) -> Result<(i32, String)> {
        let watched = self.appliance.run(&["run", "watch", repo])?;
        let code = watched.status.code().ok_or("`run watch` was killed")?;
        let log = self.appliance.ok(&["run", "log", repo])?;
        Ok((code, log))
    }
}

/// Copies our small application into `tree` and commits it, with a workflow that needs nothing but
/// the image: what a bundle brings is not there in every story.
pub fn tasks_app(tree: &Tree) -> Result {
    let source = workspace()?.join("appliance/tasks-app/.");
    run(Command::new("cp").arg("-r").arg(source).arg(&tree.folder))?;
    let path = tree.folder.join(".github/workflows/ci.yml");
    let text = std::fs::read_to_string(&path)?;
    let plain = text
        .replace(PACKAGES, "")
        .replace("pytest -q", "python -m unittest -v");
    if plain.contains("pip") || plain.contains("pytest") {
        return Err("the workflow of the application has other steps than this knows".into());
    }
    std::fs::write(&path, plain)?;
    tree.commit("A task list with tests").map(drop)
}

/// The steps of its workflow that take packages of a bundle.
const PACKAGES: &str = "      - name: Install\n        run: pip install ruff pytest\n      \
    - name: Lint\n        run: ruff check .\n";

/// A data directory with the image imported, made once for each build of the binary.
fn prepared_site() -> Result<PathBuf> {
    let workspace = workspace()?;
    let image = debian_image(&workspace)?;
    let binary = debug_binary()?;
    let base = workspace.join("target/stories");
    std::fs::create_dir_all(&base)?;
    let lock = std::fs::File::create(base.join("prepared.lock"))?;
    lock.lock()?;
    let data = base.join("prepared");
    let key = format!("{} {}", stamp(&binary)?, stamp(&image)?);
    let mark = base.join("prepared.key");
    if std::fs::read_to_string(&mark).is_ok_and(|old| old == key) {
        return Ok(data);
    }
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    let mut appliance = Appliance::init(&binary, &data)?;
    appliance.start()?;
    let file = image.to_str().ok_or("the path of the image is no text")?;
    appliance.ok(&["image", "import", file])?;
    appliance.stop()?;
    std::fs::write(mark, key)?;
    Ok(data)
}

/// Hard links for what never changes, copies for the rest.
fn copy_site(from: &Path, to: &Path) -> Result {
    run(Command::new("mkdir").arg(to))?;
    run(Command::new("chmod").arg("--reference").arg(from).arg(to))?;
    run(Command::new("chown").arg("--reference").arg(from).arg(to))?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let linked = name == "layers" || name == "blobs";
        let how = if linked { "-al" } else { "-a" };
        run(Command::new("cp")
            .arg(how)
            .arg(entry.path())
            .arg(to.join(name)))?;
    }
    Ok(())
}

fn stamp(path: &Path) -> Result<String> {
    let facts = std::fs::metadata(path)?;
    Ok(format!("{} {:?}", facts.len(), facts.modified()?))
}

fn run(command: &mut Command) -> Result {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

/// How often a harness repeats its round: `COFFERDAM_ROUNDS`, else `usual`.
pub fn rounds(usual: u64) -> Result<u64> {
    match std::env::var("COFFERDAM_ROUNDS") {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(usual),
    }
}

/// The folder `name` of the shared acceptance suites: below `COFFERDAM_SUITES`, else beside the
/// project. `None`, told in one line, where there is none; with `CI=true` that is an error.
pub fn suite(name: &str) -> Result<Option<PathBuf>> {
    let suites = match std::env::var_os("COFFERDAM_SUITES") {
        Some(path) => PathBuf::from(path),
        None => workspace()?.join("../shared/suites"),
    };
    let suite = suites.join(name);
    if suite.is_dir() {
        return Ok(Some(suite));
    }
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        return Err(format!("the suite {name} is not at {}", suite.display()).into());
    }
    println!("the suite {name} is not at {}: skipped", suite.display());
    Ok(None)
}
