//! `cofferdam audit`: lines as they come, searches, exports, and their verification.

mod beside;
mod redact;
mod witness;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use evidence::verify::{Anchors, Verdict, anchors_of};
use http_body_util::BodyExt as _;
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use sandbox::{Finding, FindingState};
use serde_json::{Value, json};
use vocab::{from_unix_ms, unix_ms};

use super::{admin, ask};
use crate::cli::{Audit, AuditVerb, Export, Global, Search, Verify};
use crate::client::{self, Client};
use crate::output;

/// How often whoever follows asks.
const BEAT: Duration = Duration::from_millis(500);

pub(super) fn run(global: &Global, args: Audit) -> anyhow::Result<ExitCode> {
    match args.verb {
        None => ask(global, async |client| {
            list(client, &args.search, global.json).await
        }),
        Some(AuditVerb::Search(search)) => ask(global, async |client| {
            list(client, &search, global.json).await
        }),
        Some(AuditVerb::Tail { search, follow }) => {
            ask(global, async |client| tail(client, &search, follow).await)
        }
        Some(AuditVerb::State) => ask(global, async |client| state(client, global.json).await),
        Some(AuditVerb::Redact(args)) => ask(global, async |client| {
            redact::redact(client, &args, global.json).await
        }),
        Some(AuditVerb::Export(args)) => ask(global, async |client| {
            export(client, &args, global.json).await
        }),
        Some(AuditVerb::Status) => ask(global, async |client| {
            witness::status(client, global.json).await
        }),
        Some(AuditVerb::Cosign { file }) => ask(global, async |client| {
            witness::cosign(client, &file, global.json).await
        }),
        Some(AuditVerb::WitnessKey { name }) => witness::keygen(&name, global.json),
        Some(AuditVerb::Witness(args)) => witness::witness(&args, global.json),
        Some(AuditVerb::Verify(args)) => {
            let verdict = judge(&args)?;
            told(&args.file, &verdict, global.json);
            Ok(ExitCode::from(u8::from(!verdict.good)))
        }
        Some(AuditVerb::Report { verify, output }) => {
            let verdict = judge(&verify)?;
            if verdict.good {
                evidence::report::write(&verify.file, &verdict, &output)
                    .with_context(|| format!("no report on {}", verify.file.display()))?;
            }
            told(&verify.file, &verdict, global.json);
            Ok(ExitCode::from(u8::from(!verdict.good)))
        }
    }
}

async fn state(client: &Client, as_json: bool) -> anyhow::Result<ExitCode> {
    let state: Value = client.get("/api/v1/audit/state").await?;
    let blocked = blocked(&state);
    match &blocked {
        _ if as_json => output::json(&state),
        Some((words, todo)) => output::line(&format!("{words}; {todo}")),
        None => output::line("the audit log takes entries"),
    }
    Ok(ExitCode::from(u8::from(blocked.is_some())))
}

/// What is in the log's way, and what to do, in words.
fn blocked(state: &Value) -> Option<(String, String)> {
    let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
    (state["state"] != "open").then(|| {
        let since = from_unix_ms(state["since_ms"].as_i64().unwrap_or(0));
        let since = jiff::Timestamp::try_from(since).unwrap_or_default();
        let words = format!(
            "the audit log takes no entries since {since:.0}: {}; {} changes were refused since, \
             {} entries were made by what goes on",
            text("what"),
            state["refused"],
            state["went_on"]
        );
        (words, text("todo"))
    })
}

/// What `doctor` says of the log of an appliance that serves now; nothing where none does.
pub(super) fn finding(global: &Global) -> Option<Finding> {
    if !global.data.join("control.sock").exists() {
        return None;
    }
    let state: Value = ask(global, async |client| {
        client.get("/api/v1/audit/state").await
    })
    .ok()?;
    let (state, words, mend) = match blocked(&state) {
        None => (
            FindingState::Ok,
            "it takes entries".to_owned(),
            String::new(),
        ),
        Some((words, todo)) => (FindingState::Missing, words, todo),
    };
    Some(Finding {
        name: "audit log".to_owned(),
        state,
        words,
        mend,
    })
}

/// An address's query, each value escaped.
fn query(pairs: &[(&str, Option<String>)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    text.push(char::from(byte));
                } else {
                    text.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
    text
}

fn ms(at: Option<SystemTime>) -> Option<String> {
    at.map(|at| unix_ms(at).to_string())
}

fn asked(search: &Search, after: Option<i64>) -> String {
    query(&[
        ("limit", Some(search.limit.to_string())),
        ("kind", search.action.clone()),
        ("actor", search.actor.clone()),
        ("object", search.object.clone()),
        ("since", ms(search.since)),
        ("until", ms(search.until)),
        ("after", after.map(|seq| seq.to_string())),
    ])
}

async fn list(client: &Client, search: &Search, as_json: bool) -> anyhow::Result<ExitCode> {
    let answer: Value = client
        .get(&format!("/api/v1/audit{}", asked(search, None)))
        .await?;
    if as_json {
        output::json(&answer);
    } else {
        for entry in admin::rows_of(&answer, "entries") {
            line(entry);
            redact::tell(&answer, entry);
        }
        if let Some(hint) = answer["hint"].as_str() {
            output::line(hint);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(entry: &Value) {
    output::line(
        &entry
            .as_str()
            .map_or_else(|| entry.to_string(), str::to_owned),
    );
}

/// One line an entry, the newest last; goes on with what comes.
async fn tail(client: &Client, search: &Search, follow: bool) -> anyhow::Result<ExitCode> {
    let mut beat = tokio::time::interval(BEAT);
    let mut after = None;
    loop {
        let path = format!("/api/v1/audit{}", asked(search, after));
        let answer: Value = client.get(&path).await?;
        for entry in admin::rows_of(&answer, "entries") {
            line(entry);
            redact::tell(&answer, entry);
            after = entry["seq"].as_i64().or(after);
        }
        if !follow {
            return Ok(ExitCode::SUCCESS);
        }
        // With nothing yet, everything that comes is new.
        after = after.or(Some(-1));
        beat.tick().await;
    }
}

async fn export(client: &Client, args: &Export, as_json: bool) -> anyhow::Result<ExitCode> {
    let earlier = match &args.previous {
        Some(path) => Some(anchor(path)?.1.size.to_string()),
        None => None,
    };
    let path = query(&[
        ("since", ms(args.from)),
        ("until", ms(args.to)),
        ("actor", args.actor.clone()),
        ("kind", args.action.clone()),
        ("object", args.object.clone()),
        ("names", args.with_names.then(|| "1".to_owned())),
        ("earlier", earlier),
    ]);
    let path = format!("/api/v1/audit/export{path}");
    let answer = client
        .send(Method::GET, &path, None, client::empty())
        .await?;
    let answer = client::accepted(answer).await?;
    let entries = answer.headers().get("x-cofferdam-entries");
    let entries = entries
        .and_then(|n| n.to_str().ok())
        .unwrap_or("?")
        .to_owned();
    let out = &args.output;
    let mut file = std::fs::File::create_new(out)
        .with_context(|| format!("cannot make {}; -o takes a new file", out.display()))?;
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {bytes}, {bytes_per_sec}") {
        bar.set_style(style);
    }
    bar.set_message(format!("exporting {entries} entries"));
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.context("the server broke off")?.into_data() {
            file.write_all(&data)
                .with_context(|| format!("cannot write {}", out.display()))?;
            bar.inc(data.len() as u64);
        }
    }
    file.sync_all()
        .with_context(|| format!("cannot sync {}", out.display()))?;
    bar.set_message("verifying");
    let verdict = beside::judge(out, &Anchors::default())?;
    bar.finish_and_clear();
    if !verdict.good {
        bail!(
            "the export in {} is not whole ({}); export again",
            out.display(),
            verdict.findings.first().map_or("", |f| f.what.as_str())
        );
    }
    told(out, &verdict, as_json);
    Ok(ExitCode::SUCCESS)
}

fn anchor(
    path: &Path,
) -> anyhow::Result<(evidence::note::NoteKey, evidence::checkpoint::Checkpoint)> {
    anchors_of(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .with_context(|| format!("{} is no export of an audit log", path.display()))
}

/// What an export is worth, with all that the auditor brings along.
fn judge(args: &Verify) -> anyhow::Result<Verdict> {
    let previous = args.previous.as_deref().map(anchor).transpose()?;
    let (earlier_key, previous) = previous.unzip();
    if let (Some(given), Some(earlier)) = (&args.key, &earlier_key)
        && given != earlier
    {
        bail!("the earlier export is not by the key that was given, but by {earlier}");
    }
    let anchors = Anchors {
        key: args.key.clone().or(earlier_key),
        previous,
        witnesses: args.witnesses.clone(),
    };
    beside::judge(&args.file, &anchors)
}

fn told(path: &Path, verdict: &Verdict, as_json: bool) {
    if as_json {
        output::json(&json!(verdict));
        return;
    }
    let name = path.display();
    for finding in &verdict.findings {
        let file = if finding.file.is_empty() {
            "the export"
        } else {
            &finding.file
        };
        output::line(&format!(
            "refused: {file} (byte {}): {}",
            finding.offset, finding.what
        ));
    }
    if !verdict.good {
        return output::line(&format!("{name}: REFUSED"));
    }
    output::line(&format!(
        "{name}: good: {} of {}; {} shown, {} by their hash alone",
        verdict.range(),
        verdict.origin,
        verdict.shown,
        verdict.hidden
    ));
    if let Some(old) = verdict.continues {
        output::line(&format!("it continues the earlier export of {old} entries"));
    }
    if verdict.statements > 0 {
        let (count, key) = (verdict.statements, &verdict.statements_key);
        output::line(&format!(
            "{count} signed statements of jobs, by the key {key}"
        ));
    }
    if let Some(from) = verdict.statements_from {
        output::line(&format!(
            "statements that entries before {from} name are not in it: export a shorter range"
        ));
    }
    for witness in &verdict.witnesses {
        output::line(&format!("witnessed by {witness}"));
    }
    verdict.notes.iter().for_each(|note| output::line(note));
    output::line(&format!("signed by {}", verdict.key));
    if !verdict.key_given {
        output::line("compare this key with the appliance's paper, or give it with --key");
    }
}
