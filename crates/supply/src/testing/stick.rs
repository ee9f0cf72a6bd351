//! A connected side in small: two release keys that must both sign, and media with any items.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use bundle::Item;
use bundle::pack::{Content, Draft, measure, pack};
use bundle::root::{NamedKey, Role, Statement};
use bundle::sign::{PublicKey, SecretKey, generate};
use bundle::{trusted_comment, volume};
use vocab::Digest;

struct Key {
    public: PublicKey,
    secret: SecretKey,
}

impl Key {
    fn new() -> Self {
        let (public, text) = generate(None).expect("a test has randomness");
        let secret = SecretKey::open(&text, None).expect("it was made without a password");
        Self { public, secret }
    }

    fn named(&self, name: &str) -> NamedKey {
        NamedKey {
            id: self.public.id().clone(),
            name: name.to_owned(),
            key: self.public.as_base64().to_owned(),
        }
    }
}

/// The keys of a site, and the folder that its media lie in.
pub struct Stick {
    root: Key,
    release: [Key; 2],
    dir: PathBuf,
}

/// What a medium holds.
#[derive(Default)]
pub struct Load {
    /// Its items; whatever they need must be among the blobs.
    pub items: Vec<Item>,
    /// What the generation before had and this one has not.
    pub removes: Vec<String>,
    /// Pins that move.
    pub replaces: Vec<String>,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Load {
    /// Adds a blob.
    pub fn blob(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.blobs.insert(digest, bytes.to_vec());
        digest
    }
}

impl Stick {
    /// New keys; media go below `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            root: Key::new(),
            release: [Key::new(), Key::new()],
            dir: dir.to_owned(),
        }
    }

    fn statement(&self) -> Statement {
        let mut keys = vec![
            self.release[0].named("release-a"),
            self.release[1].named("release-b"),
        ];
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        Statement {
            cofferdam_root: 1,
            site: "lab".to_owned(),
            number: 1,
            created: "2026-11-01".to_owned(),
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
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.statement().to_bytes())
    }

    /// Writes a signed bundle; its folder.
    ///
    /// # Panics
    /// When the disk or the format refuses it.
    #[must_use]
    pub fn bundle(&self, seq: u64, load: Load) -> PathBuf {
        let dir = self.dir.join(format!("lab-stable-{seq:06}"));
        fs::create_dir_all(&dir).expect("a test's disk takes a folder");
        let mut blobs = BTreeMap::new();
        // What no item needs has no place in a bundle.
        let needed: BTreeSet<Digest> = load.items.iter().flat_map(Item::blobs).collect();
        for (digest, bytes) in load.blobs.iter().filter(|(d, _)| needed.contains(d)) {
            let (_, size, chunks) = measure(&bytes[..]).expect("memory is readable");
            let media = "application/octet-stream".to_owned();
            let about = Content {
                size,
                media,
                chunks,
            };
            blobs.insert(*digest, about);
        }
        let any = |key: String| (key, "*".to_owned());
        let mut draft = Draft {
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
            items: load.items,
            removes: load.removes,
            replaces: load.replaces.into_iter().map(any).collect(),
            lock_sha256: Digest::of(b"lock"),
            notes: None,
        };
        draft.items.sort_by_key(Item::key);
        draft.removes.sort();
        let of = &load.blobs;
        let manifest = pack(
            draft,
            &blobs,
            bundle::manifest::VOLUME_MAX_BYTES,
            &mut |digest| Ok(Box::new(Cursor::new(of[digest].clone()))),
            &mut |name| Ok(Box::new(fs::File::create(dir.join(name))?)),
        )
        .expect("the format takes it");
        let document = manifest.to_bytes();
        let write = |name: String, bytes: &[u8]| {
            fs::write(dir.join(name), bytes).expect("a test's disk takes a file");
        };
        write("MANIFEST.json".to_owned(), &document);
        write(
            "SHA256SUMS".to_owned(),
            volume::sums(&manifest.volumes).as_ref(),
        );
        let comment = trusted_comment(&manifest, &Digest::of(&document));
        let sign = |key: &Key, document: &[u8], comment: &str| {
            let signed = key.secret.sign(document, comment);
            signed.expect("a comment is one line")
        };
        for key in &self.release {
            let name = format!("MANIFEST.json.{}.minisig", key.public.id());
            write(name, sign(key, &document, &comment).as_bytes());
        }
        let root = self.statement().to_bytes();
        write("ROOT.1.json".to_owned(), &root);
        let name = format!("ROOT.1.json.{}.minisig", self.root.public.id());
        write(name, sign(&self.root, &root, "root").as_bytes());
        dir
    }
}
