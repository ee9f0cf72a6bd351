//! What is served, as components: items of the active generation with the bundle that each came
//! from, images imported by hand, and the Debian packages in images that are unpacked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bundle::Item;
use bundle::manifest::Oci;
use evidence::sbom::{Component, Hash, Kind};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use store::{Db, StoreError};
use vocab::Digest;

use crate::images::ImageRow;
use crate::{GenerationId, generation, layer_dir, sql};

/// Largest list of packages that is read.
const STATUS_MAX_BYTES: u64 = 64 << 20;

/// All of it, in the order of kinds and keys.
pub fn served(db: &Db, data: &Path) -> Result<Vec<Component>, StoreError> {
    let mut found = Vec::new();
    if let Some(active) = generation::active(db)? {
        let since = generation::since(db, active)?;
        let mut makers = BTreeMap::new();
        for item in sql::bundles::items(db, active)? {
            let from = since.get(&item.key()).copied().unwrap_or(active);
            if let std::collections::btree_map::Entry::Vacant(place) = makers.entry(from) {
                place.insert(came_from(db, from)?);
            }
            let came = makers.get(&from).cloned().flatten();
            let with = |component: Component| match &came {
                Some((bundle, manifest)) => component
                    .property("bundle", bundle.as_str())
                    .property("bundle-manifest", manifest.as_str()),
                None => component,
            };
            found.extend(components(db, data, &item)?.into_iter().map(with));
        }
    }
    for image in sql::images(db)? {
        if found
            .iter()
            .all(|c| !c.hashes.iter().any(|h| h.content == image.digest.hex()))
        {
            let component = container(&image.names.join(", "), "", &image.digest);
            found.push(
                with_packages(component, data, &image).property("bundle", "imported by hand"),
            );
        }
    }
    Ok(found)
}

/// Name of the bundle that made a generation, and its manifest.
fn came_from(db: &Db, id: GenerationId) -> Result<Option<(String, String)>, StoreError> {
    let maker = generation::maker(db, id)?;
    Ok(maker.map(|m| {
        let name = format!("{} {} {}", m.product, m.channel, m.seq);
        (name, m.manifest.to_string())
    }))
}

fn components(db: &Db, data: &Path, item: &Item) -> Result<Vec<Component>, StoreError> {
    let key = item.key();
    let origin = item.source().uri.as_str();
    let mut found = match item {
        Item::Oci(oci) => vec![image(db, data, oci)?],
        Item::Action(action) => action
            .refs
            .iter()
            .map(|(name, commit)| {
                let short = name.rsplit('/').next().unwrap_or(name);
                let reference = format!("{key}:{name}");
                let mut component =
                    Component::new(Kind::Application, &action.name, short, reference)
                        .purl("github", &action.name, short, "")
                        .property("commit", commit.as_str());
                if commit.len() == 40 {
                    let (alg, content) = ("SHA-1", commit.clone());
                    component.hashes.push(Hash { alg, content });
                }
                component
            })
            .collect(),
        Item::Pypi(project) => project
            .files
            .iter()
            .map(|file| {
                let version = version_of(&file.filename);
                let reference = format!("{key}:{}", file.filename);
                Component::new(Kind::Library, &project.name, version, reference)
                    .purl("pypi", &project.name, version, "")
                    .sha256(file.d.hex())
                    .property("file", file.filename.as_str())
            })
            .collect(),
        Item::Toolcache(tool) => vec![
            Component::new(Kind::Application, &tool.name, &tool.version, key)
                .purl("generic", &tool.name, &tool.version, "")
                .sha256(tool.d.hex()),
        ],
        Item::File(file) | Item::Doc(file) => {
            vec![Component::new(Kind::File, &file.name, "", key).sha256(file.d.hex())]
        }
        Item::Selfupdate(update) => vec![
            Component::new(Kind::Application, "cofferdam", &update.version, key)
                .sha256(update.d.hex()),
        ],
    };
    for component in &mut found {
        if !origin.is_empty() {
            *component = component.clone().property("origin", origin);
        }
    }
    Ok(found)
}

/// The version in the name of a wheel, or of a source archive.
fn version_of(filename: &str) -> &str {
    if let Some(wheel) = filename.strip_suffix(".whl") {
        return wheel.split('-').nth(1).unwrap_or_default();
    }
    let stem = filename.strip_suffix(".tar.gz").unwrap_or(filename);
    stem.rsplit_once('-').map_or("", |(_, version)| version)
}

fn image(db: &Db, data: &Path, oci: &Oci) -> Result<Component, StoreError> {
    let component = container(&oci.name, &oci.tag, &oci.digest);
    Ok(match sql::image_of(db, &oci.digest)? {
        Some(row) => with_packages(component, data, &row),
        None => component.property("packages", "not known: it is not unpacked here"),
    })
}

fn container(name: &str, tag: &str, digest: &Digest) -> Component {
    let short = name.rsplit('/').next().unwrap_or(name);
    Component::new(
        Kind::Container,
        name,
        tag,
        format!("oci:{name}:{tag}@{digest}"),
    )
    .purl("oci", &short.to_ascii_lowercase(), &digest.to_string(), "")
    .sha256(digest.hex())
}

/// The same with the packages that the topmost layer with a list of packages tells of.
fn with_packages(mut component: Component, data: &Path, row: &ImageRow) -> Component {
    let list = row
        .layers
        .iter()
        .rev()
        .find_map(|layer| status(&layer_dir(data, &layer.diff_id)));
    let Some(list) = list else {
        return component.property("packages", "not known: it has no list of Debian packages");
    };
    let of = component.reference.clone();
    component.components = list.split("\n\n").filter_map(|p| package(p, &of)).collect();
    component
}

/// The list of packages in a layer. A link in it leads nowhere, and a pipe is not waited for.
fn status(layer: &Path) -> Option<String> {
    let dir = File::open(layer).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = openat2(&dir, "var/lib/dpkg/status", flags, Mode::empty(), inside);
    let file = File::from(opened.ok()?);
    let mut text = String::new();
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(STATUS_MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// One paragraph of dpkg's status, where it is installed.
fn package(paragraph: &str, of: &str) -> Option<Component> {
    let field = |name: &str| {
        let mut lines = paragraph.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.trim()))
    };
    if !field("Status")?.ends_with(" installed") {
        return None;
    }
    let (name, version, arch) = (field("Package")?, field("Version")?, field("Architecture")?);
    let reference = format!("{of}#{name}:{arch}");
    let component = Component::new(Kind::Library, name, version, reference);
    Some(component.purl(
        "deb",
        &format!("debian/{name}"),
        version,
        &format!("?arch={arch}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_listed_and_removed_ones_are_not() {
        let there = "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\n\
                     Version: 1:1.3.dfsg-3\nDescription: x\n Package: not-one";
        let found = package(there, "oci:x").unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str()),
            ("zlib1g", "1:1.3.dfsg-3")
        );
        assert_eq!(
            found.purl.unwrap(),
            "pkg:deb/debian/zlib1g@1:1.3.dfsg-3?arch=amd64"
        );
        let gone = there.replace("ok installed", "ok config-files");
        assert!(package(&gone, "oci:x").is_none());
    }

    #[test]
    fn a_list_of_packages_is_read_in_its_layer_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let layer = |name: &str| {
            let dpkg = dir.path().join(name).join("var/lib/dpkg");
            std::fs::create_dir_all(&dpkg).unwrap();
            dpkg.join("status")
        };
        std::fs::write(layer("plain"), "Package: a").unwrap();
        let plain = dir.path().join("plain");
        assert_eq!(status(&plain).as_deref(), Some("Package: a"));
        let outside = dir.path().join("outside");
        std::fs::write(&outside, "a secret of the host").unwrap();
        let link = layer("link");
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        // Whoever follows the link reads what is outside.
        assert!(std::fs::read_to_string(&link).is_ok());
        assert_eq!(status(&dir.path().join("link")), None);
        std::fs::create_dir(dir.path().join("via")).unwrap();
        std::os::unix::fs::symlink(plain.join("var"), dir.path().join("via/var")).unwrap();
        assert_eq!(status(&dir.path().join("via")), None);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            layer("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(status(&dir.path().join("pipe")), None);
        assert_eq!(status(&dir.path().join("none")), None);
    }

    #[test]
    fn versions_stand_in_the_names_of_files() {
        assert_eq!(version_of("ruff-0.9.1-py3-none-any.whl"), "0.9.1");
        assert_eq!(version_of("a-b-1.0.tar.gz"), "1.0");
    }
}
