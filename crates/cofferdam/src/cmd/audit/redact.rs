//! Redaction: what is asked for, and where lines have lost a value.

use std::process::ExitCode;

use hyper::Method;
use serde_json::{Value, json};

use crate::cli::Redact;
use crate::client::Client;
use crate::output;

pub(super) async fn redact(
    client: &Client,
    args: &Redact,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut wish = json!({ "reason": args.reason });
    if let Some(seq) = args.seq {
        wish["seq"] = seq.into();
    }
    for (key, value) in [("field", &args.field), ("person", &args.person)] {
        if let Some(value) = value {
            wish[key] = value.as_str().into();
        }
    }
    let done: Value = client
        .call(Method::POST, "/api/v1/audit/redactions", Some(wish))
        .await?;
    if as_json {
        output::json(&done);
        return Ok(ExitCode::SUCCESS);
    }
    let noted: Vec<String> = done["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect();
    output::line(&format!(
        "{} values deleted; noted in entry {}",
        done["values"],
        noted.join(", ")
    ));
    if done["gone_from_disk"] == false {
        output::line(
            "a reader is in the way: cofferdam.db-wal has them until the next redaction or restart",
        );
    }
    output::line("backups and exports that were made before still have them");
    Ok(ExitCode::SUCCESS)
}

/// Says below a line which of its values were redacted.
pub(super) fn tell(answer: &Value, entry: &Value) {
    let seq = entry["seq"].to_string();
    let fields: Vec<&str> = answer["redacted"][&seq]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !fields.is_empty() {
        output::line(&format!("# {seq}: redacted: {}", fields.join(", ")));
    }
}
