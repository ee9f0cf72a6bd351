//! `actions/setup-node`: a Node that the image, its tool cache or the job's generation has, first
//! on the path. The newest that fits is taken, whichever of them has it.

use std::time::Duration;

use serde_json::Value as Json;

use super::tools::{self, Offered};
use super::{Done, Inputs, output};
use crate::environment::{self, Env};
use crate::executor::{ExecSpec, Exit};
use crate::job::Job;
use crate::observer::LineKind;
use crate::process::capture;
use crate::pyversion::{Spec, Version};

/// Largest version file that is read.
const VERSION_FILE_BYTES: u64 = 1 << 20;
/// The longest that looking for Node may take.
const SEARCH: Duration = Duration::from_secs(60);

/// Asks every Node in the usual places who it is; one line each.
const SEARCH_SCRIPT: &str = r#"
for p in /usr/bin/node /usr/local/bin/node "$RUNNER_TOOL_CACHE"/node/*/x64/bin/node \
  "$RUNNER_TOOL_CACHE"/node/*/arm64/bin/node; do
  if [ -x "$p" ]; then printf '\tnode\t%s\t%s\t\n' "$p" "$("$p" --version)"; fi
done
"#;

/// Code names of lines with long support, by the major versions that they name.
const LINES: [(&str, u32); 11] = [
    ("argon", 4),
    ("boron", 6),
    ("carbon", 8),
    ("dubnium", 10),
    ("erbium", 12),
    ("fermium", 14),
    ("gallium", 16),
    ("hydrogen", 18),
    ("iron", 20),
    ("jod", 22),
    ("krypton", 24),
];

/// A Node in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    program: String,
    version: Version,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// Any version that this accepts.
    Spec(Spec),
    /// The newest there is.
    Latest,
    /// Of the lines with long support, the so-manieth from the newest.
    Line(u32),
}

pub(super) fn run(job: &mut Job<'_>, inputs: &Inputs, env: &Env) -> Done {
    let step = job.step();
    for name in ["cache", "registry-url"] {
        if inputs.text(name).is_some() {
            let text = format!("input {name} is not served yet and changes nothing");
            job.log
                .annotate(step, &crate::Annotation::new(crate::Level::Notice, &text));
        }
    }
    job.unpack_stage().map_err(|e| e.to_string())?;
    let Some(text) = wanted(job, inputs)? else {
        job.log.warn(
            step,
            "neither node-version nor node-version-file says which Node: taking the image's own",
        );
        return Ok(Vec::new());
    };
    let found = search(job, env)?;
    let offered = tools::offered(job, "node")?;
    let chosen = match best(job, &found, &offered, &parse(&text)?)? {
        Some(chosen) => Some(chosen),
        None => match tools::stand_in(job, "node", &text) {
            Some(other) => best(job, &found, &offered, &parse(&other)?)?,
            None => None,
        },
    };
    let Some(Found { program, version }) = chosen else {
        tools::note_missing(job, "node", &text);
        let here: Vec<String> = found
            .iter()
            .map(|f| format!("{} ({})", f.version, f.program))
            .collect();
        let here = if here.is_empty() {
            "none".to_owned()
        } else {
            here.join(", ")
        };
        return Err(format!(
            "Node {text} is not here; in the image: {here}; in this generation: {}. Ask for one \
             of these, or for a bundle that has it",
            tools::listed(&offered)
        ));
    };
    if let Some((folder, _)) = program.rsplit_once('/') {
        job.folders.retain(|f| f != folder);
        job.folders.insert(0, folder.to_owned());
    }
    let text = format!("Node {version} ({program})");
    job.log.say(step, LineKind::Info, &text);
    Ok(vec![
        output("node-version", &format!("v{version}")),
        output("cache-hit", "false"),
    ])
}

/// The words that say which version, from the inputs or the file that they name.
fn wanted(job: &Job<'_>, inputs: &Inputs) -> Result<Option<String>, String> {
    if let Some(text) = inputs.text("node-version") {
        return Ok(Some(text));
    }
    let Some(name) = inputs.text("node-version-file") else {
        return Ok(None);
    };
    let path = match name.strip_prefix('/') {
        Some(_) => name.clone(),
        None => format!("{}/{name}", job.paths.workspace),
    };
    let bytes = job
        .sandbox()
        .read_file(&path, VERSION_FILE_BYTES)
        .map_err(|e| e.to_string())?
        .ok_or_else(|| format!("node-version-file {name} is not in the workspace"))?;
    in_file(&name, &String::from_utf8_lossy(&bytes))
        .map(Some)
        .ok_or_else(|| format!("{name} names no Node version"))
}

/// The version that a file asks for: `package.json`, `.tool-versions`, or the first line.
fn in_file(name: &str, text: &str) -> Option<String> {
    if name.ends_with(".json") {
        let package: Json = serde_json::from_str(text).ok()?;
        let places = [
            "/volta/node",
            "/devEngines/runtime/version",
            "/engines/node",
        ];
        return places
            .iter()
            .find_map(|place| package.pointer(place)?.as_str())
            .map(str::to_owned);
    }
    let mut lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty());
    if name.ends_with(".tool-versions") {
        return lines
            .find_map(|line| {
                line.strip_prefix("nodejs ")
                    .or_else(|| line.strip_prefix("node "))
            })
            .and_then(|versions| versions.split_whitespace().next())
            .map(str::to_owned);
    }
    lines.next().map(str::to_owned)
}

fn parse(text: &str) -> Result<Wanted, String> {
    let word = text.trim().to_lowercase();
    if matches!(word.as_str(), "latest" | "current" | "node" | "*") {
        return Ok(Wanted::Latest);
    }
    let unknown = || {
        format!(
            "node-version '{}' is not understood; write a version such as 20, 20.x or 20.11.0, a \
             range such as '>=18', lts/* or latest",
            text.chars().take(80).collect::<String>()
        )
    };
    if let Some(line) = word.strip_prefix("lts/") {
        if line == "*" {
            return Ok(Wanted::Line(0));
        }
        if let Some(back) = line.strip_prefix('-') {
            return back.parse().map(Wanted::Line).map_err(|_| unknown());
        }
        let (_, major) = LINES
            .iter()
            .find(|(name, _)| *name == line)
            .ok_or_else(unknown)?;
        return Spec::parse(&major.to_string())
            .map(Wanted::Spec)
            .map_err(|_| unknown());
    }
    Spec::parse(&word).map(Wanted::Spec).map_err(|_| unknown())
}

/// Narrows a line to a major version, by the versions that are here at all: without a network
/// nobody can say which lines there are elsewhere.
fn narrowed(wanted: &Wanted, all: &[Version]) -> Option<Option<Spec>> {
    match wanted {
        Wanted::Latest => Some(None),
        Wanted::Spec(spec) => Some(Some(spec.clone())),
        Wanted::Line(back) => {
            let mut lines: Vec<u32> = all
                .iter()
                .map(|v| v.major)
                .filter(|major| major % 2 == 0)
                .collect();
            lines.sort_unstable_by(|a, b| b.cmp(a));
            lines.dedup();
            let major = lines.get(usize::try_from(*back).ok()?)?;
            Some(Some(Spec::parse(&major.to_string()).ok()?))
        }
    }
}

fn best(
    job: &mut Job<'_>,
    found: &[Found],
    offered: &[Offered],
    wanted: &Wanted,
) -> Result<Option<Found>, String> {
    let mut all: Vec<Version> = found.iter().map(|f| f.version).collect();
    all.extend(offered.iter().map(|o| o.version));
    let Some(spec) = narrowed(wanted, &all) else {
        return Ok(None);
    };
    let fits = |f: &&Found| spec.as_ref().is_none_or(|s| s.accepts(f.version));
    let here = found.iter().find(fits).cloned();
    let carried = tools::newest(offered, spec.as_ref());
    let Some(tool) = carried.filter(|tool| here.as_ref().is_none_or(|h| h.version < tool.version))
    else {
        return Ok(here);
    };
    let version = tool.version;
    let dir = tools::place(job, tool)?;
    Ok(Some(Found {
        program: format!("{dir}/bin/node"),
        version,
    }))
}

fn search(job: &Job<'_>, env: &Env) -> Result<Vec<Found>, String> {
    let all = environment::compose(&job.image_env, env, &job.own_env, &[]);
    let spec = ExecSpec {
        argv: ["sh", "-c", SEARCH_SCRIPT].map(str::to_owned).to_vec(),
        env: all.into_pairs(),
        cwd: "/".to_owned(),
        user: job.user,
    };
    let (exit, out) = capture(job.sandbox(), &spec, 1 << 20, SEARCH)
        .map_err(|e| format!("the image's Node could not be asked for: {e}"))?;
    if exit != Exit::Code(0) {
        let code = exit.shell_code();
        return Err(format!(
            "the image's Node could not be asked for: exit code {code}"
        ));
    }
    Ok(read_search(&String::from_utf8_lossy(&out)))
}

/// Every Node in the search's output, newest first.
fn read_search(out: &str) -> Vec<Found> {
    let mut found: Vec<Found> = out
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [_, "node", program, version, _] = fields[..] else {
                return None;
            };
            Some(Found {
                program: program.to_owned(),
                version: Version::parse(version.strip_prefix('v')?)?,
            })
        })
        .collect();
    found.sort_by_key(|f| std::cmp::Reverse(f.version));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_lines_and_words_are_understood() {
        let all: Vec<Version> = ["23.1.0", "22.3.0", "20.9.0", "20.11.1", "18.20.0"]
            .iter()
            .map(|v| Version::parse(v).unwrap())
            .collect();
        let newest = |text: &str| {
            let spec = narrowed(&parse(text).unwrap(), &all)?;
            let fits = |v: &&Version| spec.as_ref().is_none_or(|s| s.accepts(**v));
            all.iter().filter(fits).max().map(ToString::to_string)
        };
        for (text, version) in [
            ("20", "20.11.1"),
            ("20.x", "20.11.1"),
            ("v20.9.0", "20.9.0"),
            (">=18 <20", "18.20.0"),
            ("lts/*", "22.3.0"),
            ("lts/-1", "20.11.1"),
            ("lts/Iron", "20.11.1"),
            ("lts/hydrogen", "18.20.0"),
            ("latest", "23.1.0"),
            ("*", "23.1.0"),
        ] {
            assert_eq!(newest(text).as_deref(), Some(version), "{text}");
        }
        assert_eq!(newest("lts/-9"), None);
        assert_eq!(newest("16"), None);
        for odd in ["", "lts/nothing", "twenty", "lts/-x"] {
            assert!(parse(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn version_files_are_read_by_their_kind() {
        let of = |name: &str, text: &str| in_file(name, text);
        assert_eq!(
            of(".nvmrc", "# ours\nv20.11 # why\n").as_deref(),
            Some("v20.11")
        );
        assert_eq!(
            of(".tool-versions", "python 3\nnodejs 20.1.0\n").as_deref(),
            Some("20.1.0")
        );
        let package = r#"{"engines":{"node":">=18"}}"#;
        assert_eq!(of("package.json", package).as_deref(), Some(">=18"));
        let both = r#"{"engines":{"node":">=18"},"volta":{"node":"20.1.0"}}"#;
        assert_eq!(of("package.json", both).as_deref(), Some("20.1.0"));
        assert_eq!(of("package.json", "{}"), None);
        assert_eq!(of(".nvmrc", "\n"), None);
    }

    #[test]
    fn what_the_image_has_is_listed_newest_first() {
        let out = "noise\n\tnode\t/usr/bin/node\tv18.19.0\t\n\tnode\t/usr/local/bin/node\tv20.1.0\t\n\tnode\t/x\tbroken\t\n";
        let found = read_search(out);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].program, "/usr/local/bin/node");
    }
}
