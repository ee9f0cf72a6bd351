//! Story: what an appliance did is taken away, and checked where there is next to nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stories::Site;
use stories::stick::Stick;
use testkit::Result;

const REPO: &str = "lab/app";
const WORKFLOW: &str =
    "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo hello\n";

/// What a demo leaves behind: a user, a repo, a push, a green run, a bundle.
fn history() -> Result<Site> {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let tree = site.tree_with("tree", WORKFLOW)?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(code, 0, "{log}");
    let stick = Stick::new(&site.folder.path().join("stick"))?;
    let dir = stick.bundle(Stick::draft(1), &[("hello", b"hello world")])?;
    site.appliance
        .ok(&["bundle", "trust", &stick.fingerprint()])?;
    let place = dir.to_str().ok_or("the path is no text")?;
    site.appliance.ok(&["bundle", "import", place])?;
    Ok(site)
}

/// A root with a shell, openssl and what these two need to start: no other program.
struct Bare(PathBuf);

impl Bare {
    fn new(at: &Path) -> Result<Self> {
        for folder in ["bin", "export"] {
            fs::create_dir_all(at.join(folder))?;
        }
        let bare = Self(at.to_owned());
        bare.take("/bin/dash", "bin/sh")?;
        bare.take(&found("openssl")?, "bin/openssl")?;
        Ok(bare)
    }

    /// Copies a program and its libraries.
    fn take(&self, program: &str, to: &str) -> Result {
        let real = fs::canonicalize(program)?;
        fs::copy(&real, self.0.join(to))?;
        let said = said(&Command::new("ldd").arg(&real).output()?);
        for word in said.split_whitespace().filter(|word| word.starts_with('/')) {
            let place = self.0.join(word.trim_start_matches('/'));
            fs::create_dir_all(place.parent().ok_or("a library in no folder")?)?;
            fs::copy(word, place)?;
        }
        Ok(())
    }

    fn unpack(&self, export: &Path) -> Result {
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(export).arg("-C").arg(self.export());
        match tar.status()?.success() {
            true => Ok(()),
            false => Err("tar did not unpack the export".into()),
        }
    }

    fn export(&self) -> PathBuf {
        self.0.join("export")
    }

    /// What verify.sh ends with and says, in there.
    fn verify(&self) -> Result<(Option<i32>, String)> {
        let mut command = Command::new(found("chroot")?);
        command.arg(&self.0).args(["/bin/sh", "/export/verify.sh"]);
        let output = command.env_clear().env("PATH", "/bin").output()?;
        Ok((output.status.code(), said(&output)))
    }
}

fn found(program: &str) -> Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let place = std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|place| place.is_file());
    let place = place.ok_or_else(|| format!("{program} is not installed"))?;
    Ok(place.to_str().ok_or("a path that is no text")?.to_owned())
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// Every file below `folder`.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn an_export_of_what_was_done_is_verified_with_a_shell_and_openssl_alone() -> Result {
    let site = history()?;
    let out = site.folder.path().join("all.cfa");
    let text = out.to_str().ok_or("the path is no text")?;
    site.appliance.ok(&["audit", "export", "-o", text])?;
    let bare = Bare::new(&site.folder.path().join("root"))?;
    bare.unpack(&out)?;

    let (code, told) = bare.verify()?;
    assert!(code == Some(0) && told.contains("good: entries 0 to"), "{told}");
    let programs: Vec<_> = fs::read_dir(bare.0.join("bin"))?.collect::<std::io::Result<_>>()?;
    assert_eq!(programs.len(), 2, "{programs:?}");

    let all: Vec<PathBuf> = files(&bare.export())?
        .into_iter()
        // Scratch files stay where there is no rm; minisign's signatures are for minisign.
        .filter(|path| !path.to_string_lossy().contains("/.verify-"))
        .filter(|path| path.file_name() != Some(OsStr::new("MANIFEST.json.minisig")))
        .filter(|path| path.file_name() != Some(OsStr::new("verify.sh")))
        .collect();
    assert!(all.iter().any(|path| path.ends_with("receipt.json")));
    for path in all {
        let name = path.strip_prefix(bare.export())?.display().to_string();
        let bytes = fs::read(&path)?;
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        fs::write(&path, changed)?;
        let (code, told) = bare.verify()?;
        assert!(
            code == Some(1) && told.contains("REFUSED") && told.contains(&name),
            "{name}: {code:?} {told}"
        );
        fs::write(&path, bytes)?;
    }
    without_ed25519(&bare)
}

/// An openssl that knows no Ed25519: what was not checked is said, and what is wrong is still seen.
fn without_ed25519(bare: &Bare) -> Result {
    let openssl = bare.0.join("bin/openssl");
    fs::rename(&openssl, bare.0.join("bin/openssl.real"))?;
    let refusing = "#!/bin/sh\n[ \"$1\" != pkeyutl ] || { echo 'unsupported' >&2; exit 1; }\n\
        exec /bin/openssl.real \"$@\"\n";
    fs::write(&openssl, refusing)?;
    fs::set_permissions(&openssl, fs::Permissions::from_mode(0o755))?;
    let (code, told) = bare.verify()?;
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("no Ed25519") && told.contains("checkpoint") && !told.contains("good:"),
        "{told}"
    );
    let leaves = bare.export().join("leaves.bin");
    let mut bytes = fs::read(&leaves)?;
    bytes[0] ^= 1;
    fs::write(&leaves, bytes)?;
    let (code, told) = bare.verify()?;
    assert!(code == Some(1) && told.contains("leaves.bin was changed"), "{told}");
    Ok(())
}
