//! A site with its keys, which packs and signs bundles as a connected machine would.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::manifest::{FileItem, Origin};
use crate::pack::{Content, Draft, measure, pack};
use crate::root::{NamedKey, Role, SealedRoot, Statement};
use crate::sign::{PublicKey, SecretKey, generate};
use crate::{Appliance, Item, Judged, Manifest, Sealed, Trust, Version, trusted_comment, volume};
use vocab::Digest;

pub(super) struct Key {
    pub(super) public: PublicKey,
    pub(super) secret: SecretKey,
}

impl Key {
    pub(super) fn new() -> Self {
        let (public, text) = generate(None).unwrap();
        let secret = SecretKey::open(&text, None).unwrap();
        Self { public, secret }
    }

    pub(super) fn named(&self, name: &str) -> NamedKey {
        NamedKey {
            id: self.public.id().clone(),
            name: name.to_owned(),
            key: self.public.as_base64().to_owned(),
        }
    }
}

pub(super) fn role(threshold: usize, keys: &[(&Key, &str)]) -> Role {
    let mut keys: Vec<NamedKey> = keys.iter().map(|(key, name)| key.named(name)).collect();
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    Role { threshold, keys }
}

/// A site with one root key and two release keys, both of which must sign.
pub(super) struct Site {
    pub(super) root: Key,
    pub(super) a: Key,
    pub(super) b: Key,
    pub(super) dir: tempfile::TempDir,
}

impl Site {
    pub(super) fn new() -> Self {
        Self {
            root: Key::new(),
            a: Key::new(),
            b: Key::new(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn statement(&self, number: u64) -> Statement {
        Statement {
            cofferdam_root: 1,
            site: "lab".to_owned(),
            number,
            created: "2026-11-20".to_owned(),
            root: role(1, &[(&self.root, "root-a")]),
            release: role(2, &[(&self.a, "release-a"), (&self.b, "release-b")]),
            revoked: Vec::new(),
            floor_reset: BTreeMap::new(),
        }
    }

    pub(super) fn seal(statement: &Statement, signers: &[&Key]) -> SealedRoot {
        let bytes = statement.to_bytes();
        let signatures = signers
            .iter()
            .map(|key| {
                let name = format!("ROOT.{}.json.{}.minisig", statement.number, key.public.id());
                (name, key.secret.sign(&bytes, "root").unwrap())
            })
            .collect();
        SealedRoot { bytes, signatures }
    }

    pub(super) fn write_root(dir: &Path, statement: &Statement, signers: &[&Key]) -> SealedRoot {
        let sealed = Self::seal(statement, signers);
        fs::write(
            dir.join(format!("ROOT.{}.json", statement.number)),
            &sealed.bytes,
        )
        .unwrap();
        for (name, text) in &sealed.signatures {
            fs::write(dir.join(name), text).unwrap();
        }
        sealed
    }

    pub(super) fn draft(seq: u64) -> Draft {
        Draft {
            product: "lab".to_owned(),
            channel: "stable".to_owned(),
            seq,
            content: format!("2026.11.{seq}"),
            arch: vec!["amd64".to_owned()],
            created: "2026-11-20".to_owned(),
            not_after: "2027-05-20".to_owned(),
            security_epoch: 1,
            min_appliance: "0.1.0".to_owned(),
            rollback_of: None,
            audience: Vec::new(),
            root: 1,
            have_sha256: None,
            assumed: BTreeMap::new(),
            items: Vec::new(),
            removes: Vec::new(),
            replaces: BTreeMap::new(),
            lock_sha256: Digest::of(b"lock"),
            notes: None,
        }
    }

    /// Packs `files` into small volumes under a folder of its own, unsigned, with statement 1.
    pub(super) fn pack(&self, mut draft: Draft, files: &[(&str, &[u8])]) -> (PathBuf, Manifest) {
        let dir = self.dir.path().join(format!("lab-stable-{:06}", draft.seq));
        fs::create_dir_all(&dir).unwrap();
        let mut blobs = BTreeMap::new();
        let mut bytes: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
        for (name, content) in files {
            let (digest, size, chunks) = measure(*content).unwrap();
            let media = "application/octet-stream".to_owned();
            blobs.insert(
                digest,
                Content {
                    size,
                    media,
                    chunks,
                },
            );
            bytes.insert(digest, content.to_vec());
            draft.items.push(Item::File(FileItem {
                name: (*name).to_owned(),
                d: digest,
                source: Origin::default(),
            }));
        }
        let manifest = pack(
            draft,
            &blobs,
            20_480,
            &mut |digest| Ok(Box::new(std::io::Cursor::new(bytes[digest].clone()))),
            &mut |name| Ok(Box::new(fs::File::create(dir.join(name))?)),
        )
        .unwrap();
        fs::write(dir.join("MANIFEST.json"), manifest.to_bytes()).unwrap();
        fs::write(dir.join("SHA256SUMS"), volume::sums(&manifest.volumes)).unwrap();
        Self::write_root(&dir, &self.statement(1), &[&self.root]);
        (dir, manifest)
    }

    pub(super) fn sign(dir: &Path, key: &Key) {
        let bytes = fs::read(dir.join("MANIFEST.json")).unwrap();
        let manifest = Manifest::parse(&bytes).unwrap();
        let comment = trusted_comment(&manifest, &Digest::of(&bytes));
        Self::sign_as(dir, key, &comment);
    }

    pub(super) fn sign_as(dir: &Path, key: &Key, comment: &str) {
        let bytes = fs::read(dir.join("MANIFEST.json")).unwrap();
        let text = key.secret.sign(&bytes, comment).unwrap();
        let name = format!("MANIFEST.json.{}.minisig", key.public.id());
        fs::write(dir.join(name), text).unwrap();
    }

    pub(super) fn good(&self, seq: u64) -> PathBuf {
        let (dir, _) = self.pack(Self::draft(seq), &[("hello", b"hello world")]);
        Self::sign(&dir, &self.a);
        Self::sign(&dir, &self.b);
        dir
    }

    pub(super) fn trust(&self) -> Trust {
        Trust::Pinned(Digest::of(&self.statement(1).to_bytes()))
    }

    pub(super) fn code(&self, dir: &Path) -> &'static str {
        match Sealed::open(dir).and_then(|s| s.verify(&self.trust())) {
            Ok(_) => "ok",
            Err(refusal) => refusal.code(),
        }
    }
}

pub(super) fn appliance() -> Appliance {
    Appliance {
        name: "appliance-0001".to_owned(),
        version: Version(0, 1, 0),
        arch: "amd64".to_owned(),
        day: "2026-11-26".to_owned(),
        seq: 0,
        epoch: 0,
        active: None,
        keys: BTreeSet::new(),
        pins: BTreeMap::new(),
        quorum_override: false,
    }
}

pub(super) fn judge(site: &Site, dir: &Path, appliance: &Appliance) -> &'static str {
    let verified = Sealed::open(dir).unwrap().verify(&site.trust()).unwrap();
    match verified.judge(appliance) {
        Ok(Judged::New) => "new",
        Ok(Judged::Already) => "already",
        Err(refusal) => refusal.code(),
    }
}
