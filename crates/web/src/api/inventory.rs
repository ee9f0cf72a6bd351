//! The inventory: what the appliance and what it serves is made of, its settings, its accounts.

use audit::{Extra, Filter, Kind as AuditKind};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use evidence::sbom::{Component, Kind, document};
use store::{Db, StoreError};
use vocab::unix_ms;

use crate::fault::Fault;
use crate::guard::Ctx;
use crate::state::App;

/// `GET /api/v1/inventory/sbom`: the bill of materials, CycloneDX 1.6.
pub(crate) async fn sbom(ctx: Ctx) -> Result<Response, Fault> {
    let app = ctx.app.clone();
    let text = ctx.app.off(move || bill(&app)).await?;
    let kind = "application/vnd.cyclonedx+json; version=1.6";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// The bill of materials of the program and of what is served.
fn bill(app: &App) -> Result<String, Fault> {
    let version = env!("CARGO_PKG_VERSION");
    let reference = format!("pkg:cargo/cofferdam@{version}");
    let main = Component::new(Kind::Application, "cofferdam", version, reference).purl(
        "cargo",
        "cofferdam",
        version,
        "",
    );
    let mut parts = app.config.inventory.program.clone();
    parts.extend(
        app.store
            .read(|db| supply::inventory(db, app.store.dir()))?,
    );
    Ok(document(&main, &parts, &instant(app.clock.now())))
}

/// The files of an export: bill of materials, settings, accounts. Names of people only where the
/// export opens names.
pub(super) fn files(app: &App, with_names: bool) -> Result<Vec<Extra>, Fault> {
    let settings = serde_json::to_string_pretty(&app.config.inventory.settings);
    let settings = settings.map_err(Fault::internal)?;
    let users = app.store.read(|db| users(db, with_names))?;
    Ok(vec![
        (
            "inventory/sbom.cdx.json".to_owned(),
            bill(app)?.into_bytes(),
        ),
        (
            "inventory/config.json".to_owned(),
            format!("{settings}\n").into_bytes(),
        ),
        ("inventory/users.csv".to_owned(), users.into_bytes()),
    ])
}

fn users(db: &Db, with_names: bool) -> Result<String, StoreError> {
    let mut text = String::from("user,name,role,created,suspended,password,last sign-in,tokens\n");
    for user in access::users(db)? {
        let at = |time: Option<std::time::SystemTime>| time.map_or(String::new(), instant);
        let signed_in = Filter {
            kind: Some(AuditKind::LoginOk.as_str().to_owned()),
            actor: Some(user.id.tagged()),
            ..Filter::default()
        };
        let last = audit::list(db, &signed_in, 1)?.first().map(|line| {
            let entry: serde_json::Value = serde_json::from_str(&line.text).unwrap_or_default();
            entry["t"].as_str().unwrap_or_default().to_owned()
        });
        let live = |token: &access::TokenInfo| token.revoked.is_none();
        let tokens = access::tokens(db, user.id)?
            .iter()
            .filter(|t| live(t))
            .count();
        // A sign-in name has no character that means anything here.
        let name = if with_names { user.name.as_str() } else { "" };
        text.push_str(&format!(
            "{},{name},{},{},{},{},{},{tokens}\n",
            user.id.tagged(),
            user.role,
            at(Some(user.created)),
            at(user.suspended),
            if user.has_password { "yes" } else { "no" },
            last.unwrap_or_default(),
        ));
    }
    Ok(text)
}

fn instant(at: std::time::SystemTime) -> String {
    let at = jiff::Timestamp::from_millisecond(unix_ms(at) / 1000 * 1000);
    at.map_or(String::new(), |at| at.to_string())
}
