//! A site in a folder: a recipe, what it names, a trust root, caches. Everything is local.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use builder::{
    BuildOptions, Built, Cache, Chain, Lock, LockOptions, Locked, Means, Recipe, Update,
};
use bundle::root::{NamedKey, Role, Statement};
use bundle::sign::{SecretKey, generate};
use bundle::slip::{Have, Need};
use vocab::Digest;

pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) key: SecretKey,
    pub(crate) today: &'static str,
}

impl Site {
    /// With a recipe of `[bundle]` and `entries`.
    pub(crate) fn new(entries: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (public, secret) = generate(None).unwrap();
        let key = SecretKey::open(&secret, None).unwrap();
        let role = || Role {
            threshold: 1,
            keys: vec![NamedKey {
                id: public.id().clone(),
                name: "release-a".to_owned(),
                key: public.as_base64().to_owned(),
            }],
        };
        let statement = Statement {
            cofferdam_root: 1,
            site: "lab".to_owned(),
            number: 1,
            created: "2026-11-20".to_owned(),
            root: role(),
            release: role(),
            revoked: Vec::new(),
            floor_reset: std::collections::BTreeMap::new(),
        };
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let bytes = statement.to_bytes();
        fs::write(root.join("ROOT.1.json"), &bytes).unwrap();
        let signature = key.sign(&bytes, "root").unwrap();
        let name = format!("ROOT.1.json.{}.minisig", key.id());
        fs::write(root.join(name), signature).unwrap();
        fs::write(dir.path().join("release.pub"), public.to_file()).unwrap();
        let site = Self {
            dir,
            key,
            today: "2026-11-20",
        };
        site.recipe_is(entries);
        site
    }

    pub(crate) fn recipe_is(&self, entries: &str) {
        let head = "[bundle]\nproduct = \"lab\"\nchannel = \"stable\"\n";
        self.write("demo.toml", format!("{head}{entries}").as_bytes());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn recipe(&self) -> Recipe {
        Recipe::read(&self.path("demo.toml")).unwrap()
    }

    /// Calls `with` the means of a cache of this name.
    pub(crate) fn means<T>(
        &self,
        cache: &str,
        offline: bool,
        with: impl FnOnce(&Means<'_>) -> T,
    ) -> T {
        let cache = Cache::open(&self.path(cache)).unwrap();
        with(&Means {
            cache: &cache,
            folder: self.dir.path(),
            program: Path::new("/nonexistent"),
            offline,
            watch: &builder::Silent,
        })
    }

    pub(crate) fn try_lock(&self, update: Update) -> Result<Locked, builder::RelockError> {
        let recipe = self.recipe();
        let before = Lock::read(&recipe.lock_path()).unwrap();
        let options = LockOptions {
            today: self.today.parse().unwrap(),
            update,
        };
        let locked = self.means("cache", false, |means| {
            builder::lock(&recipe, before.as_ref(), &options, means)
        })?;
        locked.lock.write(&recipe.lock_path()).unwrap();
        Ok(locked)
    }

    /// Locks; every entry must be found.
    pub(crate) fn lock(&self) -> Locked {
        let locked = self.try_lock(Update::Nothing).unwrap();
        assert!(locked.failures.is_empty(), "{:?}", locked.failures);
        locked
    }

    pub(crate) fn try_build(
        &self,
        out: &str,
        cache: &str,
        have: Option<&(Have, Digest)>,
        need: Option<&Need>,
    ) -> Result<Built, builder::BuildError> {
        let recipe = self.recipe();
        let lock = Lock::read(&recipe.lock_path()).unwrap().unwrap();
        let trust = Chain::read(&self.path("root")).unwrap();
        let out = self.path(out);
        let options = BuildOptions {
            out: &out,
            seq: None,
            trust: &trust,
            keys: std::slice::from_ref(&self.key),
            have,
            need,
        };
        self.means(cache, false, |means| {
            builder::build(&recipe, &lock, &options, means)
        })
    }

    pub(crate) fn build(&self, out: &str, cache: &str) -> Built {
        self.try_build(out, cache, None, None).unwrap()
    }
}

/// Runs a program; it must succeed. Gives what it printed.
pub(crate) fn run(folder: &Path, program: &str, words: &[&str]) -> String {
    let output = Command::new(program)
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {words:?}: {said}{errors}"
    );
    said
}

/// Every file below `folder`, by its path from there.
pub(crate) fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A wheel that python's own zipfile writes: name, version, lines of its METADATA.
pub(crate) fn wheel(folder: &Path, name: &str, version: &str, metadata: &[&str]) {
    let script = "\
import sys, zipfile
folder, name, version, lines = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
info = f'{name}-{version}.dist-info'
text = '\\n'.join(['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}', *lines, ''])
with zipfile.ZipFile(f'{folder}/{name}-{version}-py3-none-any.whl', 'w', zipfile.ZIP_DEFLATED) as z:
    z.writestr(f'{name}/__init__.py', f'version = {version!r}\\n')
    z.writestr(f'{info}/METADATA', text)
    z.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    z.writestr(f'{info}/RECORD', '')
";
    fs::create_dir_all(folder).unwrap();
    let place = folder.to_str().unwrap();
    let mut words = vec!["-c", script, place, name, version];
    words.extend(metadata);
    run(folder, "python3", &words);
}
