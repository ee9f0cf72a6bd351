//! One thing that is served, as a row of the catalogue.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bundle::Item;
use store::Db;
use supply::bundles::WorkflowUse;
use supply::{GenerationId, ImageRow};
use vocab::Digest;

use super::bundle_about::{self as about, state};
use super::bundle_changes::{item_name, use_line};
use crate::fault::Fault;
use crate::registry::asked;
use crate::state::App;
use crate::view::Link;
use crate::view::bundles::UseLine;
use crate::view::catalogue::{Part, Thing};
use crate::{href, words};

/// What every row is told from besides its item.
pub(super) struct Around {
    sizes: HashMap<Digest, u64>,
    since: BTreeMap<String, GenerationId>,
    bundles: HashMap<i64, Link>,
    uses: BTreeMap<String, Vec<UseLine>>,
    images: Vec<ImageRow>,
    unpacked: BTreeSet<Digest>,
    pub(super) shows_uses: bool,
    pub(super) medium: String,
}

impl Around {
    /// Reads it once for the whole page. `links` says whether bundles may be opened.
    pub(super) fn look(
        db: &Db,
        app: &App,
        active: Option<GenerationId>,
        uses: &[WorkflowUse],
        links: bool,
    ) -> Result<Self, Fault> {
        let (sizes, since) = match active {
            Some(active) => (
                supply::generation::blobs(db, active)?.into_iter().collect(),
                supply::generation::since(db, active)?,
            ),
            None => (HashMap::new(), BTreeMap::new()),
        };
        let mut bundles = HashMap::new();
        for entry in supply::bundles::history(db)? {
            let name = about::name(&entry.bundle);
            let to = if links {
                about::href(&entry.bundle)
            } else {
                String::new()
            };
            bundles.insert(entry.generation, Link::new(name, to));
        }
        let listed = supply::bundles::catalogue(db, uses)?;
        let media = &app.config.media;
        Ok(Self {
            sizes,
            since,
            bundles,
            uses: listed
                .into_iter()
                .map(|one| (one.key, one.used_by.iter().map(use_line).collect()))
                .collect(),
            images: supply::images(db)?,
            unpacked: supply::unpacked(db)?,
            shows_uses: links,
            medium: media
                .first()
                .map_or_else(|| "/media".to_owned(), |m| m.display().to_string()),
        })
    }

    fn size(&self, item: &Item) -> u64 {
        let blobs: BTreeSet<Digest> = item.blobs().into_iter().collect();
        blobs.iter().filter_map(|d| self.sizes.get(d)).sum()
    }
}

pub(super) fn title(kind: &str) -> &'static str {
    match kind {
        "oci" => "Images",
        "action" => "Actions",
        "pypi" => "Python packages",
        "toolcache" => "Toolchains",
        "file" => "Files",
        _ => "Documents",
    }
}

/// What stands in the second column.
pub(super) fn made_of(kind: &str) -> &'static str {
    match kind {
        "oci" => "digest and labels",
        "action" => "refs",
        "pypi" => "files",
        _ => "digest",
    }
}

/// How a client has it from here, with the real address.
pub(super) fn command(app: &App, kind: &str, first: Option<&Thing>) -> String {
    let url = app.url("");
    let host = url.split_once("://").map_or(url.as_str(), |(_, host)| host);
    let name = first.map_or("NAME", |thing| thing.name.as_str());
    match kind {
        "oci" => format!("docker pull {host}/{name}"),
        "action" => format!("git clone {url}/actions/{name}"),
        "pypi" => format!("pip install --index-url {url}/simple/ {name}"),
        "toolcache" => format!("curl {url}/toolcache/versions-manifest.json"),
        "file" => format!("curl -O {url}/files/{}", href::path(name)),
        _ => String::new(),
    }
}

/// An item with all that is known around it.
pub(super) fn thing(item: &Item, around: &Around) -> Thing {
    let key = item.key();
    let source = item.source();
    let used = around.uses.get(&key).map_or(&[][..], Vec::as_slice);
    let mut shown = Thing {
        name: item_name(&key),
        sub: String::new(),
        href: None,
        state: None,
        labels: Vec::new(),
        parts: Vec::new(),
        parts_title: None,
        size: words::size(around.size(item)),
        origin: words::plain(&source.uri),
        checked: words::plain(&source.checked),
        since: around
            .since
            .get(&key)
            .and_then(|id| around.bundles.get(&id.0))
            .cloned(),
        used_title: words::count(used.len() as u64, "workflow"),
        used: used.to_vec(),
    };
    match item {
        Item::Oci(oci) => {
            shown.sub = words::plain(&oci.platform);
            shown.labels = oci.labels.iter().map(|l| words::plain(l)).collect();
            shown.parts = vec![part("", &oci.digest.to_string())];
            shown.state = Some(if around.unpacked.contains(&oci.digest) {
                state("unpacked", "ok")
            } else {
                state("not unpacked", "off")
            });
        }
        Item::Action(action) => {
            shown.parts = action
                .refs
                .iter()
                .map(|(name, commit)| {
                    let short = ["refs/tags/", "refs/heads/"]
                        .iter()
                        .find_map(|start| name.strip_prefix(start));
                    part(short.unwrap_or(name), commit)
                })
                .collect();
            shown.parts_title = folded(shown.parts.len(), "ref");
        }
        Item::Pypi(project) => {
            let versions: BTreeSet<String> = project
                .files
                .iter()
                .filter_map(|file| asked::version(&file.filename, &project.name))
                .collect();
            let versions: Vec<String> = versions.iter().map(|v| words::plain(v)).collect();
            shown.sub = versions.join(", ");
            shown.href = Some(format!("/simple/{}/", href::path(&project.name)));
            shown.parts = project
                .files
                .iter()
                .map(|file| part(&file.filename, &file.d.to_string()))
                .collect();
            shown.parts_title = folded(shown.parts.len(), "file");
        }
        Item::Toolcache(tool) => {
            shown.name = format!(
                "{} {}",
                words::plain(&tool.name),
                words::plain(&tool.version)
            );
            shown.sub = words::plain(&tool.arch);
            shown.parts = vec![part("", &tool.d.to_string())];
        }
        Item::File(file) => {
            shown.href = Some(format!("/files/{}", href::path(&file.name)));
            shown.parts = vec![part("", &file.d.to_string())];
        }
        Item::Doc(doc) => {
            shown.href = Some(format!("/catalogue/documents/{}", href::path(&doc.name)));
            shown.parts = vec![part("", &doc.d.to_string())];
        }
        Item::Selfupdate(_) => {}
    }
    shown
}

/// Images that were imported by hand, beside those of the generation.
pub(super) fn by_hand(carried: &[Item], around: &Around) -> Vec<Thing> {
    let known: BTreeSet<Digest> = carried
        .iter()
        .filter_map(|item| match item {
            Item::Oci(oci) => Some(oci.digest),
            _ => None,
        })
        .collect();
    let alone = around.images.iter().filter(|i| !known.contains(&i.digest));
    alone
        .map(|image| Thing {
            name: words::plain(&image.shown_name()),
            sub: format!("linux/{}", words::plain(&image.architecture)),
            href: None,
            state: Some(state("unpacked", "ok")),
            labels: Vec::new(),
            parts: vec![part("", &image.digest.to_string())],
            parts_title: None,
            size: words::size(image.size_bytes),
            origin: "imported by hand".to_owned(),
            checked: "digest".to_owned(),
            since: None,
            used: Vec::new(),
            used_title: String::new(),
        })
        .collect()
}

/// Whether a filter lets it through; `query` is in small letters.
pub(super) fn fits(thing: &Thing, query: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(query);
    query.is_empty()
        || has(&thing.name)
        || has(&thing.sub)
        || has(&thing.origin)
        || thing.labels.iter().any(|label| has(label))
        || thing.parts.iter().any(|p| has(&p.name) || has(&p.full))
}

fn folded(parts: usize, one: &str) -> Option<String> {
    (parts > 2).then(|| words::count(parts as u64, one))
}

fn part(name: &str, value: &str) -> Part {
    Part {
        name: words::plain(name),
        short: words::short(value),
        full: words::plain(value),
    }
}
