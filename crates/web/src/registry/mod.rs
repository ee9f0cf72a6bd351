//! What one generation holds, served: images, Python packages, actions, tools, files.
//!
//! On the web listener that is the active generation; on a job's own loopback it is the one that
//! the job started with. Refuses every name that is not in it, says so, and notes it for the need
//! slip. Invariant: nothing here looks into another generation or to the outside.

pub(crate) mod actions;
pub(crate) mod asked;
mod blob;
pub(crate) mod files;
mod job_door;
pub(crate) mod oci;
pub(crate) mod pypi;
mod referrers;
pub(crate) mod toolcache;

use access::Action;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bundle::Item;
use supply::GenerationId;
use supply::generation;
use vocab::{Digest, Fence, RepoId};

use crate::fault::Fault;
use crate::guard::Ctx;
use crate::identify::Door;
use crate::state::App;

pub use job_door::{JobDoor, Serving};

/// Whose endpoint a job's loopback is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The job, and by which hand-out it runs.
    pub fence: Fence,
    /// Its repo.
    pub repo: RepoId,
    /// The generation that it sees; none when nothing was imported before it started.
    pub generation: Option<GenerationId>,
}

/// What a request may look into.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) app: App,
    /// `None` before the first import.
    generation: Option<GenerationId>,
    /// The job whose loopback it is.
    holder: Option<Fence>,
}

impl<S: Send + Sync> FromRequestParts<S> for Shelf {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        // A Ctx is there only after the guard has granted the route's action.
        let ctx = Ctx::from_request_parts(parts, state).await?;
        if ctx.action() != Action::RegistryPull {
            return Err(Fault::denied("this address serves no generation"));
        }
        let (generation, holder) = match parts.extensions.get::<Door>() {
            Some(Door::Job(seat)) => (seat.generation, Some(seat.fence)),
            _ => {
                let active = ctx.app.read(|db| Ok(generation::active(db)?)).await?;
                (active, None)
            }
        };
        Ok(Self {
            app: ctx.app,
            generation,
            holder,
        })
    }
}

impl Shelf {
    /// The item of exactly this key.
    pub(crate) async fn item(&self, key: String) -> Result<Option<Item>, Fault> {
        let Some(generation) = self.generation else {
            return Ok(None);
        };
        self.app
            .read(move |db| Ok(generation::item(db, generation, &key)?))
            .await
    }

    /// The items of one kind and name; letter case does not matter.
    pub(crate) async fn named(&self, kind: &'static str, name: &str) -> Result<Vec<Item>, Fault> {
        let (Some(generation), name) = (self.generation, name.to_owned()) else {
            return Ok(Vec::new());
        };
        self.app
            .read(move |db| Ok(generation::items_named(db, generation, kind, &name)?))
            .await
    }

    /// All items of one kind.
    pub(crate) async fn all(&self, kind: &'static str) -> Result<Vec<Item>, Fault> {
        let Some(generation) = self.generation else {
            return Ok(Vec::new());
        };
        self.app
            .read(move |db| Ok(generation::items_of(db, generation, kind)?))
            .await
    }

    /// The sizes of blobs of this generation, in the order asked for.
    pub(crate) async fn sizes(&self, blobs: Vec<Digest>) -> Result<Vec<u64>, Fault> {
        let Some(generation) = self.generation else {
            return Ok(Vec::new());
        };
        self.app
            .read(move |db| {
                let size = |blob: &Digest| generation::blob_size(db, generation, blob);
                let sizes: Result<Vec<_>, _> = blobs.iter().map(size).collect();
                Ok(sizes?.into_iter().map(Option::unwrap_or_default).collect())
            })
            .await
    }

    /// What is asked for is not there: says so, and notes it for the need slip.
    pub(crate) fn absent(&self, kind: &str, name: &str) -> Fault {
        let job = self.holder.map(|fence| fence.job);
        self.app.wants.note(kind, name, job);
        let word = match kind {
            "oci" => "image",
            "pypi" => "Python package",
            "toolcache" => "tool",
            other => other,
        };
        let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
        let place = match (self.generation, job) {
            (Some(generation), Some(_)) => {
                format!("generation {}, with which this job started", generation.0)
            }
            (Some(generation), None) => format!("generation {}, which is active", generation.0),
            (None, _) => "this appliance: no bundle has been imported".to_owned(),
        };
        Fault::new(
            StatusCode::NOT_FOUND,
            format!("{word} {name} is not in {place}"),
        )
        .todo(
            "nothing is fetched from outside; it was noted for the need slip, so that the next \
             bundle can bring it",
        )
    }

    /// A blob of this generation as an answer.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        kind: &str,
        asked: &HeaderMap,
    ) -> Result<axum::response::Response, Fault> {
        if let Some(fence) = self.holder {
            self.app.given.note(fence, digest);
        }
        blob::answer(&self.app, digest, kind, asked).await
    }

    /// This server as its caller calls it, without a slash at the end.
    fn address(&self, host: Option<&HeaderValue>) -> String {
        match (self.holder, host.and_then(|h| h.to_str().ok())) {
            (Some(_), Some(host)) if is_host(host) => format!("http://{host}"),
            _ => address(&self.app, host),
        }
    }

    /// The bytes of a small blob.
    pub(crate) async fn small(&self, digest: Digest, most: u64) -> Result<Vec<u8>, Fault> {
        let app = self.app.clone();
        self.app.off(move || blob::small(&app, &digest, most)).await
    }
}

/// The web listener as its caller calls it: links that it is given lead there by the same way.
fn address(app: &App, host: Option<&HeaderValue>) -> String {
    let own = app.config.public_url.trim_end_matches('/');
    match (own.split_once("://"), host.and_then(|h| h.to_str().ok())) {
        (Some((scheme, _)), Some(host)) if is_host(host) => format!("{scheme}://{host}"),
        _ => own.to_owned(),
    }
}

fn is_host(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".:-[]".contains(&b);
    !text.is_empty() && text.bytes().all(plain)
}
