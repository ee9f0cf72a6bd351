//! What an archive's own documents say the image is.

use serde::Deserialize;
use vocab::Digest;

use crate::archive::{Archive, Stored};
use crate::layer::Compression;

/// Documents larger than this are refused.
const DOCUMENT_BYTES: u64 = 4 << 20;

/// Images with more layers are refused; overlayfs takes no more.
const MAX_LAYERS: usize = 128;

/// One image: its configuration as far as jobs need it, and its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Digest of the manifest; for a docker-archive, which has none, of the configuration.
    pub digest: Digest,
    /// Digest of the configuration.
    pub config: Digest,
    /// The name the archive gives it.
    pub name: Option<String>,
    /// Processor architecture, such as `amd64`.
    pub architecture: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Configured user, empty for root.
    pub user: String,
    /// Configured working directory, empty for `/`.
    pub working_dir: String,
    /// Lowest first.
    pub layers: Vec<Layer>,
}

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob as it came.
    pub blob: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// How it is packed.
    pub compression: Compression,
    /// Digest of the tar inside.
    pub diff_id: Digest,
}

/// Why an archive is no image that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Neither format.
    #[error(
        "the archive is neither an OCI image layout (it has no index.json) nor a docker-archive \
         (it has no manifest.json)"
    )]
    NoImage,
    /// Several images.
    #[error("the archive holds {0} images for linux/amd64; make one archive for each")]
    Several(usize),
    /// None for this machine.
    #[error("the archive holds no image for linux/amd64")]
    NotForUs,
    /// A document refers to something that is not there.
    #[error("the archive's {what} refers to {missing}, which is not in it")]
    Missing {
        /// Which document.
        what: &'static str,
        /// What it names.
        missing: String,
    },
    /// A document cannot be read.
    #[error("the archive's {what} cannot be understood: {reason}")]
    Document {
        /// Which document.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct DockerManifest {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<RunConfig>,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfig {
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// Finds the image in `archive`; `read` gives the bytes of a file that was kept (at most 4 MiB).
pub fn image_of(
    archive: &Archive,
    read: &dyn Fn(&Digest) -> Result<Vec<u8>, String>,
) -> Result<Image, ImageError> {
    if archive.file("index.json").is_some() {
        return from_layout(archive, read);
    }
    if archive.file("manifest.json").is_some() {
        return from_docker(archive, read);
    }
    Err(ImageError::NoImage)
}

type Read<'a> = &'a dyn Fn(&Digest) -> Result<Vec<u8>, String>;

fn document<T: serde::de::DeserializeOwned>(
    what: &'static str,
    file: Stored,
    read: Read<'_>,
) -> Result<T, ImageError> {
    let wrong = |reason| ImageError::Document { what, reason };
    if file.size_bytes > DOCUMENT_BYTES {
        return Err(wrong(format!("it is {} bytes long", file.size_bytes)));
    }
    let bytes = read(&file.digest).map_err(wrong)?;
    serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))
}

fn blob(archive: &Archive, what: &'static str, digest: &Digest) -> Result<Stored, ImageError> {
    archive
        .file(&format!("blobs/sha256/{}", digest.hex()))
        .ok_or_else(|| ImageError::Missing {
            what,
            missing: digest.to_string(),
        })
}

fn from_layout(archive: &Archive, read: Read<'_>) -> Result<Image, ImageError> {
    let top = archive.file("index.json").ok_or(ImageError::NoImage)?;
    let index: Index = document("index.json", top, read)?;
    let mut manifests = ours(index.manifests);
    // One level of nesting: an image for several platforms has an index of its own.
    if let [only] = manifests.as_slice()
        && (only.media_type.ends_with("image.index.v1+json")
            || only.media_type.ends_with("manifest.list.v2+json"))
    {
        let name = only.annotations.clone();
        let inner: Index = document(
            "image index",
            blob(archive, "index.json", &only.digest)?,
            read,
        )?;
        manifests = ours(inner.manifests);
        for manifest in &mut manifests {
            manifest.annotations.extend(name.clone());
        }
    }
    let descriptor = match manifests.len() {
        0 => return Err(ImageError::NotForUs),
        1 => manifests.remove(0),
        n => return Err(ImageError::Several(n)),
    };
    let name = descriptor
        .annotations
        .get("org.opencontainers.image.ref.name")
        .cloned();
    let find = |what, digest: &Digest| blob(archive, what, digest);
    from_manifest(descriptor.digest, "index.json", name, &find, read)
}

type Find<'a> = &'a dyn Fn(&'static str, &Digest) -> Result<Stored, ImageError>;

/// The image whose manifest is the blob `digest`; `find` gives the size of a blob that is there,
/// `read` its bytes (at most 4 MiB).
pub fn image_of_manifest(
    digest: Digest,
    find: &dyn Fn(&Digest) -> Option<u64>,
    read: &dyn Fn(&Digest) -> Result<Vec<u8>, String>,
) -> Result<Image, ImageError> {
    let find = |what, digest: &Digest| {
        find(digest)
            .map(|size_bytes| Stored {
                digest: *digest,
                size_bytes,
            })
            .ok_or_else(|| ImageError::Missing {
                what,
                missing: digest.to_string(),
            })
    };
    from_manifest(digest, "item", None, &find, read)
}

fn from_manifest(
    digest: Digest,
    named_by: &'static str,
    name: Option<String>,
    find: Find<'_>,
    read: Read<'_>,
) -> Result<Image, ImageError> {
    let manifest: Manifest = document("manifest", find(named_by, &digest)?, read)?;
    let config_file = find("manifest", &manifest.config.digest)?;
    let config: Config = document("configuration", config_file, read)?;
    let layers = manifest
        .layers
        .iter()
        .map(|layer| {
            let compression = Compression::from_media_type(&layer.media_type).ok_or_else(|| {
                ImageError::Document {
                    what: "manifest",
                    reason: format!("layers of type '{}' are not served", layer.media_type),
                }
            })?;
            Ok((find("manifest", &layer.digest)?, compression))
        })
        .collect::<Result<Vec<_>, ImageError>>()?;
    assemble(digest, manifest.config.digest, name, config, &layers)
}

/// Those for this platform; a descriptor that names none is taken at its word.
fn ours(manifests: Vec<Descriptor>) -> Vec<Descriptor> {
    let fits = |p: &Platform| p.os == "linux" && p.architecture == "amd64";
    manifests
        .into_iter()
        .filter(|m| m.platform.as_ref().is_none_or(fits))
        .collect()
}

fn from_docker(archive: &Archive, read: Read<'_>) -> Result<Image, ImageError> {
    let top = archive.file("manifest.json").ok_or(ImageError::NoImage)?;
    let mut images: Vec<DockerManifest> = document("manifest.json", top, read)?;
    let image = match images.len() {
        0 => return Err(ImageError::NoImage),
        1 => images.remove(0),
        n => return Err(ImageError::Several(n)),
    };
    let find = |path: &str| {
        archive.file(path).ok_or_else(|| ImageError::Missing {
            what: "manifest.json",
            missing: path.chars().take(200).collect(),
        })
    };
    let config_file = find(&image.config)?;
    let config: Config = document("configuration", config_file, read)?;
    let layers = image
        .layers
        .iter()
        .map(|path| Ok((find(path)?, Compression::Guess)))
        .collect::<Result<Vec<_>, ImageError>>()?;
    let name = image.tags.unwrap_or_default().into_iter().next();
    assemble(
        config_file.digest,
        config_file.digest,
        name,
        config,
        &layers,
    )
}

fn assemble(
    digest: Digest,
    config_digest: Digest,
    name: Option<String>,
    config: Config,
    layers: &[(Stored, Compression)],
) -> Result<Image, ImageError> {
    let wrong = |reason: String| ImageError::Document {
        what: "configuration",
        reason,
    };
    if layers.len() != config.rootfs.diff_ids.len() {
        let (blobs, ids) = (layers.len(), config.rootfs.diff_ids.len());
        return Err(wrong(format!(
            "it names {ids} layers, the manifest {blobs}"
        )));
    }
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        return Err(wrong(format!(
            "it has {} layers; 1 to {MAX_LAYERS} can be used",
            layers.len()
        )));
    }
    if !config.os.is_empty() && config.os != "linux" || config.architecture != "amd64" {
        return Err(ImageError::NotForUs);
    }
    let run = config.config.unwrap_or_default();
    let layers =
        layers
            .iter()
            .zip(&config.rootfs.diff_ids)
            .map(|((file, compression), diff_id)| Layer {
                blob: file.digest,
                size_bytes: file.size_bytes,
                compression: *compression,
                diff_id: *diff_id,
            });
    Ok(Image {
        digest,
        config: config_digest,
        name,
        architecture: config.architecture,
        env: run.env.unwrap_or_default(),
        user: run.user.unwrap_or_default(),
        working_dir: run.working_dir.unwrap_or_default(),
        layers: layers.collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    /// An archive in memory.
    #[derive(Default)]
    struct Files {
        archive: Archive,
        bytes: BTreeMap<Digest, Vec<u8>>,
    }

    impl Files {
        fn put(&mut self, path: &str, bytes: &[u8]) -> Digest {
            let digest = Digest::of(bytes);
            let size_bytes = bytes.len() as u64;
            self.archive
                .files
                .insert(path.to_owned(), Stored { digest, size_bytes });
            self.bytes.insert(digest, bytes.to_vec());
            digest
        }

        fn blob(&mut self, value: &Value) -> Digest {
            let text = value.to_string();
            let path = format!("blobs/sha256/{}", Digest::of(text.as_bytes()).hex());
            self.put(&path, text.as_bytes())
        }

        fn image(&self) -> Result<Image, ImageError> {
            image_of(&self.archive, &|digest| Ok(self.bytes[digest].clone()))
        }

        fn said(&self) -> String {
            self.image().unwrap_err().to_string()
        }
    }

    const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

    fn config(architecture: &str, layers: usize) -> Value {
        let ids = vec![Digest::of(b"layer"); layers];
        json!({ "architecture": architecture, "os": "linux", "rootfs": { "diff_ids": ids },
            "config": { "Env": ["A=1"], "User": "ci", "WorkingDir": "/src" } })
    }

    /// A layout of one image, with `layers` layers in the manifest.
    fn layout(config: &Value, media_type: &str, layers: usize) -> Files {
        let mut files = Files::default();
        let layer = files.put(
            &format!("blobs/sha256/{}", Digest::of(b"layer").hex()),
            b"layer",
        );
        let config = files.blob(config);
        let layer = json!({ "mediaType": media_type, "digest": layer });
        let manifest = files.blob(&json!({
            "config": { "digest": config }, "layers": vec![layer; layers] }));
        let index = json!({ "manifests": [{ "digest": manifest,
            "annotations": { "org.opencontainers.image.ref.name": "debian:12" } }] });
        files.put("index.json", index.to_string().as_bytes());
        files
    }

    #[test]
    fn a_layout_says_what_the_image_is() {
        let image = layout(&config("amd64", 2), TAR, 2).image().unwrap();
        assert_eq!(image.name.as_deref(), Some("debian:12"));
        assert_eq!(
            (image.user.as_str(), image.working_dir.as_str()),
            ("ci", "/src")
        );
        assert_eq!(image.layers.len(), 2);
        assert_eq!(image.layers[0].compression, Compression::None);
    }

    #[test]
    fn an_index_within_the_index_gives_the_image_of_this_platform() {
        let mut files = layout(&config("amd64", 1), TAR, 1);
        let index: Value =
            serde_json::from_slice(&files.bytes[&files.archive.files["index.json"].digest])
                .unwrap();
        let ours = index["manifests"][0]["digest"].clone();
        let inner = files.blob(&json!({ "manifests": [
            { "digest": Digest::of(b"x"), "platform": { "architecture": "arm64", "os": "linux" } },
            { "digest": ours, "platform": { "architecture": "amd64", "os": "linux" } },
        ] }));
        let outer = json!({ "manifests": [{ "digest": inner,
            "mediaType": "application/vnd.oci.image.index.v1+json" }] });
        files.put("index.json", outer.to_string().as_bytes());
        assert_eq!(files.image().unwrap().layers.len(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_words() {
        assert!(
            Files::default()
                .said()
                .contains("neither an OCI image layout")
        );
        for (files, words) in [
            (
                layout(&config("arm64", 1), TAR, 1),
                "no image for linux/amd64",
            ),
            (
                layout(&config("amd64", 2), TAR, 1),
                "names 2 layers, the manifest 1",
            ),
            (layout(&config("amd64", 0), TAR, 0), "has 0 layers"),
            (
                layout(&config("amd64", 129), TAR, 129),
                "129 layers; 1 to 128",
            ),
            (
                layout(&config("amd64", 1), "text/plain", 1),
                "'text/plain' are not served",
            ),
            (
                layout(&json!({ "rootfs": 7 }), TAR, 1),
                "configuration cannot be understood",
            ),
        ] {
            let said = files.said();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn missing_parts_and_monstrous_documents_are_refused() {
        let mut files = layout(&config("amd64", 1), TAR, 1);
        files
            .archive
            .files
            .retain(|path, _| !path.contains(&Digest::of(b"layer").hex()));
        assert!(
            files.said().contains("which is not in it"),
            "{}",
            files.said()
        );
        let mut files = layout(&config("amd64", 1), TAR, 1);
        files.put("index.json", &vec![b' '; 5 << 20]);
        assert!(
            files.said().contains("5242880 bytes long"),
            "{}",
            files.said()
        );
        let mut files = Files::default();
        let two = json!([{ "Config": "c", "Layers": [] }, { "Config": "d", "Layers": [] }]);
        files.put("manifest.json", two.to_string().as_bytes());
        assert!(files.said().contains("holds 2 images"), "{}", files.said());
        let one = json!([{ "Config": "../../etc/passwd", "Layers": [] }]);
        files.put("manifest.json", one.to_string().as_bytes());
        assert!(
            files
                .said()
                .contains("../../etc/passwd, which is not in it"),
            "{}",
            files.said()
        );
    }
}
