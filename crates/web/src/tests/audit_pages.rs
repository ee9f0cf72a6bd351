//! The pages of the audit log: who sees them, what they show, and what they do when it is blocked.

use std::time::Duration;

use access::{Role, Scope};
use audit::{Entry, Kind, Seq, Who};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use evidence::verify::{Anchors, verify};
use http_body_util::BodyExt as _;
use store::StoreError;
use tower::ServiceExt as _;

use super::{Answer, Site};
use crate::exports::{Exports, Phase};

const PAGES: [&str; 4] = ["/audit", "/audit/0", "/audit/export", "/audit/controls"];

/// A site with an administrator who is signed in; the cookie.
async fn site() -> (Site, String) {
    let site = Site::new();
    site.user("admin", Role::Admin, Some("correct horse battery"));
    let cookie = site.sign_in("admin", "correct+horse+battery").await;
    (site, cookie)
}

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn append(site: &Site, entry: Entry) -> Seq {
    let app = &site.app;
    let added = app
        .store
        .write(|tx| -> Result<_, Wrong> { Ok(app.auditor.append(tx, &Who::system(), entry)?) });
    added.unwrap()
}

fn seal(site: &Site) {
    let seal = site.app.seal.as_ref().unwrap();
    seal.seal(&site.app.store).unwrap();
}

fn searches(site: &Site) -> usize {
    let filter = audit::Filter {
        kind: Some("audit.search".into()),
        ..audit::Filter::default()
    };
    let read = |db: &store::Db| audit::list(db, &filter, 100).map_err(StoreError::from);
    site.app.store.read(read).unwrap().len()
}

#[tokio::test]
async fn the_pages_are_for_administrators_and_each_look_is_noted() {
    let (site, admin) = site().await;
    site.user("dev", Role::Member, Some("correct horse battery"));
    let dev = site.sign_in("dev", "correct+horse+battery").await;
    for path in PAGES {
        let refused = site.page(path, &dev).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
        let nobody = site.page(path, "").await;
        assert_eq!(nobody.status, StatusCode::SEE_OTHER, "{path}");
    }
    assert!(!site.page("/", &dev).await.text.contains("href=\"/audit\""));
    // Four refusals of dev stand there by now, as such.
    let before = searches(&site);
    for path in PAGES {
        let shown = site.page(path, &admin).await;
        assert_eq!(shown.status, StatusCode::OK, "{path}: {}", shown.text);
        assert!(
            shown.text.contains("aria-current=\"page\">Audit<"),
            "{path}"
        );
    }
    // The form of the export shows no entry but exports.
    assert_eq!(searches(&site), before + 3);
    assert!(
        site.page("/audit", &admin)
            .await
            .text
            .contains("E_FORBIDDEN")
    );
}

#[tokio::test]
async fn a_search_finds_pages_and_says_what_is_wrong_with_it() {
    let (site, admin) = site().await;
    for n in 0..120 {
        append(&site, Entry::success(Kind::Boot).detail("n", n));
    }
    append(&site, Entry::failure(Kind::Crash, "E_KILLED"));
    let first = site.page("/audit?action=boot", &admin).await.text;
    assert_eq!(first.matches("<code>boot</code>").count(), 50);
    let older = first.split("rel=\"next\"").next().unwrap();
    let at = older.rfind("href=\"").unwrap() + 6;
    let older = older[at..].split('"').next().unwrap().replace("&#38;", "&");
    assert!(older.starts_with("/audit?action=boot&before="), "{older}");
    let second = site.page(&older, &admin).await.text;
    assert_eq!(second.matches("<code>boot</code>").count(), 50);
    let amiss = site.page("/audit?outcome=amiss", &admin).await.text;
    assert!(amiss.contains("E_KILLED") && !amiss.contains("<code>boot</code>"));
    let grave = site.page("/audit?severity=4", &admin).await.text;
    assert!(grave.contains("<code>crash</code>") && !grave.contains("<code>boot</code>"));
    let named = site.page("/audit?actor=admin", &admin).await.text;
    assert!(named.contains("login.ok") && !named.contains("<code>boot</code>"));
    let none = site.page("/audit?action=no.such", &admin).await.text;
    assert!(none.contains("No entry fits") && none.contains("cofferdam audit search"));
    let wrong = site.page("/audit?since=soon", &admin).await.text;
    assert!(wrong.contains("is no day like 2026-10-01"), "{wrong}");
}

#[tokio::test]
async fn hostile_values_stay_text_on_every_page() {
    let (site, admin) = site().await;
    let bad = "<script>alert(1)</script>\u{202e}<img src=x onerror=alert(1)>";
    let entry = Entry::success(Kind::RepoCreate)
        .object("<b>repo", bad.to_owned(), bad)
        .detail(bad, bad)
        .private("name", bad);
    let seq = append(&site, entry).0;
    seal(&site);
    let query = "%3Cscript%3Ealert(1)%3C/script%3E%22%3E";
    for path in [
        "/audit".to_owned(),
        format!("/audit/{seq}"),
        format!("/audit?actor={query}&action={query}&object={query}&since={query}"),
        format!("/audit/export?actor={query}&action={query}&earlier={query}"),
        format!("/audit/controls?since={query}"),
        format!("/audit/export/{query}"),
    ] {
        let page = site.page(&path, &admin).await;
        for bad in ["<script>alert", "<img src=x", "<b>repo", "\u{202e}"] {
            // The exact line is shown as it is, escaped, and marks its own direction.
            let shown = page.text.replace("\u{202e}&#60;img", "");
            assert!(!shown.contains(bad), "{bad:?} in {path}:\n{shown}");
        }
    }
    let line = site.page(&format!("/audit/{seq}/line"), &admin).await;
    assert_eq!(line.header("content-type"), "application/json");
    assert!(line.header("content-disposition").starts_with("attachment"));
}

#[tokio::test]
async fn an_entry_is_opened_proved_and_checked_by_hand() {
    let (site, admin) = site().await;
    let early = site.page("/audit/1", &admin).await.text;
    assert!(early.contains("the next checkpoint") || early.contains("The next checkpoint"));
    let waits = site.page("/audit/1/tlog-proof", &admin).await;
    assert_eq!(waits.status, StatusCode::CONFLICT);
    for n in 0..40 {
        append(&site, Entry::success(Kind::Boot).detail("n", n));
    }
    seal(&site);
    let found = site.page("/audit/1", &admin).await.text;
    assert!(
        found.contains(">proved<") && found.contains("admin (u:1)"),
        "{found}"
    );
    assert!(found.contains("href=\"/audit/0\"") && found.contains("href=\"/audit/2\""));
    assert_eq!(
        site.page("/audit/99999", &admin).await.status,
        StatusCode::NOT_FOUND
    );

    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let line = site.page("/audit/1/line", &admin).await;
    let proof = site.page("/audit/1/tlog-proof", &admin).await;
    let key = site.app.seal.as_ref().unwrap().key().clone();
    let leaf = evidence::tree::leaf_hash(line.text.as_bytes());
    assert_eq!(
        evidence::tlog_proof::verify(&proof.text, &leaf, &key)
            .unwrap()
            .0,
        1
    );
    std::fs::write(at("entry-1.json"), &line.text).unwrap();
    let shown = found.split("id=\"commands\"").nth(1).unwrap();
    let shown = shown
        .split_once('>')
        .unwrap()
        .1
        .split("</pre>")
        .next()
        .unwrap();
    let commands = [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
    ]
    .iter()
    .fold(shown.to_owned(), |text, (from, to)| text.replace(from, to));
    let run = |commands: &str| {
        let out = std::process::Command::new("sh")
            .args(["-c", commands])
            .current_dir(dir.path())
            .output();
        let out = out.unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        (out.status.success(), said)
    };
    let (good, said) = run(&commands);
    assert!(good && said.contains("Verified Successfully"), "{said}");
    assert!(said.contains(&hex::encode(leaf)), "{said}");
    std::fs::write(at("entry-1.json"), line.text.replace("success", "sUccess")).unwrap();
    assert!(!run(&commands).0, "a changed line is taken");
    std::fs::write(at("entry-1.json"), &line.text).unwrap();
    assert!(run(&commands).0);
    let size = proof
        .text
        .split("\n\n")
        .nth(1)
        .unwrap()
        .lines()
        .nth(1)
        .unwrap();
    let forged = commands.replacen(&format!("\n{size}\n"), "\n9999\n", 1);
    assert_ne!(forged, commands);
    assert!(!run(&forged).0, "a changed checkpoint is taken");
}

#[tokio::test]
async fn an_edited_row_is_told_on_its_page() {
    let (site, admin) = site().await;
    seal(&site);
    site.app
        .store
        .write(|tx| {
            let text =
                "UPDATE audit_entry SET line = replace(line, 'success', 'failure') WHERE seq = 0";
            tx.execute(text, []).map(drop).map_err(StoreError::from)
        })
        .unwrap();
    let shown = site.page("/audit/0", &admin).await.text;
    assert!(shown.contains("not the one that was appended"), "{shown}");
    assert!(shown.contains(">not proved<"));
    let control = site.page("/audit/1", &admin).await.text;
    assert!(!control.contains("not the one that was appended") && control.contains(">proved<"));
}

/// What is at the end of an export that was begun by the form.
async fn ended(site: &Site, path: &str) -> crate::exports::Shown {
    let job = site
        .app
        .0
        .exports
        .find(path.rsplit('/').next().unwrap())
        .unwrap();
    let wait = move || loop {
        let shown = job.wait(u64::MAX, Duration::from_secs(60));
        if shown.ended() {
            return shown;
        }
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}

async fn begin(site: &Site, cookie: &str, form: &str) -> Answer {
    let answer = site.form("/audit/export", cookie, form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    answer
}

#[tokio::test]
async fn an_export_by_the_page_verifies_continues_and_is_in_the_log() {
    let (site, admin) = site().await;
    let first = begin(&site, &admin, "earlier=").await;
    let made = ended(&site, first.header("location")).await.made.unwrap();
    assert!(!made.names && made.shown == made.end);
    seal(&site);
    let note = site.app.seal.as_ref().unwrap().last().unwrap().note;
    let form = format!(
        "names=1&action=login.*&earlier={}",
        crate::href::value(&note)
    );
    let second = begin(&site, &admin, &form).await;
    let page = second.header("location").to_owned();
    let made = ended(&site, &page).await.made.unwrap();
    assert!(made.names && made.shown < made.end);
    let shown = site.page(&page, &admin).await.text;
    assert!(
        shown.contains(&made.sha256) && shown.contains("Download"),
        "{shown}"
    );

    let request = Request::builder()
        .uri(format!("{page}/file"))
        .header(header::COOKIE, &admin)
        .body(Body::empty())
        .unwrap();
    let response = crate::router(site.app.clone())
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let path = site.dir.path().join("e.cfa");
    std::fs::write(&path, bytes).unwrap();
    let verdict = verify(&path, &Anchors::default()).unwrap();
    assert!(verdict.good, "{:?}", verdict.findings);
    assert!(verdict.openings > 0);
    assert_eq!((verdict.shown, verdict.end), (made.shown, made.end));

    let list = site.page("/audit/export", &admin).await.text;
    assert_eq!(list.matches(&made.sha256).count(), 1);
    let log = site.page("/audit?action=audit.export*", &admin).await.text;
    assert_eq!(log.matches("<code>audit.export</code>").count(), 2);
    assert_eq!(log.matches("<code>audit.export_read</code>").count(), 1);
}

#[tokio::test]
async fn forms_that_make_no_sense_are_told_and_keep_what_was_written() {
    let (site, admin) = site().await;
    for (form, word) in [
        ("since=2026-10-02&until=2026-10-01", "ends before it begins"),
        ("since=soon", "is no day like"),
        (
            "earlier=some+other+text",
            "number of entries or its checkpoint",
        ),
    ] {
        let answer = site.form("/audit/export", &admin, form).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.text.contains(word), "{form}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_export_without_room_is_told_and_leaves_no_file() {
    let (site, admin) = site().await;
    site.app
        .auditor
        .block(audit::Cause::Space, "3 MiB are free");
    let answer = begin(&site, &admin, "").await;
    let shown = ended(&site, answer.header("location")).await;
    assert_eq!(shown.phase, Phase::Failed);
    assert!(
        shown
            .error
            .unwrap()
            .contains("no room on the appliance's disk")
    );
    let page = site.page(answer.header("location"), &admin).await.text;
    assert!(page.contains("cofferdam audit export -o"), "{page}");
    let left = std::fs::read_dir(site.dir.path().join("exports")).unwrap();
    assert_eq!(left.count(), 0);
    assert!(page.contains("Nothing can be changed since"));
}

#[tokio::test]
async fn files_of_a_process_that_ended_go_and_a_cancelled_export_leaves_none() {
    let (site, admin) = site().await;
    let answer = begin(&site, &admin, "").await;
    ended(&site, answer.header("location")).await;
    let folder = site.dir.path().join("exports");
    let files = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    assert_eq!(files(), 1);
    site.clock.advance(Duration::from_secs(23 * 3600));
    site.app.sweep_exports();
    assert_eq!(files(), 1);
    site.clock.advance(Duration::from_secs(2 * 3600));
    site.app.sweep_exports();
    assert_eq!(files(), 0);
    std::fs::write(folder.join("left.cfa"), "half").unwrap();
    drop(Exports::open(site.dir.path()));
    assert!(!folder.exists());
}

#[tokio::test]
async fn controls_count_what_is_there_and_show_what_is_missing() {
    let (site, admin) = site().await;
    let page = site.page("/audit/controls", &admin).await.text;
    let row = |control: &str| {
        let at = page.find(&format!("strong\">{control}<")).unwrap();
        page[at..].split("</tr>").next().unwrap().to_owned()
    };
    assert!(row("AU-2").contains(">evidence<") && row("AU-2").contains("href=\"/audit/0\""));
    assert!(row("IA-2").contains("1 entry"), "{}", row("IA-2"));
    assert!(row("CM-14").contains(">missing<"), "{}", row("CM-14"));
    assert!(page.contains("evidence toward") && !page.contains("compliant"));
    let later = site
        .page("/audit/controls?since=2999-01-01", &admin)
        .await
        .text;
    assert!(!later.contains(">evidence<"));
}

#[tokio::test]
async fn while_the_log_is_blocked_every_page_says_so_and_changes_get_a_503() {
    let (site, admin) = site().await;
    let user = site.user("root", Role::Admin, None);
    let token = site.token(&user, &[Scope::Admin]);
    let quiet = site.page("/", &admin).await.text;
    assert!(!quiet.contains("Nothing can be changed"));
    site.app
        .auditor
        .refuse("audit entry 1 is missing <b>here</b>");
    for path in [
        "/",
        "/runs",
        "/audit",
        "/audit/0",
        "/audit/export",
        "/audit/controls",
        "/no/such",
    ] {
        let page = site.page(path, &admin).await.text;
        assert!(
            page.contains("Nothing can be changed since"),
            "{path}: {page}"
        );
        assert!(!page.contains("<b>here"), "{path}");
    }
    let log = site.page("/audit", &admin).await;
    assert_eq!(log.status, StatusCode::OK);
    assert!(log.text.contains("This log was tampered with") && log.text.contains("fsck"));
    assert!(log.text.contains("could not be noted"));
    // Who may mend nothing is not told what was found.
    let nobody = site.page("/sign-in", "").await.text;
    assert!(!nobody.contains("entry 1 is missing"), "{nobody}");

    let form = site
        .form("/new", &admin, "path=admin/app&visibility=private")
        .await;
    assert_eq!(
        form.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        form.text
    );
    for word in ["E_AUDIT_BLOCKED", "2026-", "entry 1 is missing", "fsck"] {
        assert!(form.text.contains(word), "{word}: {}", form.text);
    }
    assert!(!form.text.contains("Incident"));
    for (method, path, body) in [
        (Method::POST, "/api/v1/repos", r#"{"path":"root/app"}"#),
        (
            Method::POST,
            "/api/v1/users",
            r#"{"name":"eve","password":"correct horse battery"}"#,
        ),
        (
            Method::POST,
            "/api/v1/session",
            r#"{"name":"admin","password":"correct horse battery"}"#,
        ),
        (Method::POST, "/api/v1/bundles/have", ""),
    ] {
        let answer = site.ask(method, path, Some(&token), body).await;
        assert_eq!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{path}: {}",
            answer.text
        );
        assert_eq!(
            answer.json()["code"],
            "E_AUDIT_BLOCKED",
            "{path}: {}",
            answer.text
        );
    }
}
