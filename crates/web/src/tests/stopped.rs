//! What the log tells of a medium that forms take in, undo, and stop half way.

use access::Scope;
use axum::http::{Method, StatusCode};
use serde_json::Value;

use super::shelved::Here;

/// Kinds of all entries of a family, oldest first; `asked` stands with those that somebody asked for.
fn told(here: &Here, family: &str) -> Vec<String> {
    let read = |db: &store::Db| {
        let all = audit::list(db, &audit::Filter::default(), 1_000)?;
        Ok::<_, store::StoreError>(all)
    };
    let lines = here.site.app.store.read(read).unwrap();
    let kinds = lines.iter().rev().map(|line| {
        let entry: Value = serde_json::from_str(&line.text).unwrap();
        let asked = if entry["d"]["asked"] == true {
            " asked"
        } else {
            ""
        };
        format!("{}{asked}", entry["act"].as_str().unwrap())
    });
    kinds.filter(|kind| kind.starts_with(family)).collect()
}

#[tokio::test]
async fn a_medium_taken_in_and_undone_by_forms_is_told() {
    let here = Here::new().await;
    here.import(&here.medium(1, &[("a", b"one")], &[], &[]))
        .await;
    here.import(&here.medium(2, &[("a", b"one"), ("b", b"two")], &[], &[]))
        .await;
    let undone = here.form("/bundles/undo", "").await;
    assert_eq!(undone.status, StatusCode::SEE_OTHER, "{}", undone.text);
    let kinds = [
        "bundle.verified",
        "bundle.staged",
        "bundle.committed",
        "bundle.verified",
        "bundle.staged",
        "bundle.committed",
        "bundle.undone",
    ];
    assert_eq!(told(&here, "bundle."), kinds);
}

#[tokio::test]
async fn the_stop_of_an_import_is_told_and_that_of_none_is_not() {
    let here = Here::new().await;
    let admin = here.site.user("root", access::Role::Admin, None);
    let token = here.site.token(&admin, &[Scope::Admin]);
    let path = "/api/v1/bundles/import";
    let none = here.site.ask(Method::DELETE, path, Some(&token), "").await;
    assert_eq!(none.status, StatusCode::CONFLICT, "{}", none.text);
    here.form("/bundles/import/cancel", "").await;
    let asked = || {
        let all = told(&here, "bundle.aborted asked");
        all.len()
    };
    assert_eq!(asked(), 0);
    let medium = here.medium(1, &[("a", b"one")], &[], &[]);
    let begun = here
        .site
        .app
        .intake
        .begin(&medium, &audit::Who::system(), false);
    let begun = begun.unwrap();
    here.form("/bundles/import/cancel", "").await;
    assert_eq!(asked(), 1);
    let again = here.site.ask(Method::DELETE, path, Some(&token), "").await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert_eq!(asked(), 2);
    assert!(begun.run().is_err(), "it was stopped");
}
