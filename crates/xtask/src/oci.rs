//! One root file system packed as an OCI image archive with a single layer.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const BLOCK: usize = 512;
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Counts and hashes what passes through to the writer below.
struct Hashing<W> {
    below: W,
    hash: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(below: W) -> Self {
        Self {
            below,
            hash: Sha256::new(),
            bytes: 0,
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let count = self.below.write(data)?;
        self.hash.update(&data[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.below.flush()
    }
}

/// Packs the tar file `tree` into the OCI archive `out`, with `environment` as its `Env`.
pub(crate) fn pack(tree: &Path, environment: &[String], out: &Path) -> Result<()> {
    let folder = out.parent().context("the archive has no folder")?;
    let packed = folder.join("layer.tar.gz");
    let (layer, diff_id) = compress(tree, &packed)?;
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": { "Env": environment, "Cmd": ["/bin/bash"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
        "history": [{ "created_by": "cargo xtask image" }],
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, &digest(&config), config.len() as u64),
        "layers": [descriptor(LAYER_TYPE, &layer.0, layer.1)],
    }))?;
    let mut entry = descriptor(MANIFEST_TYPE, &digest(&manifest), manifest.len() as u64);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "debian" });
    let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [entry] }))?;

    let mut archive = BufWriter::new(File::create(out)?);
    file(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    file(&mut archive, "index.json", &index)?;
    file(&mut archive, &blob(&digest(&manifest)), &manifest)?;
    file(&mut archive, &blob(&digest(&config)), &config)?;
    header(&mut archive, &blob(&layer.0), layer.1)?;
    std::io::copy(&mut BufReader::new(File::open(&packed)?), &mut archive)?;
    pad(&mut archive, layer.1)?;
    archive.write_all(&[0; 2 * BLOCK])?;
    archive.flush()?;
    Ok(())
}

/// Compresses `tree`; gives the digest and size of the result, and the digest of the input.
fn compress(tree: &Path, packed: &Path) -> Result<((String, u64), String)> {
    let mut source = File::open(tree).with_context(|| format!("cannot read {}", tree.display()))?;
    let sink = Hashing::new(BufWriter::new(File::create(packed)?));
    let mut encoder = Hashing::new(GzEncoder::new(sink, Compression::fast()));
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        encoder.write_all(&buffer[..count])?;
    }
    let diff_id = hex::encode(encoder.hash.finalize());
    let mut sink = encoder.below.finish()?;
    sink.flush()?;
    Ok(((hex::encode(sink.hash.finalize()), sink.bytes), diff_id))
}

fn descriptor(kind: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size })
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn file(archive: &mut impl Write, name: &str, content: &[u8]) -> Result<()> {
    header(archive, name, content.len() as u64)?;
    archive.write_all(content)?;
    pad(archive, content.len() as u64)
}

/// A ustar header of a plain file that everybody may read.
fn header(archive: &mut impl Write, name: &str, size: u64) -> Result<()> {
    let mut block = [0_u8; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    put(&mut block, 100, "0000644\0");
    put(&mut block, 108, "0000000\0");
    put(&mut block, 116, "0000000\0");
    put(&mut block, 124, &format!("{size:011o}\0"));
    put(&mut block, 136, "14524752600\0");
    put(&mut block, 148, "        ");
    block[156] = b'0';
    put(&mut block, 257, "ustar\x0000");
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    put(&mut block, 148, &format!("{sum:06o}\0 "));
    archive.write_all(&block)?;
    Ok(())
}

fn put(block: &mut [u8; BLOCK], at: usize, text: &str) {
    block[at..at + text.len()].copy_from_slice(text.as_bytes());
}

fn pad(archive: &mut impl Write, size: u64) -> Result<()> {
    let over = usize::try_from(size % BLOCK as u64)?;
    if over > 0 {
        archive.write_all(&vec![0; BLOCK - over])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_systems_tar_reads_the_archive_and_every_digest_holds() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree.tar");
        let mut bytes = Vec::new();
        file(&mut bytes, "hello", b"hi\n").unwrap();
        bytes.extend([0; 2 * BLOCK]);
        std::fs::write(&tree, &bytes).unwrap();
        let out = folder.path().join("image.tar");
        pack(&tree, &["A=b".to_owned()], &out).unwrap();

        let unpacked = folder.path().join("unpacked");
        std::fs::create_dir(&unpacked).unwrap();
        let status = Command::new("tar")
            .arg("-xf")
            .arg(&out)
            .arg("-C")
            .arg(&unpacked)
            .status()
            .unwrap();
        assert!(status.success());
        let blobs: Vec<_> = std::fs::read_dir(unpacked.join("blobs/sha256"))
            .unwrap()
            .map(|e| e.unwrap())
            .collect();
        assert_eq!(blobs.len(), 3);
        for entry in blobs {
            let name = entry.file_name().into_string().unwrap();
            assert_eq!(digest(&std::fs::read(entry.path()).unwrap()), name);
        }
        let index: Value =
            serde_json::from_slice(&std::fs::read(unpacked.join("index.json")).unwrap()).unwrap();
        let manifest = index["manifests"][0]["digest"]
            .as_str()
            .unwrap()
            .replace(':', "/");
        assert!(unpacked.join("blobs").join(manifest).is_file());
    }
}
