//! How long the verdict on a bundle of many blobs takes: `cargo run --release -p bundle --example
//! verdict -- 10000`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Cursor;

use bundle::manifest::{FileItem, Origin};
use bundle::pack::{Content, Draft, pack};
use bundle::root::{NamedKey, Role, SealedRoot, Statement};
use bundle::sign::{SecretKey, generate};
use bundle::{Item, Sealed, Trust, trusted_comment};
use vocab::{Digest, Stopwatch};

fn main() -> Result<(), Box<dyn Error>> {
    let count: u32 = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 10_000,
    };
    let (public, text) = generate(None)?;
    let secret = SecretKey::open(&text, None)?;
    let role = Role {
        threshold: 1,
        keys: vec![NamedKey {
            id: public.id().clone(),
            name: "only".to_owned(),
            key: public.as_base64().to_owned(),
        }],
    };
    let statement = Statement {
        cofferdam_root: 1,
        site: "lab".to_owned(),
        number: 1,
        created: "2026-11-20".to_owned(),
        root: role.clone(),
        release: role,
        revoked: Vec::new(),
        floor_reset: BTreeMap::new(),
    };
    let root_bytes = statement.to_bytes();
    let root = SealedRoot {
        signatures: vec![("root".to_owned(), secret.sign(&root_bytes, "root")?)],
        bytes: root_bytes,
    };
    let dir = tempfile::tempdir()?;
    let manifest = packed(count)?;
    let bytes = manifest.to_bytes();
    let comment = trusted_comment(&manifest, &Digest::of(&bytes));
    let signature = secret.sign(&bytes, &comment)?;
    std::fs::write(dir.path().join("MANIFEST.json"), &bytes)?;
    std::fs::write(dir.path().join("MANIFEST.json.K.minisig"), signature)?;
    std::fs::write(dir.path().join("ROOT.1.json"), &root.bytes)?;
    std::fs::write(
        dir.path().join("ROOT.1.json.K.minisig"),
        &root.signatures[0].1,
    )?;
    let trust = Trust::Pinned(root.fingerprint());
    let mut took: Vec<u128> = Vec::new();
    for _ in 0..20 {
        let watch = Stopwatch::start();
        let verified = Sealed::open(dir.path())?.verify(&trust)?;
        took.push(watch.elapsed().as_micros());
        assert_eq!(verified.signers.len(), 1);
    }
    took.sort_unstable();
    println!(
        "{count} blobs, manifest of {} bytes: p50 {} µs, max {} µs",
        bytes.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
    Ok(())
}

/// A manifest of `count` blobs of four bytes each; the volumes are thrown away.
fn packed(count: u32) -> Result<bundle::Manifest, Box<dyn Error>> {
    let mut blobs = BTreeMap::new();
    let mut items = Vec::new();
    let mut bytes: BTreeMap<Digest, [u8; 4]> = BTreeMap::new();
    for number in 0..count {
        let content = number.to_le_bytes();
        let digest = Digest::of(&content);
        bytes.insert(digest, content);
        blobs.insert(
            digest,
            Content {
                size: 4,
                media: "application/octet-stream".to_owned(),
                chunks: Vec::new(),
            },
        );
        items.push(Item::File(FileItem {
            name: format!("files/{number:08}"),
            d: digest,
            source: Origin {
                uri: format!("files/{number:08}"),
                checked: "digest".to_owned(),
            },
        }));
    }
    let draft = Draft {
        product: "lab".to_owned(),
        channel: "stable".to_owned(),
        seq: 1,
        content: "1".to_owned(),
        arch: vec!["amd64".to_owned()],
        created: "2026-11-20".to_owned(),
        not_after: "2027-05-20".to_owned(),
        security_epoch: 0,
        min_appliance: "0.1.0".to_owned(),
        rollback_of: None,
        audience: Vec::new(),
        root: 1,
        have_sha256: None,
        assumed: BTreeMap::new(),
        items,
        removes: Vec::new(),
        replaces: BTreeMap::new(),
        lock_sha256: Digest::of(b"lock"),
        notes: None,
    };
    Ok(pack(
        draft,
        &blobs,
        4_000_000_000,
        &mut |digest| Ok(Box::new(Cursor::new(bytes[digest]))),
        &mut |_| Ok(Box::new(std::io::sink())),
    )?)
}
