//! Witnesses: their keys, what they sign outside, and what comes back in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use bundle::slip::{self, Have, SLIP_MAX_BYTES};
use evidence::manifest::Growth;
use evidence::note::{NOTE_MAX_BYTES, NoteKey, NoteSigner};
use evidence::witness::{Growing, Seen, WitnessError, consistent};
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::{Value, json};
use vocab::{Clock, Entropy, unix_ms};

use crate::cli::Witness;
use crate::client::{self, Client, Refusal};
use crate::cmd::bundle::{with_ending, write_new};
use crate::output;

/// What the file of a witness's private key begins with.
const PRIVATE: &str = "PRIVATE+KEY+";

pub(super) fn keygen(name: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let (public, secret) = (with_ending(name, "pub"), with_ending(name, "key"));
    let called = name.file_name().and_then(|name| name.to_str());
    let called = called.with_context(|| format!("{} has no name", name.display()))?;
    let seed = Entropy::system().bytes::<32>();
    let key = NoteSigner::new(called, &seed)?.cosigner();
    let private = format!("{PRIVATE}{called}+{}\n", hex::encode(seed));
    write_new(&secret, private.as_bytes(), 0o600)?;
    write_new(&public, format!("{key}\n").as_bytes(), 0o644)?;
    if as_json {
        output::json(&json!({ "key": key.to_string(), "public": public, "secret": secret }));
    } else {
        output::line(&key.to_string());
        output::line(&format!(
            "put this line under audit.witnesses in the appliance's config.toml; it stands in {}",
            public.display()
        ));
        output::line(&format!("{}  keep this", secret.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn signer(path: &Path) -> anyhow::Result<NoteSigner> {
    let path = match path.extension().is_some_and(|ending| ending == "key") {
        true => path.to_owned(),
        false => with_ending(path, "key"),
    };
    let shown = path.display();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
    let read = || {
        let (name, seed) = text.trim().strip_prefix(PRIVATE)?.split_once('+')?;
        let seed = hex::decode(seed).ok()?.try_into().ok()?;
        NoteSigner::new(name, &seed).ok()
    };
    read().with_context(|| format!("{shown} is no key that witness-key made"))
}

pub(super) fn witness(args: &Witness, as_json: bool) -> anyhow::Result<ExitCode> {
    let signer = signer(&args.key)?;
    let growing = state_of_log(&args.slip)?;
    let mut known = remembered(&args.state)?;
    let origin = growing.note.lines().next().unwrap_or_default().to_owned();
    let seen = known.get(&origin);
    let key = log_key(args, &origin, seen)?;
    let now = match consistent(&growing, &key, seen) {
        Ok(now) => now,
        Err(error) => return refused(&error, as_json),
    };
    let at_secs = u64::try_from(unix_ms(Clock::system().now()) / 1000)?;
    let note = signer.cosign(&now.text(), at_secs);
    // Remembered first: whoever is cut short here has signed nothing that anybody has.
    known.insert(
        origin.clone(),
        Seen {
            key: key.to_string(),
            size: now.size,
            root: hex::encode(now.root),
        },
    );
    remember(&args.state, &known)?;
    fs::write(&args.output, note)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    if as_json {
        let file = &args.output;
        output::json(&json!({ "log": origin, "size": now.size, "at": at_secs, "file": file }));
    } else {
        let file = args.output.display();
        output::line(&format!(
            "signed {} entries of {origin} in {file}",
            now.size
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(error: &WitnessError, as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        output::json(&json!({ "error": error.to_string() }));
    } else {
        eprintln!("cofferdam: not signed: {error}");
    }
    Ok(ExitCode::from(1))
}

fn state_of_log(path: &Path) -> anyhow::Result<Growing> {
    let shown = path.display();
    let facts = fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    if facts.len() > SLIP_MAX_BYTES {
        bail!("{shown} is too large for a slip");
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let (have, _) =
        slip::open::<Have>(&bytes, None).with_context(|| format!("cannot use {shown}"))?;
    let log = have.log.with_context(|| {
        format!("{shown} does not say how the audit log stands; write a slip with a newer program")
    })?;
    let growth = log.growth.into_iter();
    Ok(Growing {
        note: log.note,
        growth: growth
            .map(|(from, hashes)| Growth { from, hashes })
            .collect(),
    })
}

/// The key that the log must be signed with: what was seen first holds from then on.
fn log_key(args: &Witness, origin: &str, seen: Option<&Seen>) -> anyhow::Result<NoteKey> {
    let known: Option<NoteKey> = seen.map(|seen| seen.key.parse()).transpose()?;
    match (known, &args.log) {
        (Some(known), Some(given)) if known != *given => {
            bail!("the log of {origin} was seen with the key {known}, and {given} was given")
        }
        (Some(key), _) => Ok(key),
        (None, Some(given)) => Ok(given.clone()),
        (None, None) => bail!(
            "the log of {origin} was never seen here; give its key from the appliance's paper with \
             --log"
        ),
    }
}

fn remembered(path: &Path) -> anyhow::Result<BTreeMap<String, Seen>> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no state of a witness", path.display()))
}

fn remember(path: &Path, known: &BTreeMap<String, Seen>) -> anyhow::Result<()> {
    let new: PathBuf = with_ending(path, "new");
    let put = || {
        let mut file = fs::File::create(&new)?;
        std::io::Write::write_all(&mut file, serde_json::to_string_pretty(known)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

pub(super) async fn cosign(
    client: &Client,
    file: &Path,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let shown = file.display();
    let facts = fs::metadata(file).with_context(|| format!("cannot read {shown}"))?;
    if facts.len() > NOTE_MAX_BYTES as u64 {
        bail!("{shown} is too large for a cosignature");
    }
    let note = fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    let answer = client
        .send(
            Method::POST,
            "/api/v1/audit/cosigs",
            Some("text/plain"),
            client::full(note),
        )
        .await?;
    let answer = match client::accepted(answer).await {
        Err(error)
            if error
                .downcast_ref::<Refusal>()
                .is_some_and(|r| r.code.is_some()) =>
        {
            eprintln!("cofferdam: {error:#}");
            return Ok(ExitCode::from(1));
        }
        answer => answer?,
    };
    let bytes = answer
        .into_body()
        .collect()
        .await
        .context("the answer broke off")?;
    let taken: Value = serde_json::from_slice(&bytes.to_bytes())?;
    if as_json {
        output::json(&taken);
    } else {
        let name = output::text(&taken, "name");
        output::line(&format!(
            "{name} has seen the first {} entries",
            taken["size"]
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn status(client: &Client, as_json: bool) -> anyhow::Result<ExitCode> {
    let told: Value = client.get("/api/v1/audit/status").await?;
    if as_json {
        output::json(&told);
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!(
        "{} entries are sealed under {}",
        told["size"],
        output::text(&told, "root")
    ));
    let seen = told["witnesses"].as_array().map_or(&[][..], Vec::as_slice);
    for one in seen {
        output::line(&format!(
            "{} saw the first {} entries {} ago; {} came since",
            output::text(one, "name"),
            one["size"],
            output::duration(one["since_ms"].as_i64().unwrap_or_default()),
            one["unseen"]
        ));
    }
    for name in told["trusted"].as_array().map_or(&[][..], Vec::as_slice) {
        if !seen.iter().any(|one| one["name"] == *name) {
            let name = name.as_str().unwrap_or_default();
            output::line(&format!("{name} has seen nothing yet"));
        }
    }
    if told["trusted"] == json!([]) {
        output::line(
            "no witness is trusted here: nobody outside would see a log that was rolled back",
        );
    }
    Ok(ExitCode::SUCCESS)
}
