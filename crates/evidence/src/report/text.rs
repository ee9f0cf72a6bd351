//! Rows and pages as text: CSV and HTML, with every value made harmless.

use crate::verify::Verdict;

/// The fields of one line of the mapping: quotes only around whole fields.
pub(super) fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match (c, fields.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => fields.push(String::new()),
            (c, Some(field)) => field.push(c),
            _ => {}
        }
    }
    fields
}

/// One line; what a spreadsheet would take for a formula is kept from being one.
pub(super) fn csv_row(cells: &[String]) -> String {
    let cell = |text: &String| {
        let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            "'"
        } else {
            ""
        };
        match text.contains([',', '"', '\n', '\r']) || !guard.is_empty() {
            true => format!("\"{guard}{}\"", text.replace('"', "\"\"")),
            false => text.clone(),
        }
    };
    cells.iter().map(cell).collect::<Vec<_>>().join(",")
}

pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn html_row(cells: &[String]) -> String {
    let cells: String = cells
        .iter()
        .map(|cell| format!("<td>{}</td>", escaped(cell)))
        .collect();
    format!("<tr>{cells}</tr>\n")
}

pub(super) fn html_table(head: &str, rows: &str) -> String {
    let head: String = head
        .split(',')
        .map(|name| format!("<th scope=\"col\">{name}</th>"))
        .collect();
    format!(
        "<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

pub(super) fn html_intro(verdict: &Verdict) -> String {
    let mut body = String::from(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Audit report</title><style>body{font:15px/1.5 \
         system-ui,sans-serif;margin:0;color:#1b1f24}main{max-width:76rem;margin:auto;padding:1rem}\
         .wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px}td,th{text-align:left;\
         padding:.25rem .6rem;border-bottom:1px solid #d5d9de;vertical-align:top}\
         code{overflow-wrap:anywhere}</style><main><h1>Audit report</h1>\n",
    );
    body.push_str(&format!(
        "<p>The export has {} of the log <b>{}</b>: {} shown, {} by their hash alone. The \
         export was verified against the root <code>{}</code>, signed by <code>{}</code>.</p>\n\
         <p>This report names evidence toward controls. It does not say that a control is met, and \
         its mapping is to be checked against each framework's own text.</p>\n",
        verdict.range(),
        escaped(&verdict.origin),
        verdict.shown,
        verdict.hidden,
        verdict.root,
        escaped(&verdict.key)
    ));
    body
}
