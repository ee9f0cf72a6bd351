//! Story: what an appliance did is taken away, and checked where there is next to nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
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

/// What was done is followed, found, exported, verified, reported; the export proves all of it.
#[test]
fn what_was_done_is_followed_found_exported_verified_and_reported() -> Result {
    let site = history()?;
    let on = &site.appliance;
    let path = |name: &str| site.folder.path().join(name).display().to_string();
    let (first, second) = (path("first.cfa"), path("second.cfa"));
    let told = on.ok(&["audit", "tail", "--action", "bundle.*"])?;
    assert!(told.contains("bundle.committed"), "{told}");
    let pushes = on.json(&["audit", "search", "--action", "git.push", "--actor", "dev"])?;
    assert_eq!(pushes["entries"][0]["act"], "git.push", "{pushes}");

    let chain = on.json(&["bundle", "custody", "1"])?;
    let what: Vec<&str> = list(&chain["steps"])
        .filter_map(|s| s["what"].as_str())
        .collect();
    assert_eq!(
        what,
        ["trusted", "verified", "staged", "committed"],
        "{chain:#}"
    );
    let shown = on.ok(&["bundle", "custody", "1"])?;
    assert!(
        shown.contains("release-a") && shown.contains("medium lab-stable-000001"),
        "{shown}"
    );

    on.ok(&["audit", "export", "-o", &first])?;
    on.user("eve", &[])?;
    on.ok(&["audit", "export", "--with-names", "-o", &second])?;
    let key = fs::read_to_string(on.data().join("audit/log.key"))?;
    let verify = |words: &[&str]| on.run(&[&["audit", "verify"], words].concat());
    let good = verify(&[&second, "--previous", &first, "--key", &key])?;
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    for words in [
        "it continues",
        "bundle lab stable 1: signed by release-a, release-b",
    ] {
        assert!(
            said(&good).contains(words),
            "no {words:?} in {}",
            said(&good)
        );
    }
    let fork = Site::serving()?;
    let other = path("other.cfa");
    fork.appliance.ok(&["audit", "export", "-o", &other])?;
    assert_eq!(
        verify(&[&second, "--previous", &other])?.status.code(),
        Some(1)
    );

    let report = path("report");
    on.ok(&["audit", "report", &second, "-o", &report])?;
    let controls = fs::read_to_string(Path::new(&report).join("controls.csv"))?;
    let bare = Bare::new(&site.folder.path().join("root"))?;
    bare.unpack(Path::new(&second))?;
    let carried = fs::read_to_string(bare.export().join("controls/controls.csv"))?;
    assert_eq!(controls, carried);
    assert!(
        carried.contains("missing: no kind of entry speaks to it"),
        "{carried}"
    );
    assert!(!carried.contains("compliant"), "{carried}");
    let users = fs::read_to_string(bare.export().join("inventory/users.csv"))?;
    assert!(
        users.contains(",dev,member,") && users.contains(",eve,member,"),
        "{users}"
    );
    let settings: Value =
        serde_json::from_slice(&fs::read(bare.export().join("inventory/config.json"))?)?;
    assert_eq!(settings["bundles"]["two_persons"], false, "{settings:#}");
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The bill of materials, held against the published schema by somebody else's validator.
#[test]
fn the_bill_of_materials_is_one_by_the_published_schema() -> Result {
    let site = history()?;
    let file = site.folder.path().join("sbom.cdx.json");
    let path = file.to_str().ok_or("the path is no text")?;
    site.appliance.ok(&["sbom", "-o", path])?;
    let bill: Value = serde_json::from_slice(&fs::read(&file)?)?;
    let named = |name: &str| list(&bill["components"]).find(|c| c["name"] == name);
    assert!(named("rusqlite").is_some_and(|c| c["hashes"][0]["alg"] == "SHA-256"));
    let hello = named("hello").ok_or("the file of the bundle is not there")?;
    assert_eq!(hello["properties"][0]["value"], "lab stable 1", "{hello:#}");
    let image = list(&bill["components"]).find(|c| c["type"] == "container");
    let image = image.ok_or("no image is there")?;
    let packages: Vec<&str> = list(&image["components"])
        .filter_map(|c| c["name"].as_str())
        .collect();
    assert!(
        packages.contains(&"dpkg") && packages.len() > 50,
        "{packages:?}"
    );

    let valid = validator(&site.folder.path().join("validator"))?;
    let check = |bytes: &[u8]| -> Result<(bool, String)> {
        fs::write(&file, bytes)?;
        let output = Command::new(&valid)
            .args(["-c", VALIDATE])
            .arg(&file)
            .output()?;
        Ok((output.status.success(), said(&output)))
    };
    let (good, told) = check(bill.to_string().as_bytes())?;
    assert!(good, "{told}");
    let mut wrong = bill.clone();
    wrong["components"][0]["type"] = "spaceship".into();
    let (good, told) = check(wrong.to_string().as_bytes())?;
    assert!(!good && told.contains("spaceship"), "{told}");
    Ok(())
}

const VALIDATE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
if wrong is not None:
    sys.exit(str(wrong)[:4000])
";

/// A Python that has the validator.
fn validator(at: &Path) -> Result<PathBuf> {
    let done = |command: &mut Command| -> Result {
        let output = command.output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(said(&output).into()),
        }
    };
    done(Command::new("python3").args(["-m", "venv"]).arg(at))?;
    let python = at.join("bin/python");
    let wanted = "cyclonedx-python-lib[json-validation]==11.0.0";
    done(Command::new(&python).args(["-m", "pip", "install", "-q", wanted]))?;
    Ok(python)
}

/// A slip goes out, a witness outside signs what it says of the log, and that comes back in.
#[test]
fn a_witness_outside_sees_the_log_grow_and_nothing_else() -> Result {
    let mut site = Site::serving()?;
    let folder = site.folder.path().to_owned();
    let path = |name: &str| folder.join(name).display().to_string();
    let (slip, cosig, key, state) = (
        path("have.slip"),
        path("cosig"),
        path("auditor"),
        path("seen"),
    );
    let stranger = path("stranger");
    for name in [&key, &stranger] {
        site.appliance.ok(&["audit", "witness-key", name])?;
    }
    let public = fs::read_to_string(format!("{key}.pub"))?;
    trust(&mut site, public.trim())?;
    site.repo(REPO)?;
    let on = &site.appliance;
    let log = fs::read_to_string(on.data().join("audit/log.key"))?;
    let witness = |key: &str, slip: &str, more: &[&str]| {
        let words = [
            "audit", "witness", "--key", key, "--state", &state, "-o", &cosig, slip,
        ];
        on.run(&[&words[..], more].concat())
    };
    let code = |output: Output| (output.status.code(), said(&output));

    on.ok(&["bundle", "have", "-o", &slip])?;
    let (status, told) = code(witness(&key, &slip, &[])?);
    assert!(
        status == Some(2) && told.contains("was never seen here"),
        "{told}"
    );
    assert_eq!(code(witness(&key, &slip, &["--log", &log])?).0, Some(0));
    let taken = on.json(&["audit", "cosign", &cosig])?;
    assert_eq!(taken["name"], "auditor", "{taken}");
    let (status, told) = code(on.run(&["audit", "cosign", &cosig])?);
    assert!(
        status == Some(1) && told.contains("old cosignature"),
        "{told}"
    );
    let old = path("old.slip");
    fs::copy(&slip, &old)?;

    on.user("eve", &[])?;
    on.ok(&["bundle", "have", "-o", &slip])?;
    assert_eq!(code(witness(&key, &slip, &[])?).0, Some(0));
    on.ok(&["audit", "cosign", &cosig])?;
    let (status, told) = code(witness(&key, &old, &[])?);
    assert!(status == Some(1) && told.contains("rolled back"), "{told}");
    let status = on.json(&["audit", "status"])?;
    assert_eq!(status["witnesses"][0]["name"], "auditor", "{status:#}");
    assert!(
        on.ok(&["audit", "status"])?
            .contains("auditor saw the first")
    );

    // Who is not trusted signs in vain.
    fs::remove_file(&state)?;
    assert_eq!(
        code(witness(&stranger, &slip, &["--log", &log])?).0,
        Some(0)
    );
    let (status, told) = code(on.run(&["audit", "cosign", &cosig])?);
    assert!(
        status == Some(1) && told.contains("no witness that this appliance trusts"),
        "{told}"
    );

    let export = path("all.cfa");
    on.ok(&["audit", "export", "-o", &export])?;
    let good = on.run(&[
        "audit",
        "verify",
        &export,
        "--witness",
        &format!("{key}.pub"),
    ])?;
    assert!(
        good.status.success() && said(&good).contains("witnessed by auditor"),
        "{}",
        said(&good)
    );
    let none = on.run(&[
        "audit",
        "verify",
        &export,
        "--witness",
        &format!("{stranger}.pub"),
    ])?;
    assert_eq!(none.status.code(), Some(1), "{}", said(&none));
    let kinds = on.json(&["audit", "search", "--action", "audit.cosigned"])?;
    let outcomes: Vec<&str> = list(&kinds["entries"])
        .filter_map(|e| e["out"].as_str())
        .collect();
    assert_eq!(
        outcomes,
        ["success", "denied", "success", "denied"],
        "{kinds:#}"
    );
    Ok(())
}

/// Puts a witness's key into the settings, and starts again.
fn trust(site: &mut Site, key: &str) -> Result {
    site.appliance.stop()?;
    let config = site.appliance.data().join("config.toml");
    let text = fs::read_to_string(&config)?;
    let set = format!("[audit]\nwitnesses = [\"{key}\"]");
    fs::write(&config, text.replace("[audit]", &set))?;
    site.appliance.start()
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
    assert!(
        code == Some(0) && told.contains("good: entries 0 to"),
        "{told}"
    );
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
    assert!(
        code == Some(1) && told.contains("leaves.bin was changed"),
        "{told}"
    );
    Ok(())
}
