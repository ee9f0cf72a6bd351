//! The folder of a bundle: volumes, manifest, signatures, root statements, and what people need
//! to check them by hand. Written beside its name, synced, and renamed when it is whole.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bundle::manifest::Manifest;
use bundle::pack::{Content, Draft, pack};
use bundle::sign::SecretKey;
use bundle::{trusted_comment, volume};
use vocab::Digest;

use super::{BuildError, texts};
use crate::source::Means;
use crate::trust::Chain;

/// The program's name in a bundle.
const PROGRAM: &str = "cofferdam-linux-x86_64";

/// The program to install from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The recipe brings none.
    None,
    /// It lies beside the manifest, under this digest.
    Beside(Digest),
    /// A delta leaves it out: the appliance has the program of this digest.
    LeftOut(Digest),
}

/// A folder that is about to be written.
pub(super) struct Folder<'a> {
    pub(super) draft: Draft,
    pub(super) contents: BTreeMap<Digest, Content>,
    pub(super) limit_bytes: u64,
    pub(super) program: Program,
    pub(super) trust: &'a Chain,
    pub(super) keys: &'a [SecretKey],
}

impl Folder<'_> {
    /// Writes it below `out`; gives its path, the manifest and the manifest's digest.
    pub(super) fn write(
        self,
        out: &Path,
        means: &Means<'_>,
    ) -> Result<(PathBuf, Manifest, Digest), BuildError> {
        let draft = &self.draft;
        let name = format!("{}-{}-{:06}", draft.product, draft.channel, draft.seq);
        let (path, part) = (out.join(&name), out.join(format!(".{name}.part")));
        if path.exists() {
            return Err(BuildError::Exists(path));
        }
        // What an earlier build left when it was interrupted.
        match std::fs::remove_dir_all(&part) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&part)(e)),
            _ => {}
        }
        std::fs::create_dir_all(&part).map_err(failed(&part))?;
        mode(&part, 0o755)?;
        let (manifest, digest) = match self.fill(&part, means) {
            Ok(done) => done,
            Err(e) => {
                // The reason for the failure matters more than what it leaves.
                drop(std::fs::remove_dir_all(&part));
                return Err(e);
            }
        };
        sync(&part)?;
        std::fs::rename(&part, &path).map_err(failed(&path))?;
        sync(out)?;
        Ok((path, manifest, digest))
    }

    fn fill(self, part: &Path, means: &Means<'_>) -> Result<(Manifest, Digest), BuildError> {
        let sizes: BTreeMap<Digest, u64> = self
            .contents
            .iter()
            .map(|(digest, content)| (*digest, content.size))
            .collect();
        let total = sizes.values().sum();
        let mut done = 0;
        means.watch.begin("write the volumes");
        let manifest = pack(
            self.draft,
            &self.contents,
            self.limit_bytes,
            &mut |digest| {
                means.watch.bytes(done, total);
                done += sizes.get(digest).copied().unwrap_or(0);
                Ok(Box::new(File::open(means.cache.path(digest))?) as Box<dyn Read>)
            },
            &mut |name| {
                let file = File::create(part.join(name))?;
                Ok(Box::new(BufWriter::with_capacity(1 << 20, file)) as Box<dyn Write>)
            },
        )?;
        means.watch.bytes(total, total);
        let bytes = manifest.to_bytes();
        let digest = Digest::of(&bytes);
        put(part, "MANIFEST.json", &bytes, 0o644)?;
        put(
            part,
            "SHA256SUMS",
            volume::sums(&manifest.volumes).as_bytes(),
            0o644,
        )?;
        for (name, content) in self.trust.files() {
            put(part, name, content, 0o644)?;
        }
        if let Program::Beside(program) = self.program {
            let from = means.cache.path(&program);
            let bytes = std::fs::read(&from).map_err(failed(&from))?;
            put(part, PROGRAM, &bytes, 0o755)?;
        }
        put(part, "verify.sh", texts::VERIFY_SH.as_bytes(), 0o755)?;
        let text = texts::verify(&manifest, &digest, self.trust, self.program);
        put(part, "VERIFY.txt", text.as_bytes(), 0o644)?;
        let comment = trusted_comment(&manifest, &digest);
        for key in self.keys {
            let name = format!("MANIFEST.json.{}.minisig", key.id());
            put(part, &name, key.sign(&bytes, &comment)?.as_bytes(), 0o644)?;
        }
        for volume in &manifest.volumes {
            let path = part.join(&volume.name);
            mode(&path, 0o644)?;
            sync(&path)?;
        }
        Ok((manifest, digest))
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { path, source }
}

/// Writes one small file, with a mode that no umask changes.
fn put(folder: &Path, name: &str, bytes: &[u8], bits: u32) -> Result<(), BuildError> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).map_err(failed(&path))?;
    mode(&path, bits)?;
    sync(&path)
}

/// FAT and the like have no modes; there the stick's own hold.
fn mode(path: &Path, bits: u32) -> Result<(), BuildError> {
    match std::fs::set_permissions(path, Permissions::from_mode(bits)) {
        Err(e) if e.kind() != io::ErrorKind::PermissionDenied => Err(failed(path)(e)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<(), BuildError> {
    let file = File::open(path).map_err(failed(path))?;
    file.sync_all().map_err(failed(path))
}
