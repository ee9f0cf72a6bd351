//! Redaction over the API: who may, what is refused, and what is shown afterwards.

use access::{Role, Scope, User};
use audit::{Actor, Entry, Kind, Seq, Via, Who};
use axum::http::{Method, StatusCode};
use store::StoreError;

use super::{Answer, Site};

const REDACTIONS: &str = "/api/v1/audit/redactions";
const ADDRESS: &str = "203.0.113.77";

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An entry of something that `user` did from [`ADDRESS`].
fn did(site: &Site, user: &User) -> Seq {
    let actor = Actor::User {
        id: user.id,
        name: user.name.clone(),
    };
    let who = Who::new(actor, Via::Http).from_peer(format!("{ADDRESS}:40000").parse().unwrap());
    let app = &site.app;
    let added = app.store.write(|tx| -> Result<_, Wrong> {
        Ok(app
            .auditor
            .append(tx, &who, Entry::success(Kind::GitPush))?)
    });
    added.unwrap()
}

async fn redact(site: &Site, token: &str, body: &str) -> Answer {
    site.ask(Method::POST, REDACTIONS, Some(token), body).await
}

#[tokio::test]
async fn only_administrators_redact_and_a_refusal_deletes_nothing() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let admin = site.user("root", Role::Admin, None);
    let seq = did(&site, &dev).0;
    let body = format!("{{\"seq\":{seq},\"reason\":\"asked for\"}}");
    let entry = format!("/api/v1/audit/entries/{seq}");
    let tokens = [
        site.token(&dev, &Scope::ALL),
        site.token(&admin, &[Scope::RepoAdmin, Scope::RunWrite]),
    ];
    let full = site.token(&admin, &Scope::ALL);
    for token in &tokens {
        let refused = redact(&site, token, &body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    }
    let kept = site.ask(Method::GET, &entry, Some(&full), "").await.json();
    assert_eq!(kept["openings"]["src.ip_c"], ADDRESS);
    let done = redact(&site, &full, &body).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let gone = site.ask(Method::GET, &entry, Some(&full), "").await.json();
    assert_eq!(gone["openings"], serde_json::json!({}));
    let filter = "/api/v1/audit?kind=audit.redacted";
    let told = site.ask(Method::GET, filter, Some(&full), "").await.json();
    let outs: Vec<_> = told["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["out"])
        .collect();
    // The token without the scope is refused as such: token.use_denied.
    assert_eq!(outs, ["denied", "success"]);
}

#[tokio::test]
async fn what_was_redacted_is_said_and_exports_with_names_go() {
    let site = Site::new();
    let dev = site.user("petra", Role::Member, None);
    let admin = site.user("admin", Role::Admin, Some("correct horse battery"));
    let token = site.token(&admin, &Scope::ALL);
    let cookie = site.sign_in("admin", "correct+horse+battery").await;
    let seq = did(&site, &dev).0;
    let page = format!("/audit/{seq}");
    let before = site.page(&page, &cookie).await.text;
    assert!(
        before.contains("petra (") && before.contains(ADDRESS),
        "control"
    );
    let begun = site
        .form("/audit/export", &cookie, "names=1&earlier=")
        .await;
    let id = begun
        .header("location")
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    assert!(site.app.0.exports.find(&id).is_ok(), "control");

    let body = "{\"person\":\"petra\",\"reason\":\"asked for\"}";
    let done = redact(&site, &token, body).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(done.json()["values"], 3, "made, who, whence");
    assert!(site.app.0.exports.find(&id).is_err());
    let entry = format!("/api/v1/audit/entries/{seq}");
    let entry = site.ask(Method::GET, &entry, Some(&token), "").await.json();
    assert_eq!(
        entry["redacted"],
        serde_json::json!(["src.ip_c", "who.name_c"])
    );
    let list = site
        .ask(Method::GET, "/api/v1/audit", Some(&token), "")
        .await
        .json();
    assert_eq!(list["redacted"][seq.to_string()], entry["redacted"]);
    let shown = site.page(&page, &cookie).await.text;
    assert!(shown.contains("redacted (u:") && shown.contains("an address that was redacted"));
    assert!(!shown.contains("petra") && !shown.contains(ADDRESS));
    let rows = site.page("/audit?action=git.push", &cookie).await.text;
    assert!(
        rows.contains("redacted (u:") && !rows.contains("petra"),
        "{rows}"
    );
}

#[tokio::test]
async fn a_redaction_that_cannot_be_is_refused_in_words() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let admin = site.user("root", Role::Admin, None);
    let token = site.token(&admin, &Scope::ALL);
    let seq = did(&site, &dev).0;
    for (body, status, words) in [
        (
            "{\"seq\":9999,\"reason\":\"x\"}".into(),
            404,
            "no audit entry 9999",
        ),
        (
            "{\"person\":\"nobody\",\"reason\":\"x\"}".into(),
            409,
            "nothing is kept for a person",
        ),
        (
            format!("{{\"seq\":{seq},\"field\":\"d.no\",\"reason\":\"x\"}}"),
            409,
            "the field d.no",
        ),
        (
            format!("{{\"seq\":{seq},\"reason\":\" \"}}"),
            422,
            "needs a reason",
        ),
        (
            format!("{{\"seq\":{seq},\"reason\":\"came from {ADDRESS}\"}}"),
            422,
            "repeats a value",
        ),
        (
            format!("{{\"seq\":{seq},\"person\":\"dev\",\"reason\":\"x\"}}"),
            400,
            "or of one person",
        ),
        ("{\"reason\":\"x\"}".into(), 400, "of one entry"),
    ] {
        let refused = redact(&site, &token, &body).await;
        assert_eq!(refused.status.as_u16(), status, "{body}: {}", refused.text);
        assert!(refused.text.contains(words), "{body}: {}", refused.text);
    }
    let entry = format!("/api/v1/audit/entries/{seq}");
    let entry = site.ask(Method::GET, &entry, Some(&token), "").await.json();
    assert_eq!(entry["openings"]["src.ip_c"], ADDRESS);
}
