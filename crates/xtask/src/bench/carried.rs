//! From a bundle that was carried in to the end of the first job that uses its image, beside what
//! the image alone takes with other tools.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::appliance::Appliance;
use testkit::git::Tree;
use vocab::Clock;

use super::bundles::Maker;
use super::samples::{Figure, Row, Samples};
use super::stage::{Stage, milliseconds, plain};
use crate::shell::{find_program, run, say};

const ECHO: &str =
    "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo hi\n";

/// The name that the image has inside the archives.
const IMAGE: &str = "localhost/lab/debian:12";

pub(super) fn first_job(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let turns = samples.clamp(1, 5);
    let maker = Maker::new(stage, "first-job")?;
    let recipe = maker.folder.join("recipe.toml");
    let text = format!(
        "[bundle]\nproduct = \"lab\"\nchannel = \"stable\"\narch = [\"amd64\"]\n\
         volume = \"4GB\"\nnot_after = \"6mo\"\n\
         [[oci]]\nname = \"lab/debian\"\ntags = [\"12\"]\nlabels = [\"ubuntu-latest\"]\n\
         file = \"{}\"\n",
        stage.image.display()
    );
    fs::write(&recipe, text)?;
    let stick = maker.make(&recipe, "stick", &[])?;
    let (mut ours, mut imports) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        let mut appliance = maker.appliance(&format!("data-{turn}"))?;
        let (import, job) = import_and_run(&appliance, &maker, &stick, turn)?;
        imports.push(import);
        ours.push(import + job);
        appliance.stop().map_err(plain)?;
        fs::remove_dir_all(appliance.data())?;
    }
    let row = |name: &str, ours: &[f64], other: Option<(&str, Samples)>| Row {
        name: name.to_owned(),
        unit: "ms",
        ours: Samples::new(ours.to_vec()),
        other: other.map(|(name, samples)| (name.to_owned(), samples)),
        figure: Figure::None,
    };
    let mut rows = vec![row("import of an image, layers unpacked", &imports, None)];
    type Other = fn(&Maker, &Path, usize) -> Result<Samples>;
    let others: [(&str, Other); 2] = [
        ("docker load, run", docker),
        ("skopeo copy, unpacked", skopeo),
    ];
    for (name, other) in others {
        match other(&maker, &stage.image, turns) {
            Ok(samples) => rows.push(row(
                "import, push, first job's end",
                &ours,
                Some((name, samples)),
            )),
            Err(error) => say(&format!("nothing to compare with: {name}: {error:#}")),
        }
    }
    Ok(rows)
}

fn import_and_run(
    appliance: &Appliance,
    maker: &Maker,
    stick: &Path,
    turn: usize,
) -> Result<(f64, f64)> {
    let token = appliance.user("dev", &[]).map_err(plain)?;
    appliance.repo("lab/echo", "dev").map_err(plain)?;
    let url = appliance.url("lab/echo", "dev", &token);
    let tree = Tree::init(&maker.folder.join(format!("tree-{turn}"))).map_err(plain)?;
    tree.write(".github/workflows/ci.yml", ECHO)
        .map_err(plain)?;
    tree.commit("first").map_err(plain)?;
    let place = stick.to_str().context("the path is no text")?;
    let import = milliseconds(|| {
        appliance
            .ok(&["bundle", "import", place])
            .map(drop)
            .map_err(plain)
    })?;
    let job = milliseconds(|| {
        tree.push(&url, "HEAD:main").map_err(plain)?;
        appliance
            .ok(&["run", "watch", "lab/echo"])
            .map(drop)
            .map_err(plain)
    })?;
    Ok((import, job))
}

/// A docker daemon in a folder of its own; ended when it is dropped.
struct Daemon(Child);

impl Daemon {
    fn start(folder: &Path) -> Result<Self> {
        let at = |name: &str| folder.join(name);
        let log = File::create(at("dockerd.log"))?;
        let program = find_program("dockerd").context("dockerd is not installed")?;
        let child = Command::new(program)
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false"])
            .arg(format!("--host=unix://{}", at("docker.sock").display()))
            .arg("--data-root")
            .arg(at("docker"))
            .arg("--exec-root")
            .arg(at("docker-run"))
            .arg("--pidfile")
            .arg(at("docker.pid"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut daemon = Self(child);
        while !docker_in(folder).arg("version").output()?.status.success() {
            if let Some(status) = daemon.0.try_wait()? {
                bail!(
                    "dockerd ended with {status}; see {}",
                    at("dockerd.log").display()
                );
            }
            Clock::sleep(Duration::from_millis(50));
        }
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if asked.is_err() || self.0.wait().is_err() {
            say("a docker daemon may still run");
        }
    }
}

fn docker_in(folder: &Path) -> Command {
    let mut command = Command::new("docker");
    command
        .arg("--host")
        .arg(format!("unix://{}", folder.join("docker.sock").display()));
    command
}

/// `docker load` of the image, and `docker run` of `echo hi` in it.
fn docker(maker: &Maker, image: &Path, turns: usize) -> Result<Samples> {
    let folder = maker.folder.join("docker");
    fs::create_dir_all(&folder)?;
    let archive = folder.join("image.tar");
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet"])
        .arg(format!("oci-archive:{}", image.display()))
        .arg(format!("docker-archive:{}:{IMAGE}", archive.display())))?;
    let daemon = Daemon::start(&folder)?;
    let mut values = Vec::new();
    for _ in 0..turns {
        values.push(milliseconds(|| {
            run(docker_in(&folder)
                .args(["load", "--quiet", "--input"])
                .arg(&archive)
                .stdout(Stdio::null()))?;
            let said = docker_in(&folder)
                .args(["run", "--rm", "--network", "none", IMAGE, "echo", "hi"])
                .output()?;
            if said.stdout != b"hi\n" {
                bail!("{}", String::from_utf8_lossy(&said.stderr).trim());
            }
            Ok(())
        })?);
        run(docker_in(&folder)
            .args(["image", "rm", IMAGE])
            .stdout(Stdio::null()))?;
    }
    drop(daemon);
    Ok(Samples::new(values))
}

/// `skopeo copy` of the image into a storage of containers, which unpacks it.
fn skopeo(maker: &Maker, image: &Path, turns: usize) -> Result<Samples> {
    if find_program("skopeo").is_none() {
        bail!("not installed");
    }
    let mut values = Vec::new();
    for turn in 0..turns {
        let folder = maker.folder.join(format!("containers-{turn}"));
        let storage = format!(
            "containers-storage:[vfs@{0}/root+{0}/run]{IMAGE}",
            folder.display()
        );
        values.push(milliseconds(|| {
            run(Command::new("skopeo")
                .args(["--insecure-policy", "copy", "--quiet"])
                .arg(format!("oci-archive:{}", image.display()))
                .arg(storage))
        })?);
        fs::remove_dir_all(&folder)?;
    }
    Ok(Samples::new(values))
}
