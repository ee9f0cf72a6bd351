//! Packing: from blobs and items to volumes and the manifest that names them.
//!
//! The result is a function of the draft and the blobs' bytes: same input, same bytes, on any
//! machine. Refuses a draft whose manifest would not be read back.
//! Source: docs/bundle-format.md, "Volumes" and "Manifest".

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};
use vocab::Digest;

use crate::manifest::{
    Assumed, Base, Blob, CHUNK_BYTES, Closure, FORMAT, Item, Manifest, SEGMENT_BYTES, Volume,
};
use crate::refusal::Refusal;
use crate::volume::{self, Label, Writer};

/// A blob that goes into a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media: String,
    /// SHA-256 of each [`CHUNK_BYTES`] when there are several; see [`measure`].
    pub chunks: Vec<Digest>,
}

/// All that a manifest says beyond blobs and volumes.
#[derive(Clone, Debug)]
pub struct Draft {
    /// See [`Manifest`].
    pub product: String,
    /// See [`Manifest`].
    pub channel: String,
    /// See [`Manifest`].
    pub seq: u64,
    /// See [`Manifest`].
    pub content: String,
    /// See [`Manifest`].
    pub arch: Vec<String>,
    /// See [`Manifest`].
    pub created: String,
    /// See [`Manifest`].
    pub not_after: String,
    /// See [`Manifest`].
    pub security_epoch: u64,
    /// See [`Manifest`].
    pub min_appliance: String,
    /// See [`Manifest`].
    pub rollback_of: Option<String>,
    /// See [`Manifest`].
    pub audience: Vec<String>,
    /// See [`Manifest`].
    pub root: u64,
    /// Digest of the have slip that a delta is built against.
    pub have_sha256: Option<Digest>,
    /// Blobs of the items that the volumes leave out, with their sizes.
    pub assumed: BTreeMap<Digest, u64>,
    /// Everything that is served, in any order.
    pub items: Vec<Item>,
    /// See [`Manifest`].
    pub removes: Vec<String>,
    /// See [`Manifest`].
    pub replaces: BTreeMap<String, String>,
    /// See [`Manifest`].
    pub lock_sha256: Digest,
    /// See [`Manifest`].
    pub notes: Option<Digest>,
}

/// Why a bundle could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A blob could not be read, or a volume not written.
    #[error("cannot pack {what}")]
    Io {
        /// Blob or volume.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A blob changed between being measured and being packed.
    #[error("blob {0} is not what it was when it was locked; clear the cache and build again")]
    Changed(Digest),
    /// The manifest would be refused.
    #[error("the bundle would be refused")]
    Refused(#[from] Refusal),
}

/// Opens a blob for reading.
pub type OpenBlob<'a> = dyn FnMut(&Digest) -> io::Result<Box<dyn Read>> + 'a;
/// Makes the volume of that name.
pub type MakeVolume<'a> = dyn FnMut(&str) -> io::Result<Box<dyn Write>> + 'a;

/// Writes all volumes, each of at most `limit` bytes, and gives the manifest.
pub fn pack(
    draft: Draft,
    blobs: &BTreeMap<Digest, Content>,
    limit: u64,
    open: &mut OpenBlob<'_>,
    make: &mut MakeVolume<'_>,
) -> Result<Manifest, PackError> {
    let sizes: Vec<u64> = blobs.values().map(|b| b.size).collect();
    let layout = volume::lay_out(&sizes, limit);
    let listed: Vec<Blob> = blobs
        .iter()
        .zip(&layout.places)
        .map(|((digest, content), places)| Blob {
            d: *digest,
            n: content.size,
            at: places.clone(),
            m: content.media.clone(),
            c: content.chunks.clone(),
        })
        .collect();
    let volumes = write_volumes(&draft, &listed, layout.ends.len(), open, make)?;
    let manifest = finish(draft, listed, volumes);
    // What would be refused there is refused here, before anybody walks.
    Manifest::parse(&manifest.to_bytes())?;
    Ok(manifest)
}

fn write_volumes(
    draft: &Draft,
    blobs: &[Blob],
    count: usize,
    open: &mut OpenBlob<'_>,
    make: &mut MakeVolume<'_>,
) -> Result<Vec<Volume>, PackError> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let label = Label {
        product: &draft.product,
        channel: &draft.channel,
        seq: draft.seq,
        lock_sha256: draft.lock_sha256,
    };
    let mut volumes = Vec::new();
    let mut places = blobs
        .iter()
        .flat_map(|blob| {
            blob.at
                .iter()
                .enumerate()
                .map(move |(s, at)| (blob, s, at.0))
        })
        .peekable();
    let mut reading: Option<Reading> = None;
    for index in 1..=count {
        let name = volume::volume_name(index, count);
        let failed = |source| PackError::Io {
            what: name.clone(),
            source,
        };
        let out = make(&name).map_err(failed)?;
        let mut writer = Writer::start(out, &label.text(index, count)).map_err(failed)?;
        while let Some((blob, segment, _)) = places.next_if(|(_, _, at)| *at == index) {
            if segment == 0 {
                let from = open(&blob.d).map_err(|source| PackError::Io {
                    what: blob.d.to_string(),
                    source,
                })?;
                reading = Some(Reading {
                    from,
                    hash: Sha256::new(),
                });
            }
            let content = reading
                .as_mut()
                .expect("a blob's first segment comes before its others");
            let entry = volume::entry_name(&blob.d, segment, blob.at.len());
            let size = volume::segment_bytes(blob.n, segment as u64);
            writer
                .entry(&entry, size, content)
                .map_err(|source| PackError::Io {
                    what: format!("{} into {name}", blob.d),
                    source,
                })?;
            if segment + 1 == blob.at.len() {
                let hash = std::mem::take(&mut content.hash);
                if Digest::from_bytes(hash.finalize().into()) != blob.d {
                    return Err(PackError::Changed(blob.d));
                }
            }
        }
        let (_, size, sha256) = writer.finish().map_err(failed)?;
        volumes.push(Volume { name, size, sha256 });
    }
    Ok(volumes)
}

struct Reading {
    from: Box<dyn Read>,
    hash: Sha256,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

fn finish(draft: Draft, blobs: Vec<Blob>, volumes: Vec<Volume>) -> Manifest {
    let mut items = draft.items;
    items.sort_by_key(Item::key);
    let mut removes = draft.removes;
    removes.sort();
    let mut manifest = Manifest {
        cofferdam_bundle: FORMAT,
        product: draft.product,
        channel: draft.channel,
        seq: draft.seq,
        content: draft.content,
        arch: draft.arch,
        created: draft.created,
        not_after: draft.not_after,
        security_epoch: draft.security_epoch,
        min_appliance: draft.min_appliance,
        rollback_of: draft.rollback_of,
        audience: draft.audience,
        root: draft.root,
        base: draft.have_sha256.map(|have_sha256| Base {
            have_sha256,
            assumed: draft
                .assumed
                .iter()
                .map(|(d, n)| Assumed { d: *d, n: *n })
                .collect(),
        }),
        sums_sha256: Digest::of(volume::sums(&volumes).as_bytes()),
        volumes,
        blobs,
        items,
        removes,
        replaces: draft.replaces,
        closure: Closure { blobs: 0, bytes: 0 },
        lock_sha256: draft.lock_sha256,
        notes: draft.notes,
    };
    let all = manifest.closure_blobs();
    manifest.closure = Closure {
        blobs: all.len() as u64,
        bytes: all.iter().map(|(_, n)| n).sum(),
    };
    manifest
}

/// Reads a blob to its end: its digest, its size and its chunks.
pub fn measure(mut from: impl Read) -> io::Result<(Digest, u64, Vec<Digest>)> {
    let (mut whole, mut chunk) = (Sha256::new(), Sha256::new());
    let (mut size, mut in_chunk) = (0u64, 0u64);
    let mut chunks = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let most = usize::try_from(CHUNK_BYTES - in_chunk)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = match from.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        whole.update(&buffer[..n]);
        chunk.update(&buffer[..n]);
        (size, in_chunk) = (size + n as u64, in_chunk + n as u64);
        if in_chunk == CHUNK_BYTES {
            chunks.push(Digest::from_bytes(
                std::mem::take(&mut chunk).finalize().into(),
            ));
            in_chunk = 0;
        }
    }
    if in_chunk > 0 {
        chunks.push(Digest::from_bytes(chunk.finalize().into()));
    }
    if chunks.len() == 1 {
        chunks.clear();
    }
    debug_assert!(
        SEGMENT_BYTES.is_multiple_of(CHUNK_BYTES),
        "chunks end with segments"
    );
    Ok((Digest::from_bytes(whole.finalize().into()), size, chunks))
}
