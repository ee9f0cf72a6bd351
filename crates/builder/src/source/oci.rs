//! Container images: out of a root file system, an OCI layout or a docker-archive, into blobs.
//!
//! A docker-archive gets a manifest here, and its layers are packed. Every layer is unpacked once
//! and compared with what the image's configuration says.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use bundle::manifest::{self, Origin};
use bundle::{Archive, Compression, Image, Item, LayerReader, Limits, Sink, Stored, image_of};
use flate2::write::GzEncoder;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use vocab::Digest;

use super::{Means, SourceError, blob};
use crate::cache::{Cache, CacheError, Kept};
use crate::lock::Pin;
use crate::recipe::Oci;

pub(super) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(super) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Most bytes that one layer may unpack to.
const LAYER_MAX_BYTES: u64 = 256 << 30;

/// An image in the cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Packed {
    /// Its manifest.
    pub(crate) manifest: Kept,
    /// The manifest's media type.
    pub(crate) manifest_type: String,
    /// Its configuration, with the media type.
    pub(crate) config: (Kept, String),
    /// Its layers, lowest first, each with its media type.
    pub(crate) layers: Vec<(Kept, String)>,
    /// What its layers unpack to.
    pub(crate) unpacked_bytes: u64,
}

impl Packed {
    /// The pin of an entry that this image answers.
    pub(super) fn pin(&self, want: &Oci, source: &Origin) -> Pin {
        let mut pin = Pin::default();
        pin.blobs.push(blob(self.manifest, &self.manifest_type));
        pin.blobs.push(blob(self.config.0, &self.config.1));
        pin.blobs
            .extend(self.layers.iter().map(|(kept, kind)| blob(*kept, kind)));
        let mut blobs: Vec<Digest> = pin.blobs.iter().map(|b| b.d).collect();
        blobs.sort();
        blobs.dedup();
        let mut labels = want.labels.clone();
        labels.sort();
        labels.dedup();
        let mut tags = want.tags.clone();
        tags.sort();
        tags.dedup();
        // One image serves a label; its first tag is the one.
        let first = want.tags.first().cloned();
        pin.items = tags
            .into_iter()
            .map(|tag| {
                let labels = if Some(&tag) == first.as_ref() {
                    labels.clone()
                } else {
                    Vec::new()
                };
                Item::Oci(manifest::Oci {
                    name: want.name.clone(),
                    tag,
                    digest: self.manifest.digest,
                    platform: want.platform.clone(),
                    blobs: blobs.clone(),
                    unpacked_bytes: self.unpacked_bytes,
                    labels,
                    source: source.clone(),
                })
            })
            .collect();
        pin
    }

    /// Whether all of it is in the cache.
    pub(super) fn is_in(&self, cache: &Cache) -> bool {
        let layers = self.layers.iter().map(|(kept, _)| kept);
        let mut all = layers.chain([&self.manifest, &self.config.0]);
        all.all(|kept| cache.has(&kept.digest, kept.size_bytes))
    }

    /// Writes it as an OCI layout in one tar, named `name`.
    pub(crate) fn write_archive(
        &self,
        cache: &Cache,
        name: &str,
        out: &Path,
    ) -> Result<(), SourceError> {
        let failed = SourceError::io(out);
        self.try_archive(cache, name, out).map_err(failed)
    }

    fn try_archive(&self, cache: &Cache, name: &str, out: &Path) -> io::Result<()> {
        let mut entry = descriptor(&self.manifest_type, self.manifest);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
        let mut tar = BufWriter::new(File::create(out)?);
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        plain(
            &mut tar,
            "oci-layout",
            layout.len() as u64,
            &mut &layout[..],
        )?;
        plain(
            &mut tar,
            "index.json",
            index.len() as u64,
            &mut index.as_bytes(),
        )?;
        let layers = self.layers.iter().map(|(kept, _)| *kept);
        for kept in [self.manifest, self.config.0].into_iter().chain(layers) {
            let path = format!("blobs/sha256/{}", kept.digest.hex());
            let mut file = File::open(cache.path(&kept.digest))?;
            plain(&mut tar, &path, kept.size_bytes, &mut file)?;
        }
        tar.write_all(&[0; 1024])?;
        tar.flush()
    }
}

/// One plain file of a tar.
fn plain(tar: &mut impl Write, name: &str, size: u64, from: &mut dyn Read) -> io::Result<()> {
    tar.write_all(&bundle::volume::header(name, size))?;
    if io::copy(&mut from.take(size), tar)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    io::copy(
        &mut io::repeat(0).take(bundle::volume::padded(size) - size),
        tar,
    )?;
    Ok(())
}

/// Packs the tar file `tree` as an image of one layer, with `environment` as its `Env`.
pub(super) fn pack(
    tree: &Path,
    environment: &[String],
    day: Date,
    cache: &Cache,
) -> Result<Packed, SourceError> {
    let mut source = File::open(tree).map_err(SourceError::io(tree))?;
    let (layer, diff_id, unpacked_bytes) = gzip(&mut source, cache)?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": format!("{day}T00:00:00Z"),
        "config": { "Env": environment, "Cmd": ["/bin/bash"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": format!("{day}T00:00:00Z"), "created_by": "cofferdam bundle" }],
    });
    let config = cache.keep_bytes(config.to_string().as_bytes())?;
    let layers = vec![(layer, LAYER_TYPE.to_owned())];
    with_manifest(config, layers, unpacked_bytes, cache)
}

fn with_manifest(
    config: Kept,
    layers: Vec<(Kept, String)>,
    unpacked_bytes: u64,
    cache: &Cache,
) -> Result<Packed, SourceError> {
    let listed: Vec<Value> = layers
        .iter()
        .map(|(kept, kind)| descriptor(kind, *kept))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, config),
        "layers": listed,
    });
    Ok(Packed {
        manifest: cache.keep_bytes(manifest.to_string().as_bytes())?,
        manifest_type: MANIFEST_TYPE.to_owned(),
        config: (config, CONFIG_TYPE.to_owned()),
        layers,
        unpacked_bytes,
    })
}

fn descriptor(kind: &str, kept: Kept) -> Value {
    json!({ "mediaType": kind, "digest": kept.digest, "size": kept.size_bytes })
}

/// Packs `from` into the cache; gives the digest and size of what went in, too.
fn gzip(from: &mut dyn Read, cache: &Cache) -> Result<(Kept, Digest, u64), SourceError> {
    let mut encoder = GzEncoder::new(cache.begin()?, flate2::Compression::new(6));
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    let failed = |source| CacheError::Io {
        path: cache.path(&Digest::of(b"")),
        source,
    };
    loop {
        let count = from.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        size += count as u64;
        encoder.write_all(&buffer[..count]).map_err(failed)?;
    }
    let kept = cache.end(encoder.finish().map_err(failed)?)?;
    Ok((kept, Digest::from_bytes(hash.finalize().into()), size))
}

/// Reads the archive or the layout folder that an entry names.
pub(super) fn from_file(want: &Oci, file: &Path, means: &Means<'_>) -> Result<Pin, SourceError> {
    let path = means.folder.join(file);
    let refused = |reason: String| SourceError::Image {
        path: file.to_owned(),
        reason,
    };
    let mut keeper = Keeper { cache: means.cache };
    let archive = if path.is_dir() {
        layout(&path, means.cache)?
    } else {
        let opened = File::open(&path).map_err(SourceError::io(&path))?;
        bundle::read_archive(BufReader::new(opened), &mut keeper, &Limits::default())
            .map_err(|e| refused(e.to_string()))?
    };
    let read = |digest: &Digest| means.cache.bytes(digest).map_err(|e| e.to_string());
    let image = image_of(&archive, &read).map_err(|e| refused(e.to_string()))?;
    let is_layout = image.digest != image.config;
    let packed = if is_layout {
        as_it_is(&image, means.cache)
    } else {
        from_docker(&image, &archive, means.cache)
    };
    let packed = packed.map_err(|e| match e {
        SourceError::Refused(reason) => refused(reason),
        other => other,
    })?;
    let source = Origin {
        uri: format!("file:{}", file.display()),
        checked: "digests of the layout".to_owned(),
    };
    Ok(packed.pin(want, &source))
}

/// Keeps every file of an archive in the cache.
struct Keeper<'a> {
    cache: &'a Cache,
}

impl Sink for Keeper<'_> {
    fn keep(
        &mut self,
        content: &mut dyn Read,
        expected: Option<Digest>,
        limit_bytes: u64,
    ) -> Result<Stored, String> {
        let kept = self.cache.keep(&mut content.take(limit_bytes));
        let kept = kept.map_err(|e| e.to_string())?;
        match expected {
            Some(expected) if expected != kept.digest => Err(format!(
                "it should have digest {expected} and has {}",
                kept.digest
            )),
            _ => Ok(Stored {
                digest: kept.digest,
                size_bytes: kept.size_bytes,
            }),
        }
    }
}

/// An OCI layout that lies unpacked in a folder.
fn layout(folder: &Path, cache: &Cache) -> Result<Archive, SourceError> {
    let mut archive = Archive::default();
    let mut keep = |name: String| -> Result<(), SourceError> {
        let kept = cache.keep_file(&folder.join(&name))?;
        let stored = Stored {
            digest: kept.digest,
            size_bytes: kept.size_bytes,
        };
        archive.files.insert(name, stored);
        Ok(())
    };
    keep("index.json".to_owned())?;
    let blobs = folder.join("blobs/sha256");
    let entries = std::fs::read_dir(&blobs).map_err(SourceError::io(&blobs))?;
    for entry in entries {
        let name = entry.map_err(SourceError::io(&blobs))?.file_name();
        keep(format!("blobs/sha256/{}", name.to_string_lossy()))?;
    }
    let wrong = archive.files.iter().find(|(path, stored)| {
        path.strip_prefix("blobs/sha256/")
            .is_some_and(|hex| hex != stored.digest.hex())
    });
    match wrong {
        Some((path, _)) => Err(SourceError::Image {
            path: folder.to_owned(),
            reason: format!("{path} is not what its name says"),
        }),
        None => Ok(archive),
    }
}

/// An image whose manifest came along: its bytes stay what they are.
pub(super) fn as_it_is(image: &Image, cache: &Cache) -> Result<Packed, SourceError> {
    let bytes = cache.bytes(&image.digest)?;
    let manifest: Value = serde_json::from_slice(&bytes)
        .map_err(|e| SourceError::Refused(format!("its manifest is not JSON: {e}")))?;
    let kind = |value: &Value, or: &str| value["mediaType"].as_str().unwrap_or(or).to_owned();
    let config = cache.bytes(&image.config)?;
    let mut unpacked_bytes = 0;
    let mut layers = Vec::new();
    for (index, layer) in image.layers.iter().enumerate() {
        unpacked_bytes += unpack(layer, cache)?;
        let kept = Kept {
            digest: layer.blob,
            size_bytes: layer.size_bytes,
        };
        layers.push((kept, kind(&manifest["layers"][index], LAYER_TYPE)));
    }
    Ok(Packed {
        manifest: Kept {
            digest: image.digest,
            size_bytes: bytes.len() as u64,
        },
        manifest_type: kind(&manifest, MANIFEST_TYPE),
        config: (
            Kept {
                digest: image.config,
                size_bytes: config.len() as u64,
            },
            kind(&manifest["config"], CONFIG_TYPE),
        ),
        layers,
        unpacked_bytes,
    })
}

/// An image of a docker-archive: layers that are plain tars are packed, and a manifest is made.
fn from_docker(image: &Image, archive: &Archive, cache: &Cache) -> Result<Packed, SourceError> {
    let sizes = archive
        .files
        .values()
        .find(|file| file.digest == image.config);
    let config = Kept {
        digest: image.config,
        size_bytes: sizes.map_or(0, |file| file.size_bytes),
    };
    let (mut layers, mut unpacked_bytes) = (Vec::new(), 0);
    for layer in &image.layers {
        unpacked_bytes += unpack(layer, cache)?;
        let path = cache.path(&layer.blob);
        let mut magic = [0; 4];
        let mut file = File::open(&path).map_err(SourceError::io(&path))?;
        file.read_exact(&mut magic)
            .map_err(SourceError::io(&path))?;
        let kept = Kept {
            digest: layer.blob,
            size_bytes: layer.size_bytes,
        };
        layers.push(match magic {
            [0x1f, 0x8b, ..] => (kept, LAYER_TYPE.to_owned()),
            [0x28, 0xb5, 0x2f, 0xfd] => (kept, LAYER_TYPE.replace("gzip", "zstd")),
            _ => {
                let mut plain = File::open(&path).map_err(SourceError::io(&path))?;
                (gzip(&mut plain, cache)?.0, LAYER_TYPE.to_owned())
            }
        });
    }
    with_manifest(config, layers, unpacked_bytes, cache)
}

/// Unpacks a layer to nowhere: it must be what the configuration says. Gives its size.
fn unpack(layer: &bundle::Layer, cache: &Cache) -> Result<u64, SourceError> {
    let path = cache.path(&layer.blob);
    let file = File::open(&path).map_err(SourceError::io(&path))?;
    let compression: Compression = layer.compression;
    let mut reader =
        LayerReader::open(file, compression, LAYER_MAX_BYTES).map_err(SourceError::io(&path))?;
    let size = io::copy(&mut reader, &mut io::sink())
        .map_err(|e| SourceError::Refused(format!("layer {}: {e}", layer.blob)))?;
    reader
        .verify(&layer.diff_id)
        .map_err(|e| SourceError::Refused(format!("layer {}: {e}", layer.blob)))?;
    Ok(size)
}
