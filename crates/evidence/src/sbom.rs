//! Bills of materials: components with their digests, as CycloneDX 1.6 JSON.
//!
//! The same components give the same bytes, but for the time. Source: ECMA-424, 1st edition
//! (CycloneDX 1.6).

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// What a component is, in CycloneDX's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A program.
    Application,
    /// An image.
    Container,
    /// A file.
    File,
    /// A library or package.
    Library,
}

/// One component.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Component {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Names it in its document: unique there.
    #[serde(rename = "bom-ref")]
    pub reference: String,
    /// Its name.
    pub name: String,
    /// Its version, as its maker writes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Digests of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    /// Its package URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// Whatever else is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    /// What it consists of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
}

/// A digest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Hash {
    /// `SHA-256` or `SHA-1`.
    pub alg: &'static str,
    /// Its value, in hex.
    pub content: String,
}

/// A name and a value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Property {
    /// `cofferdam:…`
    pub name: String,
    /// The value.
    pub value: String,
}

impl Component {
    /// A component with nothing but its name and version, called so in its document.
    #[must_use]
    pub fn new(kind: Kind, name: &str, version: &str, reference: impl Into<String>) -> Self {
        Self {
            kind,
            reference: reference.into(),
            name: name.to_owned(),
            version: version.to_owned(),
            hashes: Vec::new(),
            purl: None,
            properties: Vec::new(),
            components: Vec::new(),
        }
    }

    /// The same with a SHA-256, in hex.
    #[must_use]
    pub fn sha256(mut self, hex: impl Into<String>) -> Self {
        let (alg, content) = ("SHA-256", hex.into());
        self.hashes.push(Hash { alg, content });
        self
    }

    /// The same with a package URL of these parts.
    #[must_use]
    pub fn purl(mut self, kind: &str, path: &str, version: &str, more: &str) -> Self {
        let path: Vec<String> = path.split('/').map(escaped).collect();
        let mut purl = format!("pkg:{kind}/{}", path.join("/"));
        if !version.is_empty() {
            purl.push('@');
            purl.push_str(&escaped(version));
        }
        purl.push_str(more);
        self.purl = Some(purl);
        self
    }

    /// The same with a property `cofferdam:NAME`.
    #[must_use]
    pub fn property(mut self, name: &str, value: impl Into<String>) -> Self {
        self.properties.push(Property {
            name: format!("cofferdam:{name}"),
            value: value.into(),
        });
        self
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata<'a>,
    components: &'a [Component],
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: &'a str,
    component: &'a Component,
}

/// The document about `main`, which has `components`; `made` is RFC 3339 in UTC.
///
/// # Panics
/// Never: the types are the module's own and have text keys.
#[must_use]
pub fn document(main: &Component, components: &[Component], made: &str) -> String {
    let content = serde_json::to_vec(&(main, components)).expect("our own types have text keys");
    let hash = hex::encode(Sha256::digest(&content));
    let document = Document {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        // A UUID of version 8: made from the content.
        serial_number: format!(
            "urn:uuid:{}-{}-8{}-a{}-{}",
            &hash[..8],
            &hash[8..12],
            &hash[13..16],
            &hash[17..20],
            &hash[20..32]
        ),
        version: 1,
        metadata: Metadata {
            timestamp: made,
            component: main,
        },
        components,
    };
    let text = serde_json::to_string_pretty(&document).expect("our own types have text keys");
    format!("{text}\n")
}

/// The components of a Cargo lock file that `root` needs, itself left out.
///
/// A lock file does not tell what is needed to build and to test from what is needed to run, so all
/// of it is listed. Gives nothing where the text is no such file.
#[must_use]
pub fn of_cargo_lock(text: &str, root: &str) -> Vec<Component> {
    let packages: Vec<Package<'_>> = text
        .split("[[package]]")
        .skip(1)
        .filter_map(Package::read)
        .collect();
    let mut needed: Vec<&Package<'_>> = Vec::new();
    let mut open: Vec<&Package<'_>> = packages.iter().filter(|p| p.name == root).collect();
    while let Some(package) = open.pop() {
        if needed.iter().any(|known| std::ptr::eq(*known, package)) {
            continue;
        }
        needed.push(package);
        open.extend(package.needs.iter().flat_map(|need| {
            let mut words = need.split(' ');
            let (name, version) = (words.next(), words.next());
            packages.iter().filter(move |p| {
                Some(p.name) == name && version.is_none_or(|version| p.version == version)
            })
        }));
    }
    needed.retain(|package| package.name != root);
    needed.sort_by_key(|package| (package.name, package.version));
    needed.iter().map(|package| package.component()).collect()
}

struct Package<'a> {
    name: &'a str,
    version: &'a str,
    checksum: Option<&'a str>,
    needs: Vec<&'a str>,
}

impl<'a> Package<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| {
                line.strip_prefix(key)?
                    .strip_prefix(" = \"")?
                    .strip_suffix('"')
            })
        };
        let needs = text
            .lines()
            .filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
        Some(Self {
            name: value("name")?,
            version: value("version")?,
            checksum: value("checksum"),
            needs: needs.collect(),
        })
    }

    fn component(&self) -> Component {
        let (name, version) = (self.name, self.version);
        let reference = format!("pkg:cargo/{name}@{version}");
        let component = Component::new(Kind::Library, name, version, reference)
            .purl("cargo", name, version, "");
        match self.checksum {
            Some(sha256) => component.sha256(sha256),
            // One of the project's own.
            None => component,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"1.0.0\"\n\
        dependencies = [\n \"a\",\n \"b 2.0.0\",\n]\n\n[[package]]\nname = \"a\"\nversion = \
        \"0.1.0\"\nchecksum = \"aa\"\ndependencies = [\n \"b 1.0.0\",\n]\n\n[[package]]\nname = \
        \"b\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\n\n\
        [[package]]\nname = \"other\"\nversion = \"3.0.0\"\n";

    #[test]
    fn what_a_program_needs_is_listed_and_nothing_else() {
        let found = of_cargo_lock(LOCK, "app");
        let names: Vec<&str> = found.iter().map(|c| c.reference.as_str()).collect();
        assert_eq!(
            names,
            [
                "pkg:cargo/a@0.1.0",
                "pkg:cargo/b@1.0.0",
                "pkg:cargo/b@2.0.0"
            ]
        );
        assert_eq!(found[0].hashes[0].content, "aa");
        assert!(of_cargo_lock("no lock", "app").is_empty());
    }

    #[test]
    fn the_same_components_give_the_same_document() {
        let main = Component::new(Kind::Application, "app", "1.0.0", "app");
        let parts = of_cargo_lock(LOCK, "app");
        let text = document(&main, &parts, "2026-11-26T00:00:00Z");
        assert_eq!(text, document(&main, &parts, "2026-11-26T00:00:00Z"));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let number = read["serialNumber"].as_str().unwrap();
        let lengths: Vec<usize> = number
            .trim_start_matches("urn:uuid:")
            .split('-')
            .map(str::len)
            .collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        let other = document(&main, &parts[1..], "2026-11-26T00:00:00Z");
        let other: serde_json::Value = serde_json::from_str(&other).unwrap();
        assert_ne!(other["serialNumber"], read["serialNumber"]);
    }

    #[test]
    fn package_urls_are_escaped() {
        let component = Component::new(Kind::Library, "a", "1", "a");
        let purl = component
            .purl("deb", "debian/libstdc++6", "1:2~3+x", "?arch=amd64")
            .purl;
        assert_eq!(
            purl.unwrap(),
            "pkg:deb/debian/libstdc%2B%2B6@1:2~3%2Bx?arch=amd64"
        );
    }
}
