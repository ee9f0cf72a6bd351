//! One image explained: which bundles brought it, who approved them, where the log says so, which
//! jobs ran in it.

use audit::{Filter, Kind};
use bundle::Item;
use evidence::attestation::{CUSTODY, Resource, STATEMENT, Statement};
use serde::Serialize;
use serde_json::json;
use store::{Db, StoreError};
use supply::{GenerationId, bundles, generation};
use vocab::{Attempt, Digest, JobId};

use crate::{AttestError, Attester, Custody, Deed, custody};

/// Most jobs that are named.
const JOBS: u32 = 100;
/// Most entries of images that are looked through.
const ENTRIES: u32 = 1_000;

/// What is known of one image.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// As it was asked for.
    pub asked: String,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// What it is called: by bundles, and by whoever imported it by hand.
    pub names: Vec<String>,
    /// Who brought it without a bundle, if anybody did.
    pub by_hand: Vec<Deed>,
    /// The bundles that have it, the newest first.
    pub bundles: Vec<Carried>,
    /// The newest attempts that ran in it or fetched it.
    pub jobs: Vec<(JobId, Attempt)>,
}

/// A bundle that has the image.
#[derive(Debug, Serialize)]
pub struct Carried {
    /// The generation that it made.
    pub generation: i64,
    /// Whether that is served now.
    pub active: bool,
    /// How the bundle came in.
    #[serde(flatten)]
    pub custody: Custody,
}

/// Explains the image that `asked` names: a digest, `name:tag`, or a name that was given by hand.
/// `None` when there is none.
pub fn explain(db: &Db, asked: &str) -> Result<Option<Explained>, StoreError> {
    let Some(digest) = digest_of(db, asked)? else {
        return Ok(None);
    };
    let (mut names, mut carried) = (Vec::new(), Vec::new());
    for row in bundles::history(db)? {
        let items = generation::items_of(db, GenerationId(row.generation), "oci")?;
        let own = items.into_iter().filter_map(|item| match item {
            Item::Oci(image) if image.digest == digest => {
                Some(format!("{}:{}", image.name, image.tag))
            }
            _ => None,
        });
        let own: Vec<String> = own.collect();
        if own.is_empty() {
            continue;
        }
        names.extend(own);
        carried.push(Carried {
            generation: row.generation,
            active: row.active,
            custody: Custody::load(db, &row.bundle)?,
        });
    }
    let row = supply::resolve(db, &digest.to_string())?;
    let own = row.as_ref().map(|image| image.names.clone());
    names.extend(own.unwrap_or_default());
    names.sort();
    names.dedup();
    let by_hand = match row {
        Some(_) => imports(db, &digest)?,
        None => Vec::new(),
    };
    let jobs = supply::given_to(db, &digest, JOBS)?;
    let known = !names.is_empty() || !jobs.is_empty() || !by_hand.is_empty();
    Ok(known.then(|| Explained {
        asked: asked.to_owned(),
        digest,
        names,
        by_hand,
        bundles: carried,
        jobs,
    }))
}

fn digest_of(db: &Db, asked: &str) -> Result<Option<Digest>, StoreError> {
    if let Ok(digest) = asked.parse() {
        return Ok(Some(digest));
    }
    if let Some(active) = generation::active(db)? {
        for item in generation::items_of(db, active, "oci")? {
            if let Item::Oci(image) = item
                && (asked == image.name || asked == format!("{}:{}", image.name, image.tag))
            {
                return Ok(Some(image.digest));
            }
        }
    }
    Ok(supply::resolve(db, asked)?.map(|image| image.digest))
}

/// Who imported an image of this digest by hand: bundles' images have no layers in their entries.
fn imports(db: &Db, digest: &Digest) -> Result<Vec<Deed>, StoreError> {
    let filter = Filter {
        kind: Some(Kind::ImageAdded.as_str().to_owned()),
        ..Filter::default()
    };
    let lines = audit::list(db, &filter, ENTRIES)?;
    let told = format!("\"digest\":\"{digest}\"");
    let own = lines.iter().filter(|line| line.text.contains(&told));
    Ok(own.map(custody::deed).collect())
}

impl Attester {
    /// The signed statement of how the image `digest`, called `name`, came in with the bundle of
    /// `generation`; the same bytes whenever it is asked for. `None` without such a generation.
    pub fn custody_of_image(
        &self,
        db: &Db,
        generation: GenerationId,
        name: &str,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, AttestError> {
        let Some(custody) = Custody::of_generation(db, generation)? else {
            return Ok(None);
        };
        let statement = Statement {
            kind: STATEMENT.to_owned(),
            subject: vec![Resource::new(name, "sha256", &digest.hex())],
            predicate_type: CUSTODY.to_owned(),
            predicate: json!({ "appliance": self.appliance().id(), "custody": custody }),
        };
        Ok(Some(self.seal(&statement)))
    }
}
