//! `hashFiles`: one SHA-256 over the workspace's files that match some patterns.
//!
//! The files are found and hashed inside the sandbox, by its own `find` and `sha256sum`. Like the
//! dialect's original, the result is the hash of the files' hashes; here always in the order of
//! their paths.

use std::time::Duration;

use crate::environment;
use crate::executor::{ExecSpec, Exit};
use crate::job::Job;
use crate::process::capture;

/// Longest list of files that is looked at.
const LIST_BYTES: usize = 64 << 20;
/// Files hashed by one program.
const BATCH: usize = 500;
/// The longest that finding or hashing one batch may take.
const MOST: Duration = Duration::from_secs(120);

/// The hash in hex; empty when no file matches.
pub(crate) fn hash(job: &Job<'_>, patterns: &[String]) -> Result<String, String> {
    let workspace = &job.paths.workspace;
    let rules: Vec<Rule> = patterns
        .iter()
        .flat_map(|p| p.lines())
        .map(str::trim)
        .filter(|p| !p.is_empty() && !p.starts_with('#'))
        .map(|p| Rule::parse(p, workspace))
        .collect();
    let listed = program(job, &["find", workspace, "-type", "f", "-print0"])?;
    let prefix = format!("{workspace}/");
    let mut files: Vec<&str> = listed
        .split('\0')
        .filter(|path| {
            path.strip_prefix(&prefix)
                .is_some_and(|p| picked(&rules, p))
        })
        .collect();
    files.sort_unstable();
    let mut digests = Vec::with_capacity(files.len() * 32);
    for batch in files.chunks(BATCH) {
        let mut argv = vec!["sha256sum", "--"];
        argv.extend_from_slice(batch);
        for line in program(job, &argv)?.lines() {
            digests.extend_from_slice(&digest_in(line).ok_or("sha256sum printed no hash")?);
        }
    }
    if files.is_empty() {
        return Ok(String::new());
    }
    Ok(vocab::Digest::of(&digests).hex())
}

fn program(job: &Job<'_>, argv: &[&str]) -> Result<String, String> {
    let env = environment::compose(
        &job.image_env,
        &environment::Env::default(),
        &job.own_env,
        &job.folders,
    );
    let spec = ExecSpec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: env.into_pairs(),
        cwd: "/".to_owned(),
        user: job.user,
    };
    match capture(job.sandbox(), &spec, LIST_BYTES, MOST) {
        Ok((_, out)) if out.len() >= LIST_BYTES => {
            Err("hashFiles: the workspace holds too many files".to_owned())
        }
        Ok((Exit::Code(0), out)) => Ok(String::from_utf8_lossy(&out).into_owned()),
        Ok((_, out)) => {
            let said: String = String::from_utf8_lossy(&out).chars().take(200).collect();
            Err(format!("hashFiles: {} failed: {said}", argv[0]))
        }
        Err(error) => Err(format!("hashFiles: {error}")),
    }
}

/// The hash at the start of a line of `sha256sum`, which marks odd names with a backslash.
fn digest_in(line: &str) -> Option<[u8; 32]> {
    let hex = line.strip_prefix('\\').unwrap_or(line).get(..64)?;
    let digest: vocab::Digest = format!("sha256:{hex}").parse().ok()?;
    Some(*digest.as_bytes())
}

/// One pattern, relative to the workspace.
#[derive(Debug)]
struct Rule {
    takes_back: bool,
    parts: Vec<String>,
}

impl Rule {
    fn parse(text: &str, workspace: &str) -> Self {
        let bangs = text.bytes().take_while(|b| *b == b'!').count();
        let path = text[bangs..].trim();
        let path = path.strip_prefix(workspace).unwrap_or(path);
        let parts = path.split('/').filter(|p| !p.is_empty() && *p != ".");
        Self {
            takes_back: bangs % 2 == 1,
            parts: parts.map(str::to_owned).collect(),
        }
    }

    /// Whether the file, or a folder that it lies in, matches.
    fn matches(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').collect();
        matches_parts(&self.parts, &names)
    }
}

fn picked(rules: &[Rule], path: &str) -> bool {
    rules
        .iter()
        .rev()
        .find(|rule| rule.matches(path))
        .is_some_and(|rule| !rule.takes_back)
}

fn matches_parts(parts: &[String], names: &[&str]) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return true;
    };
    if first == "**" {
        return (0..=names.len()).any(|skip| matches_parts(rest, &names[skip..]))
            && !(rest.is_empty() && names.is_empty());
    }
    match names.split_first() {
        Some((name, more)) => {
            let (pattern, name): (Vec<char>, Vec<char>) =
                (first.chars().collect(), name.chars().collect());
            matches_name(&pattern, &name) && matches_parts(rest, more)
        }
        None => false,
    }
}

/// `*`, `?` and `[…]` within one name.
fn matches_name(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skip| matches_name(rest, &name[skip..])),
        Some(('?', rest)) => !name.is_empty() && matches_name(rest, &name[1..]),
        Some(('[', rest)) if rest.iter().skip(1).any(|c| *c == ']') => {
            let close = rest
                .iter()
                .skip(1)
                .position(|c| *c == ']')
                .map_or(1, |n| n + 1);
            name.first().is_some_and(|c| in_class(&rest[..close], *c))
                && matches_name(&rest[close + 1..], &name[1..])
        }
        Some((c, rest)) => name.first() == Some(c) && matches_name(rest, &name[1..]),
    }
}

fn in_class(class: &[char], c: char) -> bool {
    let (negated, class) = match class.split_first() {
        Some(('!' | '^', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    let mut i = 0;
    while i < class.len() {
        if i + 2 < class.len() && class[i + 1] == '-' {
            found |= (class[i]..=class[i + 2]).contains(&c);
            i += 3;
        } else {
            found |= class[i] == c;
            i += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(patterns: &[&str], path: &str) -> bool {
        let rules: Vec<Rule> = patterns
            .iter()
            .map(|p| Rule::parse(p, "/work/a/a"))
            .collect();
        picked(&rules, path)
    }

    #[test]
    fn patterns_pick_files_by_name_folder_and_depth() {
        assert!(picks(&["**/requirements.txt"], "requirements.txt"));
        assert!(picks(&["**/requirements.txt"], "a/b/requirements.txt"));
        assert!(!picks(&["requirements.txt"], "a/requirements.txt"));
        assert!(picks(&["*.lock"], "Cargo.lock") && !picks(&["*.lock"], "a/Cargo.lock"));
        assert!(picks(&["src"], "src/a/b.rs") && picks(&["src/**"], "src/a/b.rs"));
        assert!(picks(&["/work/a/a/x?.[ch]"], "x1.c") && !picks(&["x?.[!ch]"], "x1.c"));
        assert!(picks(&["**"], "a") && picks(&["**/*"], "a/b"));
        assert!(picks(&["[a-c]*"], "bee") && !picks(&["[a-c]*"], "dee"));
    }

    #[test]
    fn a_bang_takes_back_and_the_last_word_counts() {
        assert!(!picks(&["**/*.txt", "!a/**"], "a/b.txt"));
        assert!(picks(&["**/*.txt", "!a/**", "a/b.txt"], "a/b.txt"));
        assert!(!picks(&["!x"], "y"));
    }

    #[test]
    fn hashes_are_read_off_sha256sum() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(digest_in(&format!("{hex}  a")).is_some());
        assert!(digest_in(&format!("\\{hex}  a\\nb")).is_some());
        assert!(digest_in("sha256sum: x: No such file").is_none());
    }
}
