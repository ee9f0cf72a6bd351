//! Credentials of a registry, from where docker and podman keep them.
//!
//! Looks for the host in `auths` of `config.json`, then asks the helper that it names. What it
//! finds is used for that host alone and told to nobody.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;
use serde_json::Value;

use crate::child::Child;
use crate::source::SourceError;

/// Docker's own registry has another name there.
const DOCKER_IO: &str = "https://index.docker.io/v1/";

/// What to say to the registry `host`.
pub(super) fn of(host: &str) -> Result<RegistryAuth, SourceError> {
    let Some(path) = config_path() else {
        return Ok(RegistryAuth::Anonymous);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(RegistryAuth::Anonymous),
        Err(e) => return Err(SourceError::io(&path)(e)),
    };
    let config: Value = serde_json::from_str(&text)
        .map_err(|e| SourceError::Refused(format!("{} is not JSON: {e}", path.display())))?;
    let key = if host == "docker.io" { DOCKER_IO } else { host };
    if let Some(pair) = named(&config, key) {
        return pair.ok_or_else(|| {
            SourceError::Refused(format!(
                "{}: `auth` of {key} is no credential",
                path.display()
            ))
        });
    }
    match config["credHelpers"][key]
        .as_str()
        .or_else(|| config["credsStore"].as_str())
    {
        Some(helper) => ask(helper, key),
        None => Ok(RegistryAuth::Anonymous),
    }
}

fn config_path() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")));
    Some(folder?.join("config.json"))
}

/// The credential in `auths`: `None` when there is none, `Some(None)` when it is broken.
fn named(config: &Value, key: &str) -> Option<Option<RegistryAuth>> {
    let auths = config["auths"].as_object()?;
    let trimmed = |name: &str| {
        let name = name
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        name.trim_end_matches('/').to_owned()
    };
    let entry = auths
        .iter()
        .find(|(name, _)| trimmed(name) == trimmed(key))?
        .1;
    let text = entry["auth"].as_str().filter(|text| !text.is_empty())?;
    let read = || {
        let bytes = STANDARD.decode(text).ok()?;
        let pair = String::from_utf8(bytes).ok()?;
        let (user, password) = pair.split_once(':')?;
        Some(RegistryAuth::Basic(user.to_owned(), password.to_owned()))
    };
    Some(read())
}

/// Asks `docker-credential-<helper>`.
fn ask(helper: &str, key: &str) -> Result<RegistryAuth, SourceError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if helper.is_empty() || !helper.chars().all(plain) {
        return Err(SourceError::Refused(format!(
            "{helper:?} is no credential helper"
        )));
    }
    let file = tempfile::NamedTempFile::new()
        .and_then(|file| std::fs::write(file.path(), key).map(|()| file))
        .map_err(SourceError::io(&std::env::temp_dir()))?;
    let program = format!("docker-credential-{helper}");
    let said = Child::new(&program, "golang-docker-credential-helpers")
        .arg("get")
        .feed(Some(file.path()));
    // A helper that knows nothing of the host fails; then nothing is said to it, either.
    let Ok(said) = said else {
        return Ok(RegistryAuth::Anonymous);
    };
    let said: Value = serde_json::from_slice(&said)
        .map_err(|_| SourceError::Refused(format!("{program} did not answer as it should")))?;
    let (user, secret) = (said["Username"].as_str(), said["Secret"].as_str());
    Ok(match (user, secret) {
        (Some(user), Some(secret)) if !user.is_empty() => {
            RegistryAuth::Basic(user.to_owned(), secret.to_owned())
        }
        _ => RegistryAuth::Anonymous,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_by_host_however_it_is_written() {
        let config = serde_json::json!({ "auths": {
            "https://registry.lab/": { "auth": "dTpwOnc=" },
            "https://index.docker.io/v1/": { "auth": "aGk=" },
            "empty.lab": {},
        }});
        let basic = RegistryAuth::Basic("u".to_owned(), "p:w".to_owned());
        assert_eq!(named(&config, "registry.lab"), Some(Some(basic)));
        assert_eq!(named(&config, DOCKER_IO), Some(None));
        assert_eq!(named(&config, "empty.lab"), None);
        assert_eq!(named(&config, "lab"), None);
    }
}
