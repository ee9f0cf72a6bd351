//! A connected side that packs and signs, and an appliance that takes in.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use audit::{Auditor, Origin as AuditOrigin, Who};
use bundle::manifest::{FileItem, Origin};
use bundle::pack::{Content, Draft, measure, pack};
use bundle::root::{NamedKey, Role, Statement};
use bundle::sign::{PublicKey, SecretKey, generate};
use bundle::{Item, Manifest, Version, trusted_comment, volume};
use store::{Store, StoreError, StoreOptions};
use vocab::{Clock, Digest, Entropy, from_unix_ms};

use crate::bundles::{About, BundleError, Intake, Snapshot, pin};
use crate::{GenerationId, generation};

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

    fn named(&self, name: &str) -> NamedKey {
        NamedKey {
            id: self.public.id().clone(),
            name: name.to_owned(),
            key: self.public.as_base64().to_owned(),
        }
    }
}

fn role(threshold: usize, keys: &[(&Key, &str)]) -> Role {
    let mut keys: Vec<NamedKey> = keys.iter().map(|(key, name)| key.named(name)).collect();
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    Role { threshold, keys }
}

/// The connected side: one root key, two release keys that must both sign.
pub(super) struct Lab {
    pub(super) root: Key,
    pub(super) a: Key,
    pub(super) b: Key,
    pub(super) dir: tempfile::TempDir,
    /// Largest volume.
    pub(super) limit: u64,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self {
            root: Key::new(),
            a: Key::new(),
            b: Key::new(),
            dir: tempfile::tempdir().unwrap(),
            limit: 20_480,
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

    pub(super) fn fingerprint(&self) -> Digest {
        Digest::of(&self.statement(1).to_bytes())
    }

    pub(super) fn write_root(&self, dir: &Path, statement: &Statement) {
        let bytes = statement.to_bytes();
        let file = format!("ROOT.{}.json", statement.number);
        let text = self.root.secret.sign(&bytes, "root").unwrap();
        fs::write(dir.join(&file), &bytes).unwrap();
        fs::write(
            dir.join(format!("{file}.{}.minisig", self.root.public.id())),
            text,
        )
        .unwrap();
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

    /// Packs `files` and signs; the folder of the bundle.
    pub(super) fn bundle(&self, draft: Draft, files: &[(&str, &[u8])]) -> PathBuf {
        let (dir, _) = self.pack(draft, files);
        self.sign(&dir);
        dir
    }

    pub(super) fn good(&self, seq: u64, files: &[(&str, &[u8])]) -> PathBuf {
        self.bundle(Self::draft(seq), files)
    }

    pub(super) fn pack(&self, mut draft: Draft, files: &[(&str, &[u8])]) -> (PathBuf, Manifest) {
        let dir = self.dir.path().join(format!("lab-stable-{:06}", draft.seq));
        fs::create_dir_all(&dir).unwrap();
        let mut blobs = BTreeMap::new();
        let mut bytes: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
        for (name, content) in files {
            let (digest, size, chunks) = measure(*content).unwrap();
            let media = "application/octet-stream".to_owned();
            if !draft.assumed.contains_key(&digest) {
                blobs.insert(
                    digest,
                    Content {
                        size,
                        media,
                        chunks,
                    },
                );
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
            &mut |digest| Ok(Box::new(Cursor::new(bytes[digest].clone()))),
            &mut |name| Ok(Box::new(fs::File::create(dir.join(name))?)),
        )
        .unwrap();
        fs::write(dir.join("MANIFEST.json"), manifest.to_bytes()).unwrap();
        fs::write(dir.join("SHA256SUMS"), volume::sums(&manifest.volumes)).unwrap();
        self.write_root(&dir, &self.statement(1));
        (dir, manifest)
    }

    /// Both release keys sign what stands there.
    pub(super) fn sign(&self, dir: &Path) {
        let bytes = fs::read(dir.join("MANIFEST.json")).unwrap();
        let manifest = Manifest::parse(&bytes).unwrap();
        let comment = trusted_comment(&manifest, &Digest::of(&bytes));
        for key in [&self.a, &self.b] {
            let text = key.secret.sign(&bytes, &comment).unwrap();
            let name = format!("MANIFEST.json.{}.minisig", key.public.id());
            fs::write(dir.join(name), text).unwrap();
        }
    }
}

pub(super) const NOW_MS: i64 = 1_795_651_200_000;

/// An appliance.
pub(super) struct Here {
    pub(super) dir: PathBuf,
    pub(super) store: Arc<Store>,
    pub(super) auditor: Auditor,
    pub(super) clock: Clock,
    pub(super) intake: Arc<Intake>,
    pub(super) pinned: Arc<Mutex<Vec<GenerationId>>>,
    pub(super) activated: Arc<Mutex<Vec<GenerationId>>>,
}

impl Here {
    /// In a folder that outlives it, as after a kill.
    pub(super) fn at(dir: &Path, now_ms: i64) -> Self {
        Self::open(dir, now_ms, false)
    }

    pub(super) fn open(dir: &Path, now_ms: i64, two_persons: bool) -> Self {
        let all = [audit::MIGRATIONS, crate::MIGRATIONS];
        let store = Arc::new(Store::open(dir, &all, StoreOptions::default()).unwrap());
        let origin = AuditOrigin {
            host: "test".into(),
            boot: "b".into(),
        };
        let clock = Clock::scripted(from_unix_ms(now_ms));
        let auditor = Auditor::new(clock.clone(), Entropy::scripted(1), origin);
        let about = About {
            name: "appliance-0001".to_owned(),
            version: Version(0, 1, 0),
            arch: "amd64".to_owned(),
            built: "2026-11-01".to_owned(),
            two_persons,
        };
        let pinned: Arc<Mutex<Vec<GenerationId>>> = Arc::default();
        let activated: Arc<Mutex<Vec<GenerationId>>> = Arc::default();
        let (pins, active) = (pinned.clone(), activated.clone());
        let intake = Intake::new(
            store.clone(),
            auditor.clone(),
            about,
            Box::new(move |_, id, _| active.lock().unwrap().push(id)),
            Box::new(move || pins.lock().unwrap().clone()),
        )
        .unwrap();
        Self {
            dir: dir.to_owned(),
            store,
            auditor,
            clock,
            intake: Arc::new(intake),
            pinned,
            activated,
        }
    }

    pub(super) fn trusting(dir: &Path, lab: &Lab) -> Self {
        let here = Self::at(dir, NOW_MS);
        here.trust(lab);
        here
    }

    pub(super) fn trust(&self, lab: &Lab) {
        pin(
            &self.store,
            &self.auditor,
            &Who::system(),
            &lab.fingerprint(),
        )
        .unwrap();
    }

    /// What a kill and a start amount to.
    pub(super) fn killed(self, now_ms: i64) -> Self {
        let dir = self.dir.clone();
        drop(self);
        Self::at(&dir, now_ms)
    }

    pub(super) fn import(&self, place: &Path) -> Result<Snapshot, BundleError> {
        self.intake.begin(place, &Who::system(), false)?.run()
    }

    /// `ok`, or the code; a refusal must have left everything that is served as it was.
    pub(super) fn code(&self, place: &Path) -> &'static str {
        let before = self.active();
        match self.import(place) {
            Ok(_) => "ok",
            Err(error) => {
                assert_eq!(self.active(), before, "{error}");
                self.fsck();
                error.code()
            }
        }
    }

    pub(super) fn active(&self) -> Option<GenerationId> {
        self.store.read(generation::active).unwrap()
    }

    /// Every blob is what its name says.
    pub(super) fn fsck(&self) {
        for digest in self.store.blobs().list().unwrap() {
            self.store.blobs().check(&digest).unwrap();
        }
    }

    /// Kinds of all audit entries, oldest first, with the code where there is one.
    pub(super) fn told(&self) -> Vec<String> {
        let lines = self
            .store
            .read(|db| audit::list(db, &audit::Filter::default(), 1000).map_err(StoreError::from))
            .unwrap();
        let mut lines: Vec<String> = lines
            .iter()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line.text).unwrap();
                let kind = line["act"].as_str().unwrap();
                match line["why"].as_str() {
                    Some(why) => format!("{kind} {why}"),
                    None => kind.to_owned(),
                }
            })
            .collect();
        lines.reverse();
        lines
    }

    /// Whether the active generation serves exactly these files.
    pub(super) fn serves(&self, files: &[(&str, &[u8])]) -> bool {
        let Some(active) = self.active() else {
            return files.is_empty();
        };
        let items = self
            .store
            .read(|db| generation::items_of(db, active, "file"))
            .unwrap();
        let found: BTreeMap<String, Digest> = items
            .into_iter()
            .map(|item| match item {
                Item::File(file) => (file.name, file.d),
                other => panic!("{other:?}"),
            })
            .collect();
        let wanted: BTreeMap<String, Digest> = files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), Digest::of(bytes)))
            .collect();
        let whole = |d: &Digest| self.store.blobs().check(d).is_ok();
        found == wanted && wanted.values().all(whole)
    }
}
