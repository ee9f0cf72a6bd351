//! Takes an image in: blobs first, layers unpacked and verified, the row last.
//!
//! A crash at any point leaves files that the next [`crate::sweep`] removes, never a row without
//! its files. Doing the same import again skips what is there.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use audit::{Auditor, Entry, Kind, Who};
use bundle::{
    Archive, ArchiveError, Image, ImageError, Layer, LayerError, LayerReader, Limits, Sink, Stored,
};
use store::{BlobError, Change, Store, StoreError, sync_dir};
use vocab::{Digest, unix_ms};

use crate::images::{self, ImageRow, LayerRow};
use crate::tools::Tools;
use crate::{ImageName, layer_dir, sql};

/// The most that one layer may unpack to.
const LAYER_BYTES: u64 = 64 << 30;

/// Unpacks the tar of one layer somewhere safe: its bytes are not to be trusted.
pub trait Unpack {
    /// Unpacks `tar` into `parent/name`, which does not exist yet, durably. What was left out for
    /// safety comes back as notices; what cannot be left out is refused, in words.
    fn unpack(
        &self,
        parent: &Path,
        name: &str,
        tar: &mut (dyn Read + Send),
    ) -> Result<Vec<String>, String>;
}

/// An image that was taken in.
#[derive(Clone, Debug)]
pub struct Imported {
    /// As it now stands.
    pub image: ImageRow,
    /// What was left out of its layers, in words.
    pub notices: Vec<String>,
    /// Layers that were here already.
    pub known_layers: usize,
}

/// Why an image was not taken in. Nothing of it can be used.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive was refused.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Its documents were refused.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A layer is not what it claims to be.
    #[error("layer {diff_id} was refused")]
    Layer {
        /// Which.
        diff_id: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// A layer could not be unpacked.
    #[error("layer {diff_id} was refused: {reason}")]
    Unpack {
        /// Which.
        diff_id: Digest,
        /// Why.
        reason: String,
    },
    /// A blob is gone again.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit log refused.
    #[error(transparent)]
    Audit(#[from] audit::AppendError),
    /// The disk refused.
    #[error("cannot write {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// One import at a time: two would take each other's half-written layers and blobs for their own.
static IMPORTING: Mutex<()> = Mutex::new(());

/// Waits until no other import runs, and keeps others out until it is dropped.
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    IMPORTING.lock().unwrap_or_else(PoisonError::into_inner)
}

struct IntoBlobs<'a> {
    store: &'a Store,
    /// Those that this import brought, to be removed again if it fails.
    fresh: Vec<Digest>,
}

impl Sink for IntoBlobs<'_> {
    fn keep(
        &mut self,
        content: &mut dyn Read,
        expected: Option<Digest>,
        limit_bytes: u64,
    ) -> Result<Stored, String> {
        let known = expected.is_some_and(|digest| self.store.blobs().has(&digest));
        let (digest, size_bytes) = self
            .store
            .blobs()
            .put(content, expected, limit_bytes)
            .map_err(|e| match &e {
                BlobError::Io(source) => format!("{e}: {source}"),
                _ => e.to_string(),
            })?;
        if !known {
            self.fresh.push(digest);
        }
        Ok(Stored { digest, size_bytes })
    }
}

/// Reads `stream` (a tar of an OCI image layout, or a docker-archive) and makes the image usable
/// under `name`. Long: call it on a thread that may block.
#[tracing::instrument(skip_all, fields(image = %name))]
pub fn import_image(
    store: &Store,
    auditor: &Auditor,
    who: &Who,
    unpack: &dyn Unpack,
    name: &ImageName,
    stream: impl Read,
) -> Result<Imported, ImportError> {
    let _alone = alone();
    let mut sink = IntoBlobs {
        store,
        fresh: Vec::new(),
    };
    let taken = take(store, auditor, who, unpack, name, stream, &mut sink);
    // Documents of the archive that the image does not need go too.
    let needed = store.read(sql::needed).map(|(blobs, _)| blobs)?;
    for digest in sink.fresh.iter().filter(|digest| !needed.contains(digest)) {
        if let Err(error) = store.blobs().remove(digest) {
            tracing::warn!(%digest, %error, "an unneeded blob stays until the next start");
        }
    }
    taken
}

fn take(
    store: &Store,
    auditor: &Auditor,
    who: &Who,
    unpack: &dyn Unpack,
    name: &ImageName,
    stream: impl Read,
    sink: &mut IntoBlobs<'_>,
) -> Result<Imported, ImportError> {
    let archive: Archive = bundle::read_archive(stream, sink, &Limits::default())?;
    let image = bundle::image_of(&archive, &reads(store))?;
    let Landed {
        notices,
        known_layers,
    } = land(store, unpack, &image)?;
    let now_ms = unix_ms(auditor.now());
    let row = row(store, &image, now_ms);
    store.write(|tx| {
        let id = sql::insert(tx, &row, true)?;
        images::name(tx, id, name, now_ms)?;
        let entry = Entry::success(Kind::ImageAdded)
            .object("image", id.tagged(), name.as_str())
            .detail("digest", row.digest.to_string())
            .detail("layers", row.layers.len())
            .detail("size_bytes", row.size_bytes);
        auditor.append(tx, who, entry)?;
        tx.announce(Change::Images);
        Ok::<_, ImportError>(())
    })?;
    let image = store
        .read(|db| images::resolve(db, name.as_str()))?
        .ok_or(StoreError::Sqlite(rusqlite::Error::QueryReturnedNoRows))?;
    Ok(Imported {
        image,
        notices,
        known_layers,
    })
}

/// Gives the bytes of a small blob.
pub(crate) fn reads(store: &Store) -> impl Fn(&Digest) -> Result<Vec<u8>, String> + '_ {
    |digest| {
        let mut bytes = Vec::new();
        let mut file = store.blobs().read(digest).map_err(|e| e.to_string())?;
        file.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}

/// What became of an image's layers.
pub(crate) struct Landed {
    /// What was left out, in words.
    pub(crate) notices: Vec<String>,
    /// Layers that were here already.
    pub(crate) known_layers: usize,
}

/// Unpacks and verifies the layers that are not here yet.
pub(crate) fn land(
    store: &Store,
    unpack: &dyn Unpack,
    image: &Image,
) -> Result<Landed, ImportError> {
    let mut landed = Landed {
        notices: Vec::new(),
        known_layers: 0,
    };
    for layer in &image.layers {
        if layer_dir(store.dir(), &layer.diff_id).exists() {
            landed.known_layers += 1;
        } else {
            landed.notices.extend(place(store, unpack, layer)?);
        }
    }
    Ok(landed)
}

/// The row of an image whose layers have landed.
pub(crate) fn row(store: &Store, image: &Image, now_ms: i64) -> ImageRow {
    let dirs: Vec<PathBuf> = image
        .layers
        .iter()
        .map(|layer| layer_dir(store.dir(), &layer.diff_id))
        .collect();
    ImageRow {
        id: vocab::ImageId(0),
        digest: image.digest,
        config_digest: image.config,
        names: Vec::new(),
        architecture: image.architecture.clone(),
        env: image.env.clone(),
        user: image.user.clone(),
        working_dir: image.working_dir.clone(),
        size_bytes: image.layers.iter().map(|layer| layer.size_bytes).sum(),
        tools: Tools::of_layers(&dirs),
        imported_ms: now_ms,
        layers: image
            .layers
            .iter()
            .map(|l| LayerRow {
                diff_id: l.diff_id,
                blob: l.blob,
                size_bytes: l.size_bytes,
            })
            .collect(),
    }
}

/// Unpacks one layer beside its place, verifies it, and moves it there.
fn place(store: &Store, unpack: &dyn Unpack, layer: &Layer) -> Result<Vec<String>, ImportError> {
    let home = layer_dir(store.dir(), &layer.diff_id);
    let parent = store.dir().join("layers");
    let failed = |source| ImportError::Io {
        path: home.clone(),
        source,
    };
    fs::create_dir_all(&parent).map_err(failed)?;
    let name = format!("tmp-{}", layer.diff_id.hex());
    let tmp = parent.join(&name);
    discard(&tmp).map_err(failed)?;
    let blob = store.blobs().read(&layer.blob)?;
    let refused = |source| ImportError::Layer {
        diff_id: layer.diff_id,
        source,
    };
    let mut tar = LayerReader::open(blob, layer.compression, LAYER_BYTES)
        .map_err(|e| refused(LayerError::Io(e)))?;
    let unpacked = unpack.unpack(&parent, &name, &mut tar);
    let checked = unpacked
        .map_err(|reason| ImportError::Unpack {
            diff_id: layer.diff_id,
            reason,
        })
        .and_then(|notices| {
            tar.verify(&layer.diff_id)
                .map_err(refused)
                .map(|()| notices)
        });
    match checked {
        Ok(notices) => {
            fs::rename(&tmp, &home).map_err(failed)?;
            sync_dir(&parent).map_err(failed)?;
            Ok(notices)
        }
        Err(error) => {
            if let Err(left) = discard(&tmp) {
                tracing::warn!(path = %tmp.display(), error = %left, "stays until the next start");
            }
            Err(error)
        }
    }
}

fn discard(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
