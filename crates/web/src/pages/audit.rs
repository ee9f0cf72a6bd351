//! The audit log: how it is sealed, and the newest entries that fit a search.

use audit::{Filter, Found, Kind, Line, Seal, Seq};
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use std::time::SystemTime;
use store::Db;

use super::audit_about::{self as about, Things};
use super::bundle_about::state;
use super::{frame, render};
use crate::api::audit as api;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::respond::sentence;
use crate::state::App;
use crate::view::audit::{Asked, EntryLine, Fact, Log, SealView, Stopped};
use crate::view::{Said, State};
use crate::{href, words};

/// Entries on a page.
const SHOWN: u32 = 50;

/// What is searched for.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct Search {
    pub(super) actor: String,
    pub(super) action: String,
    pub(super) object: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) outcome: String,
    pub(super) severity: String,
    pub(super) before: Option<i64>,
}

impl Search {
    pub(super) fn filter(&self, db: &Db) -> Result<Result<Filter, String>, Fault> {
        let (since, until) = (
            about::moment(&self.since, false),
            about::moment(&self.until, true),
        );
        let (since, until) = match (since, until) {
            (Ok(since), Ok(until)) => (since, until),
            (Err(problem), _) | (_, Err(problem)) => return Ok(Err(problem)),
        };
        Ok(Ok(Filter {
            since,
            until,
            kind: about::some(&self.action),
            severity: about::severity(&self.severity),
            went: about::went(&self.outcome),
            actor: api::tagged(db, about::some(&self.actor))?,
            object: about::some(&self.object),
            generation: None,
            before: self.before.map(Seq),
            after: None,
        }))
    }

    fn pairs(&self) -> [(&'static str, &str); 7] {
        [
            ("actor", &self.actor),
            ("action", &self.action),
            ("object", &self.object),
            ("since", &self.since),
            ("until", &self.until),
            ("outcome", &self.outcome),
            ("severity", &self.severity),
        ]
    }

    /// The address of the same search on `page`, from before `before` on.
    fn href(&self, page: &str, before: Option<i64>) -> String {
        let mut parts: Vec<String> = self
            .pairs()
            .into_iter()
            .filter(|(_, value)| !value.trim().is_empty())
            .map(|(name, value)| format!("{name}={}", href::value(value.trim())))
            .collect();
        parts.extend(before.map(|seq| format!("before={seq}")));
        match parts.is_empty() {
            true => page.to_owned(),
            false => format!("{page}?{}", parts.join("&")),
        }
    }

    pub(super) fn asked(&self) -> Asked {
        let asked = Asked {
            actor: self.actor.clone(),
            action: self.action.clone(),
            object: self.object.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            ..Asked::default()
        };
        about::choices(asked, &self.outcome, &self.severity)
    }
}

/// `GET /audit`
pub(crate) async fn page(
    ctx: Ctx,
    search: Result<Query<Search>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(search) =
        search.map_err(|e| Fault::bad(e.body_text()).todo("use the page's form"))?;
    let mut frame = frame(&ctx, "Audit log", "Audit").await?;
    let (wanted, reader) = (search.clone(), ctx.principal.clone());
    let now = ctx.app.clock.now();
    let looked = ctx
        .app
        .read(move |db| {
            let filter = match wanted.filter(db)? {
                Ok(filter) => filter,
                Err(problem) => return Ok(Err(problem)),
            };
            let found = audit::search(db, &filter, SHOWN).map_err(Fault::internal)?;
            let mut things = Things::new(db, &reader);
            let rows = found
                .lines
                .iter()
                .map(|line| row(db, &mut things, line, now))
                .collect::<Result<Vec<_>, Fault>>()?;
            Ok(Ok((filter, found, rows)))
        })
        .await?;
    let (found, rows, problem) = match looked {
        Ok((filter, found, rows)) => {
            if !api::note_search(&ctx, api::searched(&filter)).await {
                frame.said.push(not_noted());
            }
            (found, rows, None)
        }
        Err(problem) => (Found::default(), Vec::new(), Some(sentence(&problem))),
    };
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let full = u32::try_from(rows.len()).is_ok_and(|n| n >= SHOWN);
            let last = found.lines.last().filter(|_| full).map(|line| line.seq);
            let next = last.or(found.reached).filter(|seq| seq.0 > 0);
            render(&Log {
                frame,
                tabs: about::tabs("Log"),
                seal: seal(&app)?,
                filtered: search.pairs().iter().any(|(_, v)| !v.trim().is_empty()),
                paged: search.before.is_some(),
                asked: search.asked(),
                problem,
                rows,
                reached: found.reached.map(|seq| count(seq.0.unsigned_abs())),
                newest: search.href("/audit", None),
                older: next.map(|seq| search.href("/audit", Some(seq.0))),
                export: search.href("/audit/export", None),
            })
        })
        .await
}

pub(super) fn not_noted() -> Said {
    Said {
        tone: "wait",
        text: "That you read this could not be noted in the log.".to_owned(),
    }
}

fn row(db: &Db, things: &mut Things<'_>, line: &Line, now: SystemTime) -> Result<EntryLine, Fault> {
    let entry: Value = serde_json::from_str(&line.text).unwrap_or_default();
    let text = |value: &Value| words::plain(value.as_str().unwrap_or_default());
    let id = entry["obj"]["id"].as_str().unwrap_or_default();
    let name = text(&entry["obj"]["name"]);
    let kind = text(&entry["act"]);
    Ok(EntryLine {
        seq: line.seq.0,
        at: words::when(about::at_ms(&entry), now),
        words: about::in_words(&kind),
        kind,
        who: about::who(db, line, &entry)?,
        object: if name.is_empty() {
            words::short(id)
        } else {
            name
        },
        object_href: things.href(id)?,
        state: about::outcome(&entry),
        why: text(&entry["why"]),
        grave: about::grave(&entry),
    })
}

/// How the log is sealed now. Blocking.
fn seal(app: &App) -> Result<SealView, Fault> {
    let now = app.clock.now();
    let (head, export, witness) = app.store.read(|db| -> Result<_, Fault> {
        let head = audit::head(db).map_err(Fault::internal)?;
        let export = newest(db, Kind::AuditExport.as_str(), now)?;
        Ok((head, export, newest(db, "audit.cosigned", now)?))
    })?;
    let size = head.size.unsigned_abs();
    let mut rows = vec![Fact {
        name: "newest entry".to_owned(),
        at: (head.size > 0).then(|| words::when(head.t_us / 1_000, now)),
        text: if head.size > 0 { "" } else { "none yet" }.to_owned(),
        ..Fact::default()
    }];
    let blocked = match app.auditor.state() {
        audit::State::Open => None,
        audit::State::Blocked(blocked) => Some(stopped(&blocked, now)),
    };
    let (mut root, mut key) = (None, None);
    let mut at = state("not sealed", "bad");
    if let Some(seal) = app.seal.as_deref() {
        at = sealed(seal, size, now, &mut rows, &mut root);
        key = Some(seal.key().to_string());
    }
    if blocked.is_some() {
        at = state("takes no entries", "bad");
    }
    for (name, found, none) in [
        ("last export", export, "never"),
        ("last witness", witness, "nobody has signed beside it"),
    ] {
        let fact = found.unwrap_or_else(|| Fact {
            text: none.to_owned(),
            ..Fact::default()
        });
        rows.push(Fact {
            name: name.to_owned(),
            ..fact
        });
    }
    Ok(SealView {
        state: at,
        entries: count(size),
        rows,
        root,
        key,
        blocked,
    })
}

/// `1 entry`, `12 345 entries`.
pub(super) fn count(n: u64) -> String {
    words::count(n, "entry")
}

fn stopped(blocked: &audit::Blocked, now: SystemTime) -> Stopped {
    Stopped {
        title: match blocked.cause {
            audit::Cause::Tampered => "This log was tampered with",
            _ => "This log takes no entries",
        },
        what: words::plain(&sentence(&blocked.what)),
        since: words::when(blocked.since_ms, now),
        todo: sentence(blocked.cause.todo()),
        refused: words::count(blocked.refused, "change"),
    }
}

/// What the checkpoint says of it, and how it agrees with the database.
fn sealed(
    seal: &Seal,
    size: u64,
    now: SystemTime,
    rows: &mut Vec<Fact>,
    root: &mut Option<String>,
) -> State {
    let mut fact = |name: &str, text: String, at| {
        rows.push(Fact {
            name: name.to_owned(),
            text,
            at,
            ..Fact::default()
        });
    };
    let signed = match seal.last() {
        Ok(signed) => signed.checkpoint,
        Err(error) => {
            fact("checkpoint", sentence(&error.to_string()), None);
            return state("not sealed", "bad");
        }
    };
    let at = seal
        .last_at()
        .ok()
        .map(|at| words::when(vocab::unix_ms(at), now));
    fact("last checkpoint", String::new(), at);
    let waiting = size.saturating_sub(signed.size);
    let under = match (waiting, signed.size > size) {
        (_, true) => format!("{}, more than the database has", count(signed.size)),
        (0, _) => "all of them".to_owned(),
        _ => format!(
            "{}; {} to come under the next",
            count(signed.size),
            count(waiting)
        ),
    };
    fact("under it", under, None);
    *root = Some(hex::encode(signed.root));
    match (waiting, signed.size > size) {
        (_, true) => state("shorter than sealed", "bad"),
        (0, _) => state("sealed", "ok"),
        _ => state("being sealed", "run"),
    }
}

/// The newest entry of a kind that was a success, as a fact with a link to it.
fn newest(db: &Db, kind: &str, now: SystemTime) -> Result<Option<Fact>, Fault> {
    let filter = Filter {
        kind: Some(kind.to_owned()),
        went: Some(audit::Went::As(audit::Out::Success)),
        ..Filter::default()
    };
    let lines = audit::list(db, &filter, 1).map_err(Fault::internal)?;
    let Some(line) = lines.first() else {
        return Ok(None);
    };
    let entry: Value = serde_json::from_str(&line.text).unwrap_or_default();
    Ok(Some(Fact {
        text: format!("by {}", about::who(db, line, &entry)?),
        href: Some(format!("/audit/{}", line.seq.0)),
        at: Some(words::when(about::at_ms(&entry), now)),
        ..Fact::default()
    }))
}
