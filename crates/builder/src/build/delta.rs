//! Slips: what an appliance has is left out, what it found damaged goes in, what it asked for is
//! looked up.

use bundle::Item;
use bundle::pack::Draft;
use bundle::slip::{Need, Wanted};

use super::{BuildError, BuildOptions};
use crate::lock::LockedBlob;
use crate::recipe::Recipe;
use crate::source::normal;

/// What a need slip asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// `kind:name` of what is in the bundle.
    pub met: Vec<String>,
    /// `kind:name` of what is not.
    pub unmet: Vec<String>,
}

/// Says in `draft` what is taken for granted; gives the blobs that the volumes carry.
pub(super) fn split(
    draft: &mut Draft,
    blobs: Vec<LockedBlob>,
    recipe: &Recipe,
    options: &BuildOptions<'_>,
) -> Result<Vec<LockedBlob>, BuildError> {
    let Some((have, digest)) = options.have else {
        return Ok(blobs);
    };
    let head = &recipe.head;
    let empty = have.product.is_empty() && have.seq == 0;
    if !empty && (have.product != head.product || have.channel != head.channel) {
        return Err(BuildError::OtherSlip {
            found: format!("{} {}", have.product, have.channel),
            wanted: format!("{} {}", head.product, head.channel),
        });
    }
    if have.seq >= draft.seq {
        return Err(BuildError::Behind {
            at: have.seq,
            seq: draft.seq,
        });
    }
    // What this appliance has may be older than any lock that is remembered here.
    let pins: std::collections::BTreeMap<String, String> =
        draft.items.iter().flat_map(Item::pins).collect();
    for (key, was) in &have.pins {
        if pins.get(key).is_some_and(|now| now != was) {
            let said = draft
                .replaces
                .entry(key.clone())
                .or_insert_with(|| was.clone());
            if said != was {
                "*".clone_into(said);
            }
        }
    }
    let keys: Vec<String> = draft.items.iter().map(Item::key).collect();
    draft
        .removes
        .extend(have.keys.iter().filter(|key| !keys.contains(key)).cloned());
    draft.removes.sort();
    draft.removes.dedup();
    draft.have_sha256 = Some(*digest);
    let damaged = options.need.map_or(&[][..], |need| &need.damaged);
    let has = |blob: &LockedBlob| {
        have.blobs.binary_search(&blob.d.hex()).is_ok() && !damaged.contains(&blob.d)
    };
    let (assumed, carried): (Vec<_>, Vec<_>) = blobs.into_iter().partition(has);
    draft.assumed = assumed.into_iter().map(|blob| (blob.d, blob.n)).collect();
    Ok(carried)
}

/// Looks up what jobs asked for in vain.
pub(super) fn wants(items: &[Item], need: Option<&Need>) -> Wants {
    let mut found = Wants::default();
    for wanted in need.iter().flat_map(|need| &need.wants) {
        let said = format!("{}:{}", wanted.kind, wanted.name);
        if items.iter().any(|item| answers(item, wanted)) {
            found.met.push(said);
        } else {
            found.unmet.push(said);
        }
    }
    found
}

/// Whether `item` is what a job asked for.
pub(crate) fn answers(item: &Item, wanted: &Wanted) -> bool {
    if item.kind() != wanted.kind {
        return false;
    }
    let name = wanted.name.as_str();
    match item {
        Item::Oci(image) => {
            let short = image
                .name
                .trim_start_matches("docker.io/")
                .trim_start_matches("library/");
            let (asked, tag) = match name.rsplit_once(':') {
                Some((asked, tag)) if !tag.contains('/') => (asked, tag),
                _ => (name, "latest"),
            };
            tag == image.tag && (asked == image.name || asked == short)
                || name.ends_with(&image.digest.to_string())
        }
        Item::Action(action) => {
            let (repo, git_ref) = name.split_once('@').unwrap_or((name, ""));
            let repo: Vec<&str> = repo.splitn(3, '/').take(2).collect();
            repo.join("/").eq_ignore_ascii_case(&action.name)
                && (git_ref.is_empty()
                    || action.refs.iter().any(|(full, id)| {
                        full.rsplit_once("tags/")
                            .or_else(|| full.rsplit_once("heads/"))
                            .is_some_and(|(_, short)| short == git_ref)
                            || id == git_ref
                    }))
        }
        Item::Pypi(project) => {
            let end = name
                .find(|c: char| "=<>!~ [;@".contains(c))
                .unwrap_or(name.len());
            normal(&name[..end]) == project.name
        }
        Item::Toolcache(tool) => {
            let (asked, version) = name.split_once(['@', ':', ' ']).unwrap_or((name, ""));
            let prefix = version.trim_end_matches(['x', '*']).trim_end_matches('.');
            asked.eq_ignore_ascii_case(&tool.name)
                && (prefix.is_empty()
                    || tool.version == prefix
                    || tool.version.starts_with(&format!("{prefix}.")))
        }
        Item::File(file) | Item::Doc(file) => file.name == name,
        Item::Selfupdate(_) => false,
    }
}
