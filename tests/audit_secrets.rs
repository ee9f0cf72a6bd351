//! Story: a job does what it can to bring a secret into the audit log, in forty encodings. The
//! control does the same with a variable, which nothing hides, and all of it is found.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};
use stories::Site;
use testkit::{Result, http};

const REPO: &str = "lab/app";
const SECRET: &str = "s3cr3t/Pa<ss>w\"ord&42\\n%x y";

/// Entries show at least so many characters of a job's name.
const SHOWN: usize = 80;

/// How tools write the secret down, without the code that hides it.
fn encodings() -> Vec<String> {
    let bytes = SECRET.as_bytes();
    let mut all = BTreeSet::from([SECRET.to_owned(), SECRET.chars().rev().collect()]);
    for before in ["", "x", "xy", "abc", "abcd", "user:", "user:me:"] {
        let text = format!("{before}{SECRET}");
        for engine in [STANDARD, URL_SAFE] {
            all.insert(engine.encode(&text));
            all.insert(engine.encode(engine.encode(&text)));
        }
    }
    let utf16: Vec<u8> = SECRET.encode_utf16().flat_map(u16::to_le_bytes).collect();
    all.insert(STANDARD.encode(utf16));
    let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    for between in ["", " ", ":", "\\x"] {
        all.insert(hex.join(between));
        all.insert(hex.join(between).to_uppercase());
    }
    for keep in ["-_.~", "-_.~!'()*", "-_.~/"] {
        let escaped = |upper: bool| -> String {
            let one = |&b: &u8| match b {
                b if b.is_ascii_alphanumeric() || keep.as_bytes().contains(&b) => {
                    char::from(b).to_string()
                }
                b if upper => format!("%{b:02X}"),
                b => format!("%{b:02x}"),
            };
            bytes.iter().map(one).collect()
        };
        all.extend([escaped(true), escaped(false)]);
        all.insert(escaped(true).replace("%20", "+"));
    }
    let quoted = json!(SECRET).to_string();
    let inner = &quoted[1..quoted.len() - 1];
    all.insert(inner.to_owned());
    all.insert(inner.replace('/', "\\/"));
    all.insert(inner.replace('\\', "\\\\").replace('"', "\\\""));
    let html = SECRET
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    all.insert(html.replace('"', "&quot;"));
    all.insert(html.replace('"', "&#34;"));
    all.insert(html);
    all.into_iter().collect()
}

/// A workflow that carries `value`, an expression, into each text of a job that an entry has: the
/// reasons of failed jobs, the name of a step, and, as outputs, the names of later jobs.
fn workflow(value: &str) -> String {
    let outputs: Vec<String> = (0..encodings().len()).map(|i| format!("o{i}")).collect();
    let mut text =
        "on: push\njobs:\n  gives:\n    runs-on: ubuntu-latest\n    outputs:\n".to_owned();
    for name in outputs.iter().chain([&"plain".to_owned()]) {
        text += &format!("      {name}: ${{{{ steps.say.outputs.{name} }}}}\n");
    }
    text += &format!(
        "    steps:\n      - id: say\n        env:\n          KEY: ${{{{ {value} }}}}\n        run: |\n          \
         cat >> \"$GITHUB_OUTPUT\" <<'END'\n          plain=nothing to hide\n"
    );
    for (name, encoded) in outputs.iter().zip(encodings()) {
        text += &format!("          {name}={encoded}\n");
    }
    text += "          END\n";
    text += "  named:\n    needs: gives\n    runs-on: ubuntu-latest\n    strategy:\n      fail-fast: false\n      \
             matrix:\n        o: ${{ fromJSON(toJSON(needs.gives.outputs.*)) }}\n    \
             name: got ${{ matrix.o }}\n    steps:\n      - run: exit 0\n";
    text += &format!(
        "  quoted:\n    runs-on: ubuntu-latest\n    env:\n      X: ${{{{ format(format('{{{{{{0}}', {value})) }}}}\n    \
         steps:\n      - run: exit 0\n"
    );
    text += &format!(
        "  failing:\n    runs-on: ubuntu-latest\n    steps:\n      - name: step ${{{{ {value} }}}}\n        run: exit 3\n"
    );
    text
}

/// All texts of all entries after a push of that workflow.
fn texts(site: &Site, url: &str, value: &str) -> Result<Vec<String>> {
    let tree = site.tree_with("tree", &workflow(value))?;
    let (code, log) = site.push_and_watch(&tree, url, REPO)?;
    assert_eq!(code, 1, "{log}");
    let answer = site
        .appliance
        .json(&["audit", "search", "--limit", "1000"])?;
    let mut found = Vec::new();
    gather(&answer, &mut found);
    for kind in ["gives", "got nothing to hide", "quoted", "failing"] {
        assert!(
            found.iter().any(|text| text == kind),
            "no job {kind}: {found:#?}"
        );
    }
    Ok(found)
}

fn gather(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
        Value::Object(map) => map.values().for_each(|item| gather(item, found)),
        _ => {}
    }
}

/// Whether an entry has it, as far as entries show long names.
fn has(texts: &[String], needle: &str) -> bool {
    let shown: String = needle.chars().take(SHOWN).collect();
    texts.iter().any(|text| text.contains(&shown))
}

#[test]
fn a_secret_is_in_no_entry_in_any_encoding() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    site.appliance
        .ok_with_input(&["secret", "set", REPO, "KEY"], SECRET)?;
    let texts = texts(&site, &url, "secrets.KEY")?;
    for encoded in encodings() {
        assert!(!has(&texts, &encoded), "{encoded}: {texts:#?}");
    }
    // What would have told it is there, with the secret taken out.
    assert!(has(&texts, "format string is invalid: {***"), "{texts:#?}");
    assert!(has(&texts, "step 'step ***'"), "{texts:#?}");
    assert!(!has(&texts, "s3cr3t"), "{texts:#?}");
    Ok(())
}

#[test]
fn control_what_is_no_secret_gets_into_entries_each_way() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let body = json!({ "value": SECRET }).to_string();
    let set = http::Request {
        method: "PUT",
        path: &format!("/api/v1/repos/{REPO}/variables/KEY"),
        headers: &[("Content-Type", "application/json")],
        body: body.as_bytes(),
    };
    let answer = http::send_local(&site.appliance.data().join("control.sock"), &set)?;
    assert!(answer.status < 300, "{}", answer.text());
    let texts = texts(&site, &url, "vars.KEY")?;
    assert!(encodings().len() >= 40, "{}", encodings().len());
    for encoded in encodings() {
        assert!(has(&texts, &encoded), "{encoded}: {texts:#?}");
    }
    assert!(has(
        &texts,
        &format!("format string is invalid: {{{SECRET}")
    ));
    assert!(has(&texts, &format!("step 'step {SECRET}'")));
    Ok(())
}
