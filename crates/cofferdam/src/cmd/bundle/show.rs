//! What the bundle verbs show on a terminal. Names from a medium never steer it.

use std::process::ExitCode;

use serde_json::Value;

use crate::output::{self, line, text};

/// The text with everything that could steer a terminal written out.
pub(super) fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .map(|c| {
            if steers(c) {
                c.escape_unicode().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

pub(super) fn names(signers: &Value) -> String {
    let all = signers.as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<String> = all
        .iter()
        .map(|s| format!("{} ({})", text(s, "name"), text(s, "key")))
        .collect();
    names.join(", ")
}

/// 1 when the appliance would refuse it.
pub(super) fn verdict_code(told: &Value) -> ExitCode {
    if told["judged"]["verdict"] == "refused" {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    }
}

pub(super) fn verdict(told: &Value) {
    let bundle = &told["bundle"];
    line(&format!(
        "{} {} {}, content {}: the signatures hold",
        text(bundle, "product"),
        text(bundle, "channel"),
        bundle["seq"],
        text(bundle, "content")
    ));
    line(&format!("  signed by  {}", names(&bundle["signers"])));
    line(&format!("  under      root statement {}", bundle["root"]));
    line(&format!("  manifest   {}", text(bundle, "manifest")));
    line(&format!(
        "  dates      locked on {}, to be imported until {}",
        text(bundle, "created"),
        text(bundle, "not_after")
    ));
    line(&format!(
        "  holds      {} items, {} blobs, {} volumes, {}",
        bundle["items"],
        bundle["blobs"],
        list(bundle, "volumes").len(),
        output::bytes(number(&bundle["size_bytes"]))
    ));
    for stray in list(told, "strays") {
        let name = stray.as_str().unwrap_or_default();
        line(&format!(
            "  not read   {} belongs to no bundle",
            plain(name)
        ));
    }
    let judged = &told["judged"];
    match judged["verdict"].as_str() {
        Some("new") => line(&format!("  here       new: {}", cost(told))),
        Some("already") => line("  here       it is active already"),
        Some(_) => line(&format!(
            "  here       refused: {}: {}",
            text(judged, "code"),
            plain(&text(judged, "error"))
        )),
        None => {}
    }
}

fn cost(told: &Value) -> String {
    let mut words = format!(
        "{} blobs to read, {}",
        told["missing_blobs"],
        output::bytes(number(&told["missing_bytes"]))
    );
    if let Some(seconds) = told["seconds"].as_i64() {
        words.push_str(&format!(", about {}", output::duration(seconds * 1000)));
    }
    let unpack = number(&told["unpack_bytes"]);
    if unpack > 0 {
        words.push_str(&format!(", {} more unpacked", output::bytes(unpack)));
    }
    words.push_str(&format!(
        "; {} are free",
        output::bytes(number(&told["free_bytes"]))
    ));
    words
}

pub(super) fn diff(told: &Value) {
    verdict(told);
    changes(&told["diff"]);
}

fn changes(diff: &Value) {
    let rows = |list: &[Value], sign: &str| -> Vec<Vec<String>> {
        list.iter()
            .map(|c| vec![sign.to_owned(), text(c, "key"), short(&text(c, "value"))])
            .collect()
    };
    let mut all = rows(list(diff, "added"), "+");
    all.extend(list(diff, "moved").iter().map(|m| {
        let (from, to) = (short(&text(m, "from")), short(&text(m, "to")));
        vec!["~".to_owned(), text(m, "key"), format!("{from} → {to}")]
    }));
    all.extend(rows(list(diff, "retired"), "-"));
    if all.is_empty() {
        line(&format!(
            "nothing changes; {} items stay",
            diff["unchanged"]
        ));
        return;
    }
    output::table(&["", "what", "version or digest"], &all);
    line(&format!("{} items stay as they are", diff["unchanged"]));
    if !diff["program"].is_null() {
        let program = &diff["program"];
        line(&format!(
            "brings the program and runner {}",
            text(program, "value")
        ));
    }
    let touched: Vec<Vec<String>> = list(diff, "touched")
        .iter()
        .map(|t| {
            vec![
                text(t, "repo"),
                text(t, "path"),
                text(t, "name"),
                format!("{} {}", text(t, "key"), text(t, "how")),
            ]
        })
        .collect();
    if touched.is_empty() {
        line("no workflow of ours uses what changes");
    } else {
        output::table(&["repo", "workflow", "uses", "which"], &touched);
    }
}

/// A digest without most of its digits; other texts up to a line's worth.
fn short(value: &str) -> String {
    if let Some(hex) = value.strip_prefix("sha256:").and_then(|hex| hex.get(..12)) {
        return hex.to_owned();
    }
    if value.chars().count() > 60 {
        let mut cut: String = value.chars().take(59).collect();
        cut.push('…');
        return cut;
    }
    value.to_owned()
}

pub(super) fn imported(end: &Value) {
    let bundle = &end["bundle"];
    for notice in list(end, "notices") {
        line(&plain(notice.as_str().unwrap_or_default()));
    }
    if end["generation"].is_null() {
        return;
    }
    line(&format!(
        "{} {} {} is active as generation {}: {} read in {}, {}/s",
        text(bundle, "product"),
        text(bundle, "channel"),
        bundle["seq"],
        end["generation"],
        output::bytes(number(&end["bytes"]["done"])),
        output::duration(end["elapsed_ms"].as_i64().unwrap_or_default()),
        output::bytes(number(&end["rate"]))
    ));
}

pub(super) fn undone(told: &Value) {
    went_back("went back", told);
}

pub(super) fn would_undo(told: &Value) {
    went_back("would go back", told);
}

fn went_back(how: &str, told: &Value) {
    let bundle = &told["bundle"];
    line(&format!(
        "{how} from generation {} to {}: {} {} {}",
        told["from"],
        told["to"],
        text(bundle, "product"),
        text(bundle, "channel"),
        bundle["seq"]
    ));
    changes(&told["diff"]);
    if number(&told["lacking"]) > 0 {
        line(&format!(
            "{} blobs of it are damaged or missing; `cofferdam bundle need` asks for them",
            told["lacking"]
        ));
    }
}

pub(super) fn history(told: &Value) {
    let rows: Vec<Vec<String>> = list(told, "generations")
        .iter()
        .map(|g| {
            let bundle = &g["bundle"];
            let state = if g["active"] == true {
                "active"
            } else if g["retained"] == true {
                "kept"
            } else {
                "collected"
            };
            vec![
                g["generation"].to_string(),
                state.to_owned(),
                text(bundle, "channel"),
                bundle["seq"].to_string(),
                text(bundle, "content"),
                output::time(&g["made_ms"]),
                names(&bundle["signed"]["signers"]),
            ]
        })
        .collect();
    if rows.is_empty() {
        line("nothing was imported yet; `cofferdam bundle import MEDIUM` does it");
    } else {
        let head = [
            "generation",
            "state",
            "channel",
            "seq",
            "content",
            "imported",
            "signed by",
        ];
        output::table(&head, &rows);
    }
    for bundle in list(told, "unfinished") {
        line(&format!(
            "unfinished: {} {} {}, {}; run the same import again, or give it up with `bundle gc \
             --abandon`",
            text(bundle, "product"),
            text(bundle, "channel"),
            bundle["seq"],
            text(bundle, "state")
        ));
    }
}

pub(super) fn collected(told: &Value) {
    went("removed", told);
}

pub(super) fn would_collect(told: &Value) {
    went("would remove", told);
}

fn went(how: &str, told: &Value) {
    line(&format!(
        "{how} {} blobs, {}; {} generations are not kept any more",
        told["blobs"],
        output::bytes(number(&told["bytes"])),
        told["generations"]
    ));
}

pub(super) fn scrubbed(told: &Value) {
    let last = &told["last"];
    line(&format!(
        "read {} blobs, {}: {} damaged or missing",
        last["blobs"],
        output::bytes(number(&last["bytes"])),
        last["bad"]
    ));
    for blob in list(told, "damaged") {
        line(&format!("  {}", blob.as_str().unwrap_or_default()));
    }
    if last["ended_ms"].is_null() {
        line("it did not come to its end; the next scrub goes on there");
    }
}

pub(super) fn key(key: &Value) {
    line(key["public"].as_str().unwrap_or_default().trim_end());
}

pub(super) fn trust(told: &Value) {
    match told["fingerprint"].as_str() {
        None => line("nobody is believed yet; type the fingerprint: cofferdam bundle trust …"),
        Some(text) => line(&format!("pinned     {}", groups(text))),
    }
    for kept in list(told, "statements") {
        line(&format!(
            "statement  {} of {}, accepted {}",
            kept["number"],
            text(kept, "site"),
            output::time(&kept["accepted"])
        ));
        for role in ["root", "release"] {
            let keys: Vec<String> = list(&kept[role], "keys")
                .iter()
                .map(|k| format!("{} ({})", text(k, "name"), text(k, "id")))
                .collect();
            line(&format!(
                "           {role}: {} of {}",
                kept[role]["threshold"],
                keys.join(", ")
            ));
        }
    }
}

/// Digits as people read them aloud.
fn groups(hex: &str) -> String {
    let bytes: Vec<&str> = (0..hex.len())
        .step_by(4)
        .filter_map(|at| hex.get(at..(at + 4).min(hex.len())))
        .collect();
    bytes.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t53_names_cannot_steer_a_terminal() {
        let shown = plain("a\u{1b}[31mred\u{202e}txt\nnext\u{200f}");
        assert!(shown.chars().all(|c| !c.is_control()), "{shown}");
        assert_eq!(shown, "a\\u{1b}[31mred\\u{202e}txt\\u{a}next\\u{200f}");
        assert_eq!(plain("débian-12"), "débian-12");
    }
}
