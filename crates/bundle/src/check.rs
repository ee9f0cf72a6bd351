//! What a manifest must keep to beyond its shape: order, names, places, closure.

use vocab::Digest;

use crate::manifest::{
    Action, Blob, CHUNK_BYTES, FORMAT, Item, Manifest, Oci, Origin, Pypi, SEGMENT_BYTES,
    SelfUpdate, Tool,
};
use crate::refusal::Refusal;
use crate::{Version, strict, volume};

/// Most blobs, items and volumes.
const BLOBS: usize = 200_000;
const ITEMS: usize = 100_000;
const VOLUMES: usize = 9_999;

const WHAT: &str = "the manifest";

impl Manifest {
    /// Reads a manifest, refusing whatever is not exactly as this format writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let manifest: Self = strict::from_slice(bytes).map_err(|e| Refusal::Json {
            what: WHAT.to_owned(),
            reason: e.to_string(),
        })?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Its canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("our own types have only text keys");
        bytes.push(b'\n');
        bytes
    }

    /// Whether it keeps every rule of the format.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.cofferdam_bundle != FORMAT {
            return Err(wrong(format!(
                "it is of format {}, and this program reads format {FORMAT}",
                self.cofferdam_bundle
            )));
        }
        self.check_head()?;
        sorted("blobs", self.blobs.iter().map(|b| b.d))?;
        sorted("items", self.items.iter().map(Item::key))?;
        sorted("removes", self.removes.iter())?;
        for key in self.removes.iter().chain(self.replaces.keys()) {
            text("removes or replaces", key, 300)?;
        }
        for (key, old) in &self.replaces {
            text(key, old, 100)?;
        }
        self.check_places()?;
        for item in &self.items {
            check_item(item)?;
        }
        self.check_closure()
    }

    fn check_head(&self) -> Result<(), Refusal> {
        for (what, name) in [("product", &self.product), ("channel", &self.channel)] {
            name_rule(what, name)?;
            if name.len() > 64 || name.contains('/') {
                return Err(bad_name(what, name));
            }
        }
        if self.seq == 0 || self.root == 0 {
            return Err(wrong("seq and root count from 1".to_owned()));
        }
        version_text("content", &self.content)?;
        sorted("arch", self.arch.iter())?;
        if self.arch.is_empty() || self.arch.iter().any(|a| a != "amd64" && a != "arm64") {
            return Err(wrong(format!(
                "arch is {:?}, and may hold amd64 and arm64",
                self.arch
            )));
        }
        day("created", &self.created)?;
        day("not_after", &self.not_after)?;
        Version::parse(&self.min_appliance)
            .ok_or_else(|| wrong(format!("min_appliance is {:?}", self.min_appliance)))?;
        sorted("audience", self.audience.iter())?;
        for name in &self.audience {
            name_rule("audience", name)?;
        }
        if let Some(of) = &self.rollback_of {
            version_text("rollback_of", of)?;
        }
        let most = [
            ("blobs", self.blobs.len(), BLOBS),
            ("items", self.items.len(), ITEMS),
            ("volumes", self.volumes.len(), VOLUMES),
        ];
        for (what, count, most) in most {
            if count > most {
                return Err(wrong(format!(
                    "it lists {count} {what}, and {most} is the most"
                )));
            }
        }
        Ok(())
    }

    /// The blobs follow each other through the volumes without a gap, and the volumes are as long
    /// as that makes them.
    fn check_places(&self) -> Result<(), Refusal> {
        let count = u32::try_from(self.volumes.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Err(wrong("it has no volume".to_owned()));
        }
        let (mut number, mut at) = (1u32, volume::FIRST);
        let mut ends = Vec::new();
        for blob in &self.blobs {
            check_blob(blob)?;
            for (segment, place) in blob.at.iter().enumerate() {
                if *place == (number + 1, volume::FIRST) && at > volume::FIRST {
                    ends.push(at);
                    (number, at) = *place;
                }
                if *place != (number, at) {
                    return Err(wrong(format!(
                        "blob {} is said to lie at {place:?}, and the entries before it lead to \
                         {:?}",
                        blob.d,
                        (number, at)
                    )));
                }
                at += volume::BLOCK + volume::padded(volume::segment_bytes(blob.n, segment as u64));
            }
        }
        ends.push(at);
        if ends.len() != self.volumes.len() {
            return Err(wrong(format!(
                "its blobs fill {} volumes, and it lists {count}",
                ends.len()
            )));
        }
        for ((volume, end), index) in self.volumes.iter().zip(&ends).zip(1u32..) {
            let (name, size) = (volume::volume_name(index, count), volume::total(*end));
            if volume.name != name || volume.size != size {
                return Err(wrong(format!(
                    "volume {index} is listed as {:?} of {} bytes, and must be {name} of {size}",
                    volume.name, volume.size
                )));
            }
            if size > crate::manifest::VOLUME_MAX_BYTES {
                return Err(wrong(format!("{name} is larger than a volume may be")));
            }
        }
        if Digest::of(volume::sums(&self.volumes).as_bytes()) != self.sums_sha256 {
            return Err(wrong("sums_sha256 is not that of SHA256SUMS".to_owned()));
        }
        Ok(())
    }

    /// Every blob that an item needs is in a volume or taken for granted, and nothing else is.
    fn check_closure(&self) -> Result<(), Refusal> {
        let all = self.all_blobs()?;
        let mut used = vec![false; all.len()];
        let mut needs = |key: &dyn Fn() -> String, digest: &Digest| {
            let at = all.binary_search_by(|(d, _)| d.cmp(digest)).map_err(|_| {
                wrong(format!(
                    "{} needs blob {digest}, which is in no volume and not assumed",
                    key()
                ))
            })?;
            used[at] = true;
            Ok::<_, Refusal>(())
        };
        for item in &self.items {
            for digest in item.blobs() {
                needs(&|| item.key(), &digest)?;
            }
        }
        if let Some(digest) = &self.notes {
            needs(&|| "notes".to_owned(), digest)?;
        }
        if let Some(((stray, _), _)) = all.iter().zip(&used).find(|(_, used)| !**used) {
            return Err(wrong(format!("nothing needs blob {stray}")));
        }
        let bytes = all.iter().try_fold(0u64, |sum, (_, n)| sum.checked_add(*n));
        if (Some(self.closure.bytes), self.closure.blobs) != (bytes, all.len() as u64) {
            return Err(wrong(
                "its closure is not what its items come to".to_owned(),
            ));
        }
        Ok(())
    }

    /// Every blob that this generation needs with its size, sorted by digest, each once.
    fn all_blobs(&self) -> Result<Vec<(Digest, u64)>, Refusal> {
        if let Some(base) = &self.base {
            sorted("assumed", base.assumed.iter().map(|a| a.d))?;
        }
        let all = self.closure_blobs();
        match all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            None => Ok(all),
            Some(twice) => Err(wrong(format!(
                "blob {} is both in a volume and assumed",
                twice[0].0
            ))),
        }
    }

    /// Every blob of the generation with its size, sorted; the manifest has been checked.
    #[must_use]
    pub fn closure_blobs(&self) -> Vec<(Digest, u64)> {
        let assumed = self.base.iter().flat_map(|b| &b.assumed);
        let mut all: Vec<(Digest, u64)> = self
            .blobs
            .iter()
            .map(|b| (b.d, b.n))
            .chain(assumed.map(|a| (a.d, a.n)))
            .collect();
        all.sort();
        all
    }
}

fn check_blob(blob: &Blob) -> Result<(), Refusal> {
    let (segments, chunks) = (volume::segments_of(blob.n), blob.n.div_ceil(CHUNK_BYTES));
    if blob.at.len() as u64 != segments {
        return Err(wrong(format!(
            "blob {} of {} bytes has {} segments of {SEGMENT_BYTES}, and must have {segments}",
            blob.d,
            blob.n,
            blob.at.len()
        )));
    }
    let listed = blob.c.len() as u64;
    if listed != if chunks > 1 { chunks } else { 0 } {
        return Err(wrong(format!(
            "blob {} lists {listed} chunks and has {chunks}",
            blob.d
        )));
    }
    text("media type", &blob.m, 128)
}

fn check_item(item: &Item) -> Result<(), Refusal> {
    let Origin { uri, checked } = item.source();
    text("source", uri, 500)?;
    text("source", checked, 200)?;
    match item {
        Item::Oci(image) => check_image(image),
        Item::Action(action) => check_action(action),
        Item::Pypi(project) => check_project(project),
        Item::Toolcache(tool) => check_tool(tool),
        Item::File(file) | Item::Doc(file) => name_rule("file", &file.name),
        Item::Selfupdate(update) => check_update(update),
    }
}

fn check_image(image: &Oci) -> Result<(), Refusal> {
    name_rule("image", &image.name)?;
    token("tag", &image.tag, 128, "_.-")?;
    text("platform", &image.platform, 40)?;
    sorted("blobs of an image", image.blobs.iter())?;
    sorted("labels of an image", image.labels.iter())?;
    for label in &image.labels {
        token("label", label, 64, "_.-")?;
    }
    if !image.blobs.contains(&image.digest) {
        return Err(wrong(format!(
            "image {} does not list its own manifest",
            image.name
        )));
    }
    Ok(())
}

fn check_action(action: &Action) -> Result<(), Refusal> {
    name_rule("action", &action.name)?;
    if action.name.split('/').count() != 2 {
        return Err(bad_name("action", &action.name));
    }
    if action.refs.is_empty() {
        return Err(wrong(format!("action {} has no refs", action.name)));
    }
    for (name, id) in &action.refs {
        let inside = name
            .strip_prefix("refs/tags/")
            .or_else(|| name.strip_prefix("refs/heads/"));
        let fine = inside.is_some_and(|n| {
            !n.is_empty()
                && n.len() <= 200
                && n.split('/')
                    .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.'))
                && !n.contains("..")
                && !n.ends_with(".lock")
                && n.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-/+".contains(&b))
        });
        if !fine {
            return Err(bad_name("action ref", name));
        }
        object_id(id)?;
    }
    sorted("shallow", action.shallow.iter())?;
    action.shallow.iter().try_for_each(|id| object_id(id))
}

fn object_id(id: &str) -> Result<(), Refusal> {
    let hex = id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex && matches!(id.len(), 40 | 64) {
        Ok(())
    } else {
        Err(bad_name("object id", id))
    }
}

fn check_project(project: &Pypi) -> Result<(), Refusal> {
    let name = &project.name;
    name_rule("Python project", name)?;
    if name.contains(['.', '_', '/']) || name.contains("--") || name.ends_with('-') {
        return Err(bad_name("Python project", name));
    }
    sorted(
        "files of a project",
        project.files.iter().map(|f| &f.filename),
    )?;
    for file in &project.files {
        token("Python file", &file.filename, 200, "._+!-")?;
        let kind = [".whl", ".tar.gz", ".zip"];
        if !kind.iter().any(|ending| file.filename.ends_with(ending)) {
            return Err(bad_name("Python file", &file.filename));
        }
        text("requires_python", &file.requires_python, 200)?;
        text("yanked", file.yanked.as_deref().unwrap_or_default(), 500)?;
    }
    Ok(())
}

fn check_tool(tool: &Tool) -> Result<(), Refusal> {
    token("tool", &tool.name, 40, "_-")?;
    version_text("tool version", &tool.version)?;
    token("tool arch", &tool.arch, 16, "_-")?;
    if tool.strip > 8 {
        return Err(wrong(format!(
            "tool {} strips {} parts",
            tool.name, tool.strip
        )));
    }
    Ok(())
}

fn check_update(update: &SelfUpdate) -> Result<(), Refusal> {
    Version::parse(&update.version)
        .ok_or_else(|| wrong(format!("the program's version is {:?}", update.version)))?;
    token("arch", &update.arch, 16, "")?;
    for owner in update.schema.keys() {
        token("schema", owner, 40, "_")?;
    }
    Ok(())
}

fn wrong(reason: String) -> Refusal {
    Refusal::Format {
        what: WHAT.to_owned(),
        reason,
    }
}

fn bad_name(what: &str, name: &str) -> Refusal {
    Refusal::Name {
        what: what.to_owned(),
        name: name.chars().take(100).collect(),
    }
}

/// Strictly rising, so that nothing stands twice and the order says nothing.
fn sorted<T: PartialOrd + std::fmt::Debug>(
    what: &str,
    values: impl IntoIterator<Item = T>,
) -> Result<(), Refusal> {
    let mut last: Option<T> = None;
    for value in values {
        if last.as_ref().is_some_and(|last| *last >= value) {
            return Err(wrong(format!(
                "{what} are not sorted, or hold {value:?} twice"
            )));
        }
        last = Some(value);
    }
    Ok(())
}

/// `[a-z0-9][a-z0-9._/-]{0,199}` without `..`, empty parts or a slash at the end.
pub(crate) fn name_rule(what: &str, name: &str) -> Result<(), Refusal> {
    let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let fine = name.len() <= 200
        && name.bytes().next().is_some_and(small)
        && name.bytes().all(|b| small(b) || b"._/-".contains(&b))
        && !name.contains("..")
        && name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'));
    if fine {
        Ok(())
    } else {
        Err(bad_name(what, name))
    }
}

/// Letters, digits and `more`, beginning with a letter or digit.
fn token(what: &str, value: &str, most: usize, more: &str) -> Result<(), Refusal> {
    let fine = value.len() <= most
        && value
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        && !value.contains("..");
    if fine {
        Ok(())
    } else {
        Err(bad_name(what, value))
    }
}

fn version_text(what: &str, value: &str) -> Result<(), Refusal> {
    token(what, value, 64, ".+-_~")
}

/// Printable ASCII, so that a terminal or page shows what is there.
fn text(what: &str, value: &str, most: usize) -> Result<(), Refusal> {
    if value.len() <= most && value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        Ok(())
    } else {
        Err(bad_name(what, value))
    }
}

/// `YYYY-MM-DD`, a day that a calendar could have.
pub(crate) fn day(what: &str, value: &str) -> Result<(), Refusal> {
    let bytes = value.as_bytes();
    let number =
        |range: std::ops::Range<usize>| value.get(range).and_then(|t| t.parse::<u32>().ok());
    let fine = bytes.len() == 10
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && number(0..4).is_some()
        && number(5..7).is_some_and(|m| (1..=12).contains(&m))
        && number(8..10).is_some_and(|d| (1..=31).contains(&d))
        && value.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if fine {
        Ok(())
    } else {
        Err(wrong(format!(
            "{what} is {value:?}, and a day is YYYY-MM-DD"
        )))
    }
}
