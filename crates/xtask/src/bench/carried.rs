//! From a bundle that was carried in to the end of the first job that uses its image, beside what
//! the image alone takes with other tools.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use testkit::appliance::Appliance;
use testkit::docker::Daemon;
use testkit::git::Tree;

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
    let recipe = maker.folder().join("recipe.toml");
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
        unit: "ms".to_owned(),
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
    let tree = Tree::init(&maker.folder().join(format!("tree-{turn}"))).map_err(plain)?;
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

/// `docker load` of the image, and `docker run` of `echo hi` in it.
fn docker(maker: &Maker, image: &Path, turns: usize) -> Result<Samples> {
    let folder = maker.folder().join("docker");
    fs::create_dir_all(&folder)?;
    let archive = folder.join("image.tar");
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet"])
        .arg(format!("oci-archive:{}", image.display()))
        .arg(format!("docker-archive:{}:{IMAGE}", archive.display())))?;
    let program = find_program("dockerd").context("dockerd is not installed")?;
    let daemon = Daemon::start(&mut Command::new(program), &folder).map_err(plain)?;
    let docker = || {
        let mut command = Command::new("docker");
        command.args(["--host", daemon.host()]);
        command
    };
    let mut values = Vec::new();
    for _ in 0..turns {
        values.push(milliseconds(|| {
            run(docker()
                .args(["load", "--quiet", "--input"])
                .arg(&archive)
                .stdout(Stdio::null()))?;
            let said = docker()
                .args(["run", "--rm", "--network", "none", IMAGE, "echo", "hi"])
                .output()?;
            if said.stdout != b"hi\n" {
                bail!("{}", String::from_utf8_lossy(&said.stderr).trim());
            }
            Ok(())
        })?);
        run(docker().args(["image", "rm", IMAGE]).stdout(Stdio::null()))?;
    }
    Ok(Samples::new(values))
}

/// `skopeo copy` of the image into a storage of containers, which unpacks it.
fn skopeo(maker: &Maker, image: &Path, turns: usize) -> Result<Samples> {
    if find_program("skopeo").is_none() {
        bail!("skopeo is not installed");
    }
    let mut values = Vec::new();
    for turn in 0..turns {
        let folder = maker.folder().join(format!("containers-{turn}"));
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
