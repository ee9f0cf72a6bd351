//! The Debian image for jobs, as bundles/demo.toml describes it: made by the program itself, kept
//! until that description changes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use crate::shell::{cargo, part, run, say};
use crate::tools;

/// Raised when the program makes another image of the same description.
const FORMAT: &str = "3";

/// The day that the image's files get, so that nothing but packages changes it.
const DAY: &str = "2023-11-14";

/// Gives the OCI archive at `target/image/debian.oci.tar`, making it when its description is new;
/// by `binary`, or by one that is built for it.
pub(crate) fn ensure(root: &Path, binary: Option<&Path>) -> Result<PathBuf> {
    let recipe = root.join("bundles/demo.toml");
    let text = std::fs::read_to_string(&recipe)
        .with_context(|| format!("cannot read {}", recipe.display()))?;
    let (name, description) = described(&text)?;
    let key = hex::encode(Sha256::digest(format!("{FORMAT}\n{description}")));
    let folder = root.join("target/image");
    let (archive, mark) = (folder.join("debian.oci.tar"), folder.join("debian.key"));
    let kept = std::fs::read_to_string(&mark).is_ok_and(|old| old == key);
    if kept && archive.is_file() {
        say(&format!(
            "the Debian image is built already: {}",
            archive.display()
        ));
        return Ok(archive);
    }
    tools::ensure(tools::DEMO)?;
    std::fs::create_dir_all(&folder)?;
    part("make the Debian image (a minute or two)", || {
        let mut command = match binary {
            Some(binary) => Command::new(binary),
            None => {
                let mut command = cargo(root);
                command.args(["run", "--quiet", "--locked", "--package", "cofferdam", "--"]);
                command
            }
        };
        command
            .args(["bundle", "image", "--day", DAY, "--cache"])
            .arg(folder.join("cache"))
            .arg("--out")
            .arg(&archive)
            .arg(&recipe)
            .arg(&name);
        run(command.stdin(Stdio::null()))
    })?;
    std::fs::write(&mark, key)?;
    Ok(archive)
}

/// Name and description of the first image that is built from Debian packages.
fn described(text: &str) -> Result<(String, String)> {
    let recipe: toml::Table = text.parse().context("the recipe is not TOML")?;
    let images = recipe.get("oci").and_then(toml::Value::as_array);
    let found = images.into_iter().flatten().find_map(|image| {
        let name = image.get("name")?.as_str()?;
        Some((name.to_owned(), image.get("debian")?.to_string()))
    });
    found.context("the recipe builds no image from Debian packages")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_of_this_repository_describes_an_image() {
        let (name, description) = described(include_str!("../../../bundles/demo.toml")).unwrap();
        assert_eq!(name, "lab/debian-python");
        assert!(description.contains("python3-pip"), "{description}");
    }
}
