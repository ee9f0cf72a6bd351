//! One entry: its fields in words, its exact line, and its way up to the signed root.

use std::collections::BTreeMap;

use audit::{Entry, Kind, Line, Proof, SealError, Seq, Signed};
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use evidence::tree::{climb, leaf_hash};
use serde_json::Value;
use store::Db;

use super::audit::not_noted;
use super::audit_about::{self as about, Things};
use super::{frame, render};
use crate::api::audit as api;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::respond::sentence;
use crate::state::App;
use crate::view::audit::{EntryPage, Fact, Hex, ProofView, StepView};
use crate::words;

/// What the database has of one entry.
struct Seen {
    line: Line,
    entry: Value,
    facts: Vec<Fact>,
    details: Vec<Fact>,
    size: i64,
}

/// `GET /audit/{id}`
pub(crate) async fn page(ctx: Ctx, Path(seq): Path<i64>) -> Result<Response, Fault> {
    let mut frame = frame(&ctx, &format!("Audit entry {seq}"), "Audit").await?;
    let (reader, now) = (ctx.principal.clone(), ctx.app.clock.now());
    let seen = ctx
        .app
        .read(move |db| {
            let line = one(db, seq)?;
            let entry: Value = serde_json::from_str(&line.text).unwrap_or_default();
            let opened = audit::openings(db, line.seq).map_err(Fault::internal)?;
            let opened: BTreeMap<String, String> = opened.into_iter().collect();
            let mut things = Things::new(db, &reader);
            Ok(Seen {
                facts: facts(&entry, &opened, &mut things)?,
                details: details(&entry, &opened),
                size: audit::head(db).map_err(Fault::internal)?.size,
                line,
                entry,
            })
        })
        .await?;
    let looked = Entry::success(Kind::AuditSearch).detail("entry", seq);
    let noted = api::note_search(&ctx, looked).await;
    if !noted {
        frame.said.push(not_noted());
    }
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let Seen { line, entry, .. } = &seen;
            let kind = words::plain(entry["act"].as_str().unwrap_or_default());
            let leaf = leaf_hash(line.text.as_bytes());
            let (proof, no_proof) = proof(&app, line);
            render(&EntryPage {
                frame,
                seq,
                title: about::in_words(&kind),
                kind,
                state: about::outcome(entry),
                grave: about::grave(entry),
                at: words::when(about::at_ms(entry), now),
                text: line.text.clone(),
                leaf: Hex::of(&line.leaf),
                changed: (leaf != line.leaf).then(|| hex::encode(leaf)),
                proof,
                no_proof,
                earlier: (seq > 0).then(|| seq - 1),
                later: (seq + 1 < seen.size).then_some(seq + 1),
                facts: seen.facts,
                details: seen.details,
                noted,
            })
        })
        .await
}

fn one(db: &Db, seq: i64) -> Result<Line, Fault> {
    let line = audit::line(db, Seq(seq)).map_err(Fault::internal)?;
    line.ok_or_else(|| Fault::missing(format!("audit entry {seq}")))
}

/// `GET /audit/{id}/line`: the exact bytes, without a line end.
pub(crate) async fn line(ctx: Ctx, Path(seq): Path<i64>) -> Result<Response, Fault> {
    let line = ctx.app.read(move |db| one(db, seq)).await?;
    Ok(file(
        &format!("entry-{seq}.json"),
        "application/json",
        line.text,
    ))
}

/// `GET /audit/{id}/tlog-proof`: the proof as other tools read it.
pub(crate) async fn tlog_proof(ctx: Ctx, Path(seq): Path<i64>) -> Result<Response, Fault> {
    let app = ctx.app.clone();
    let text = ctx
        .app
        .off(move || {
            let line = app.store.read(|db| one(db, seq))?;
            match prove(&app, &line)? {
                Ok(proof) => Ok(evidence::tlog_proof::write(
                    proof.index,
                    &proof.hashes,
                    &proof.signed.note,
                )),
                Err(why) => Err(Fault::conflict(why).todo("try again in a few seconds")),
            }
        })
        .await?;
    let name = format!("entry-{seq}.tlog-proof");
    Ok(file(&name, "text/plain; charset=utf-8", text))
}

fn file(name: &str, kind: &'static str, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, text).into_response()
}

/// The fields in words, with links to what they name.
fn facts(
    entry: &Value,
    opened: &BTreeMap<String, String>,
    things: &mut Things<'_>,
) -> Result<Vec<Fact>, Fault> {
    let text = |pointer: &str| {
        let value = entry.pointer(pointer).and_then(Value::as_str);
        words::plain(value.unwrap_or_default())
    };
    let mut out = Vec::new();
    let mut add = |name: &str, fact: Fact| {
        if !fact.text.is_empty() {
            out.push(Fact {
                name: name.to_owned(),
                ..fact
            });
        }
    };
    let plain = |text: String| Fact {
        text,
        ..Fact::default()
    };
    let id = text("/who/id");
    let name = opened.get("who.name_c").map(|name| words::plain(name));
    add(
        "who",
        Fact {
            more: Some(about::about(&id)),
            ..plain(match name {
                Some(name) => format!("{name} ({id})"),
                None if entry["who"]["name_c"].is_string() => format!("redacted ({id})"),
                None => id,
            })
        },
    );
    add("with", plain(text("/who/cred")));
    let address = opened.get("src.ip_c").map(|ip| words::plain(ip));
    let port = entry["src"]["port"].as_u64();
    add(
        "came by",
        plain(match (address, port) {
            (Some(ip), Some(port)) => format!("{} from {ip} port {port}", text("/src/via")),
            (None, Some(port)) => {
                format!(
                    "{} from an address that was redacted, port {port}",
                    text("/src/via")
                )
            }
            _ => text("/src/via"),
        }),
    );
    let object = text("/obj/id");
    let named = [text("/obj/type"), text("/obj/name")].join(" ");
    add(
        "about",
        Fact {
            href: things.href(&object)?,
            more: (!object.is_empty()).then(|| about::about_object(&object)),
            ..plain(match object.is_empty() {
                true => String::new(),
                false => format!("{} ({})", named.trim(), words::short(&object)),
            })
        },
    );
    let job = text("/link/job");
    add(
        "in job",
        Fact {
            href: things.href(&job)?,
            more: (!job.is_empty()).then(|| about::about_object(&job)),
            ..plain(job)
        },
    );
    if let Some(parent) = entry["link"]["parent"].as_i64() {
        add(
            "follows from",
            Fact {
                href: Some(format!("/audit/{parent}")),
                ..plain(format!("entry {parent}"))
            },
        );
    }
    add(
        "why not",
        Fact {
            code: true,
            ..plain(text("/why"))
        },
    );
    add("weight", plain(weight(entry).to_owned()));
    if entry["clk"] == "floor" {
        let note = "the clock had gone back; this is the time of the entry before";
        add("clock", plain(note.to_owned()));
    }
    if let Some(generation) = entry["gen"].as_i64().filter(|n| *n > 0) {
        add("served then", plain(format!("generation {generation}")));
    }
    add("appliance", plain(text("/host")));
    add(
        "boot",
        Fact {
            code: true,
            ..plain(text("/boot"))
        },
    );
    add(
        "request",
        Fact {
            code: true,
            ..plain(text("/link/req"))
        },
    );
    Ok(out)
}

fn weight(entry: &Value) -> &'static str {
    match entry["sev"].as_u64() {
        Some(1) => "1 of 5, routine",
        Some(2) => "2 of 5, a change, or refused",
        Some(3) => "3 of 5, sensitive",
        Some(4) => "4 of 5, alarming",
        Some(5) => "5 of 5, critical",
        _ => "",
    }
}

/// The details of its kind; what was committed to is opened where it is still kept.
fn details(entry: &Value, opened: &BTreeMap<String, String>) -> Vec<Fact> {
    let Some(details) = entry["d"].as_object() else {
        return Vec::new();
    };
    details
        .iter()
        .map(|(key, value)| {
            let open = opened.get(&format!("d.{key}"));
            let hidden = key.strip_suffix("_c").filter(|_| value.is_string());
            let text = match (open, value) {
                (Some(open), _) => open.clone(),
                (None, Value::String(text)) if hidden.is_some() => format!("redacted ({text})"),
                (None, Value::String(text)) => text.clone(),
                (None, other) => other.to_string(),
            };
            Fact {
                name: words::plain(hidden.unwrap_or(key)),
                text: words::plain(&text),
                code: open.is_none(),
                note: match (open, hidden) {
                    (Some(_), _) => "kept beside the log",
                    (None, Some(_)) => "the commitment stays in the line; its value was deleted",
                    (None, None) => "",
                },
                ..Fact::default()
            }
        })
        .collect()
}

/// The proof of a line, or why there is none yet.
fn prove(app: &App, line: &Line) -> Result<Result<Proof, String>, Fault> {
    let Some(seal) = app.seal.as_deref() else {
        return Ok(Err(api::no_seal(app).error));
    };
    match seal.prove(u64::try_from(line.seq.0).unwrap_or(u64::MAX)) {
        Ok(proof) => Ok(Ok(proof)),
        Err(SealError::Outside { .. }) => Ok(Err(
            "the next checkpoint, in a second or so, has it".to_owned()
        )),
        Err(error) => Ok(Err(error.to_string())),
    }
}

fn proof(app: &App, line: &Line) -> (Option<ProofView>, String) {
    let proof = match prove(app, line) {
        Ok(Ok(proof)) => proof,
        Ok(Err(why)) => return (None, words::plain(&sentence(&why))),
        Err(fault) => return (None, sentence(&fault.error)),
    };
    let checkpoint = &proof.signed.checkpoint;
    let steps = climb(&line.leaf, proof.index, checkpoint.size, &proof.hashes);
    let steps = steps.unwrap_or_default();
    let top = steps.last().map_or(line.leaf, |step| step.above);
    let mut own = line.leaf;
    let mut shown = Vec::new();
    for (level, step) in (1..).zip(&steps) {
        shown.push(StepView {
            level,
            beside: Hex::of(&step.beside),
            own: Hex::of(&own),
            left: step.left,
        });
        own = step.above;
    }
    let key = app.seal.as_ref().map(|seal| seal.key().to_string());
    let key = key.unwrap_or_default();
    let hashed = leaf_hash(line.text.as_bytes()) == line.leaf;
    let view = ProofView {
        holds: hashed && top == checkpoint.root,
        size: super::audit::count(checkpoint.size),
        count: words::count(shown.len() as u64, "step"),
        root: Hex::of(&checkpoint.root),
        note: proof.signed.note.clone(),
        check: by_hand(line.seq.0, &shown, &proof.signed, &key),
        steps: shown,
        key,
    };
    (Some(view), String::new())
}

/// What checks it with a shell and openssl: from the line to the root, and the root's signature.
fn by_hand(seq: i64, steps: &[StepView], signed: &Signed, key: &str) -> String {
    let note = &signed.note;
    let mut text = format!(
        "# Where entry-{seq}.json is, the line as it is downloaded here. The signed checkpoint:\n\
         set -e\n\
         cat > checkpoint <<'END'\n{note}END\n\n\
         # The leaf is SHA-256 of a zero byte and the line.\n\
         {{ printf '\\000'; cat entry-{seq}.json; }} | sha256sum\n\n\
         # The way up: each hash is SHA-256 of a one byte, the left hash and the right one.\n\
         sha() {{ openssl dgst -sha256 -binary; }}\n\
         bytes() {{ printf \"$(echo \"$1\" | fold -w 2 | while read -r h; do printf '\\\\%03o' \"0x$h\"; done)\"; }}\n\
         {{ printf '\\000'; cat entry-{seq}.json; }} | sha > h0\n"
    );
    for step in steps {
        let (below, level, beside) = (step.level - 1, step.level, &step.beside);
        let pair = match step.left {
            true => format!("bytes {beside}; cat h{below}"),
            false => format!("cat h{below}; bytes {beside}"),
        };
        text.push_str(&format!("{{ printf '\\001'; {pair}; }} | sha > h{level}\n"));
    }
    let top = steps.len();
    // The third part is base64, which has plus signs of its own.
    let public = key.splitn(3, '+').nth(2).unwrap_or_default();
    let root = base64::engine::general_purpose::STANDARD.encode(signed.checkpoint.root);
    text.push_str(&format!(
        "test \"$(openssl base64 < h{top})\" = \"$(sed -n 3p checkpoint)\"   # {root}\n\n\
         # The checkpoint is signed by the key on the appliance's paper.\n\
         {{ printf '\\060\\052\\060\\005\\006\\003\\053\\145\\160\\003\\041\\000'\n  \
         echo {public} | openssl base64 -d -A | tail -c +2; }} > key\n\
         sed '/^$/,$d' checkpoint > text\n\
         sed -n 's/^— [^ ]* //p' checkpoint | head -n 1 | tr -d '\\n' | openssl base64 -d -A | tail -c +5 > sig\n\
         openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in text -sigfile sig\n"
    ));
    text
}
