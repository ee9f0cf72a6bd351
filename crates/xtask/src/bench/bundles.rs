//! Bundles: the verdict, and what an unchanged recipe costs to carry again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use testkit::appliance::Appliance;

use super::samples::{Figure, Row, Samples, mebibytes};
use super::stage::{Stage, milliseconds, plain};
use crate::demo::carried::{Connected, shared_cache};
use crate::shell::say;

/// The connected side in a folder of its own.
pub(super) struct Maker {
    pub(super) connected: Connected,
}

impl Maker {
    /// With a cache of its own: what is measured is large, and nobody asks for it again.
    pub(super) fn new(stage: &Stage, name: &str) -> Result<Self> {
        let folder = stage.folder.join(name);
        let cache = folder.join("cache");
        let connected = Connected::set_up(&folder, &stage.binary, &cache)?;
        Ok(Self { connected })
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.connected.folder
    }

    /// Locks `recipe`, and builds and signs its bundle into `folder/out`; the bundle's folder.
    pub(super) fn make(&self, recipe: &Path, out: &str, words: &[&str]) -> Result<PathBuf> {
        self.connected
            .bundle(recipe, &self.folder().join(out), words)
    }

    /// A new appliance `name` that trusts this side's root, and serves.
    pub(super) fn appliance(&self, name: &str) -> Result<Appliance> {
        let mut appliance =
            Appliance::init(&self.connected.binary, &self.folder().join(name)).map_err(plain)?;
        appliance.start().map_err(plain)?;
        appliance
            .ok(&["bundle", "trust", &self.connected.fingerprint])
            .map_err(plain)?;
        Ok(appliance)
    }

    /// Writes a recipe of files under `content/`, named as they are.
    pub(super) fn recipe_of_files(&self, names: &[String]) -> Result<PathBuf> {
        use std::fmt::Write;
        let mut text = String::from(
            "[bundle]\nproduct = \"lab\"\nchannel = \"stable\"\narch = [\"amd64\"]\n\
             volume = \"4GB\"\nnot_after = \"6mo\"\n",
        );
        for name in names {
            write!(
                text,
                "[[file]]\nname = \"{name}\"\npath = \"content/{name}\"\n"
            )?;
        }
        let path = self.folder().join("recipe.toml");
        fs::write(&path, text)?;
        Ok(path)
    }
}

pub(super) fn at(path: &Path) -> Result<&str> {
    path.to_str().context("the path is no text")
}

pub(super) fn verdict(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let maker = Maker::new(stage, "verdict")?;
    let content = maker.folder().join("content");
    fs::create_dir_all(&content)?;
    let mut names = Vec::new();
    for number in 0..10_000 {
        let name = format!("file-{number:05}");
        fs::write(content.join(&name), format!("{number}\n"))?;
        names.push(name);
    }
    let stick = maker.make(&maker.recipe_of_files(&names)?, "stick", &[])?;
    let mut appliance = maker.appliance("data")?;
    let words = ["bundle", "verify", at(&stick)?];
    let mut values = Vec::new();
    for _ in 0..samples {
        values.push(milliseconds(|| {
            appliance.ok(&words).map(drop).map_err(plain)
        })?);
    }
    appliance.stop().map_err(plain)?;
    Ok(vec![Row {
        name: "`bundle verify`, 10,000 blobs".to_owned(),
        unit: "ms".to_owned(),
        ours: Samples::new(values),
        other: None,
        figure: Figure::Most(50.0, 50.0),
    }])
}

/// Kilobytes in a MiB.
const MEBIBYTE_KB: f64 = 1048.576;

/// The recipe of the demonstration, carried a second time to an appliance that has it all.
pub(super) fn delta(stage: &mut Stage, _: usize) -> Result<Vec<Row>> {
    let folder = stage.folder.join("delta");
    let connected = Connected::set_up(&folder, &stage.binary, &shared_cache(&stage.root))?;
    let maker = Maker { connected };
    let recipe = stage.root.join("bundles/demo.toml");
    let full = maker.make(&recipe, "full", &[])?;
    let mut appliance = maker.appliance("data")?;
    appliance
        .ok(&["bundle", "import", at(&full)?])
        .map_err(plain)?;
    let slip = maker.folder().join("have.slip");
    appliance
        .ok(&["bundle", "have", "-o", at(&slip)?])
        .map_err(plain)?;
    let words = ["--seq", "2", "--have", at(&slip)?];
    let small = maker.make(&recipe, "delta", &words)?;
    appliance
        .ok(&["bundle", "import", at(&small)?])
        .map_err(plain)?;
    appliance.stop().map_err(plain)?;
    let sum = |dir: &Path| -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(dir)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    };
    let program = maker.connected.binary.metadata()?.len();
    say(&format!(
        "the whole: {:.1} MiB, the program of {:.1} MiB among it",
        mebibytes(sum(&full)?),
        mebibytes(program)
    ));
    let carried = sum(&small)?;
    Ok(vec![Row {
        name: "demo.toml again, as a delta".to_owned(),
        unit: "kB".to_owned(),
        ours: Samples::new(vec![mebibytes(carried) * MEBIBYTE_KB]),
        other: None,
        figure: Figure::Most(200.0, 200.0),
    }])
}
