//! What would still be lacking with some items: wants that none of them answers.

use bundle::Item;

use crate::generation::Want;

/// Those of `wants` that no item of `items` answers.
#[must_use]
pub fn still_wanted(wants: Vec<Want>, items: &[Item]) -> Vec<Want> {
    wants
        .into_iter()
        .filter(|want| !items.iter().any(|item| answers(item, want)))
        .collect()
}

/// Whether what was asked for is in this item, by the name that it was asked for.
fn answers(item: &Item, want: &Want) -> bool {
    if item.kind() != want.kind {
        return false;
    }
    let name = want.name.as_str();
    match item {
        Item::Oci(oci) => {
            name == oci.name
                || name == format!("{}:{}", oci.name, oci.tag)
                || name == format!("{}@{}", oci.name, oci.digest)
        }
        Item::Action(action) => {
            let (path, at) = name
                .split_once('@')
                .map_or((name, None), |(p, r)| (p, Some(r)));
            // `owner/name/sub/folder@v1` is an action inside of `owner/name`.
            let inside = path.get(..action.name.len()).is_some_and(|start| {
                start.eq_ignore_ascii_case(&action.name)
                    && matches!(path.as_bytes().get(start.len()), None | Some(b'/'))
            });
            let known = |wanted: &str| {
                action.refs.iter().any(|(full, commit)| {
                    let short = ["refs/tags/", "refs/heads/"]
                        .iter()
                        .find_map(|start| full.strip_prefix(start));
                    short == Some(wanted) || full == wanted || commit == wanted
                })
            };
            inside && at.is_none_or(known)
        }
        Item::Pypi(project) => {
            name == project.name || project.files.iter().any(|file| file.filename == name)
        }
        Item::Toolcache(tool) => {
            let (of, version) = name
                .split_once([' ', ':', '@'])
                .map_or((name, ""), |(of, version)| (of, version));
            let rest = tool.version.strip_prefix(version);
            tool.name.eq_ignore_ascii_case(of)
                && rest.is_some_and(|rest| {
                    version.is_empty() || rest.is_empty() || rest.starts_with('.')
                })
        }
        Item::File(file) | Item::Doc(file) => name == file.name,
        Item::Selfupdate(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bundle::manifest::{Action, Origin, Tool, ToolFormat};
    use vocab::Digest;

    use super::*;

    fn want(kind: &str, name: &str) -> Want {
        Want {
            kind: kind.to_owned(),
            name: name.to_owned(),
            asks: 1,
            first_job: None,
            first_ms: 0,
            last_ms: 0,
        }
    }

    #[test]
    fn a_want_is_answered_by_the_name_that_was_asked_for_and_no_other() {
        let items = [
            Item::Action(Action {
                name: "actions/cache".into(),
                refs: BTreeMap::from([("refs/tags/v4".into(), "ab".repeat(20))]),
                pack: Digest::of(b"pack"),
                shallow: Vec::new(),
                source: Origin::default(),
            }),
            Item::Toolcache(Tool {
                name: "Python".into(),
                version: "3.12.7".into(),
                arch: "x64".into(),
                d: Digest::of(b"tool"),
                format: ToolFormat::TarGz,
                strip: 0,
                source: Origin::default(),
            }),
        ];
        let left = |kind, name| !still_wanted(vec![want(kind, name)], &items).is_empty();
        for (kind, name) in [
            ("action", "actions/cache@v4"),
            ("action", "Actions/Cache/save@v4"),
            ("toolcache", "python 3.12"),
            ("toolcache", "Python"),
        ] {
            assert!(!left(kind, name), "{kind} {name}");
        }
        for (kind, name) in [
            ("action", "actions/cache@v5"),
            ("action", "actions/cached@v4"),
            ("toolcache", "python 3.1"),
            ("pypi", "actions/cache"),
        ] {
            assert!(left(kind, name), "{kind} {name}");
        }
    }
}
