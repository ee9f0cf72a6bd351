//! A connected side in small: packs files into a bundle and signs it with two keys.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use bundle::manifest::{FileItem, Origin};
use bundle::pack::{Content, Draft, measure, pack};
use bundle::root::{NamedKey, Role, Statement};
use bundle::sign::{PublicKey, SecretKey, generate};
use bundle::{Item, Manifest, trusted_comment, volume};
use testkit::Result;
use vocab::Digest;

/// Files by name.
pub type Files<'a> = &'a [(&'a str, &'a [u8])];

/// A key with its public half.
pub struct Key {
    /// To give away.
    pub public: PublicKey,
    /// To sign with.
    pub secret: SecretKey,
}

impl Key {
    /// A new pair.
    pub fn new() -> Result<Self> {
        let (public, text) = generate(None)?;
        let secret = SecretKey::open(&text, None)?;
        Ok(Self { public, secret })
    }

    fn named(&self, name: &str) -> NamedKey {
        NamedKey {
            id: self.public.id().clone(),
            name: name.to_owned(),
            key: self.public.as_base64().to_owned(),
        }
    }
}

/// A site's keys, and the folder of its sticks.
pub struct Stick {
    root: Key,
    release: [Key; 2],
    folder: PathBuf,
    /// Largest volume.
    pub limit: u64,
}

impl Stick {
    /// New keys; bundles go below `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            root: Key::new()?,
            release: [Key::new()?, Key::new()?],
            folder: folder.to_owned(),
            limit: 4_000_000_000,
        })
    }

    /// The first root statement.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let mut keys = vec![
            self.release[0].named("release-a"),
            self.release[1].named("release-b"),
        ];
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        Statement {
            cofferdam_root: 1,
            site: "lab".to_owned(),
            number: 1,
            created: "2026-11-20".to_owned(),
            root: Role {
                threshold: 1,
                keys: vec![self.root.named("root-a")],
            },
            release: Role { threshold: 2, keys },
            revoked: Vec::new(),
            floor_reset: BTreeMap::new(),
        }
    }

    /// The digits that stand on paper.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Digest::of(&self.statement().to_bytes()).hex()
    }

    /// What a bundle of that number says of itself.
    #[must_use]
    pub fn draft(seq: u64) -> Draft {
        Draft {
            product: "lab".to_owned(),
            channel: "stable".to_owned(),
            seq,
            content: format!("2026.11.{seq}"),
            arch: vec!["amd64".to_owned()],
            created: "2026-11-20".to_owned(),
            not_after: "2099-05-20".to_owned(),
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

    /// A signed bundle of these files; its folder.
    pub fn bundle(&self, mut draft: Draft, files: Files<'_>) -> Result<PathBuf> {
        let dir = self.folder.join(format!("lab-stable-{:06}", draft.seq));
        std::fs::create_dir_all(&dir)?;
        let mut blobs = BTreeMap::new();
        let mut bytes: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
        for (name, content) in files {
            let (digest, size, chunks) = measure(*content)?;
            let media = "application/octet-stream".to_owned();
            let about = Content {
                size,
                media,
                chunks,
            };
            if !draft.assumed.contains_key(&digest) {
                blobs.insert(digest, about);
                bytes.insert(digest, content.to_vec());
            }
            draft.items.push(Item::File(FileItem {
                name: (*name).to_owned(),
                d: digest,
                source: Origin::default(),
            }));
        }
        let manifest = pack(
            draft,
            &blobs,
            self.limit,
            &mut |digest| {
                let content = bytes.get(digest).cloned().unwrap_or_default();
                Ok(Box::new(Cursor::new(content)))
            },
            &mut |name| Ok(Box::new(std::fs::File::create(dir.join(name))?)),
        )?;
        self.write(&dir, &manifest)?;
        Ok(dir)
    }

    /// Writes the manifest with its signatures, the sums and the root statement into `dir`.
    pub fn write(&self, dir: &Path, manifest: &Manifest) -> Result {
        let document = manifest.to_bytes();
        std::fs::write(dir.join("MANIFEST.json"), &document)?;
        std::fs::write(dir.join("SHA256SUMS"), volume::sums(&manifest.volumes))?;
        let comment = trusted_comment(manifest, &Digest::of(&document));
        for key in &self.release {
            let name = format!("MANIFEST.json.{}.minisig", key.public.id());
            std::fs::write(dir.join(name), key.secret.sign(&document, &comment)?)?;
        }
        let root = self.statement().to_bytes();
        std::fs::write(dir.join("ROOT.1.json"), &root)?;
        let name = format!("ROOT.1.json.{}.minisig", self.root.public.id());
        std::fs::write(dir.join(name), self.root.secret.sign(&root, "root")?)?;
        Ok(())
    }
}
