//! Whom this appliance believes: the fingerprint from the paper, the root statements, who may
//! sign; its own slip key and the authority of its certificate.

use axum::response::Response;
use bundle::root::{Role, Statement};
use supply::bundles::{self, Kept};

use super::bundle_about::state;
use super::{frame, render};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::view::bundles::{KeyLine, Keys, Print, RoleView, SlipKeyView, StatementView};
use crate::words;

/// `GET /keys`
pub(crate) async fn page(ctx: Ctx) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Keys", "Bundles").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let now = app.clock.now();
            let pinned = bundles::fingerprint(app.store.dir())?;
            let kept = app.store.read(bundles::statements)?;
            let key = app.intake.slip_key();
            let in_force = kept.last().map(|k| k.root.number());
            render(&Keys {
                frame,
                pinned: pinned.map(|digest| print(&digest.hex())),
                statements: kept
                    .iter()
                    .rev()
                    .map(|kept| statement(kept, in_force, now))
                    .collect(),
                slip: SlipKeyView {
                    id: key.id().to_string(),
                    public: key.to_file(),
                },
                authority: app.config.authority.is_some(),
                address: app.url("/ca.crt"),
            })
        })
        .await
}

fn print(hex: &str) -> Print {
    let digits: Vec<char> = hex.chars().collect();
    Print {
        groups: digits
            .chunks(4)
            .map(|group| group.iter().collect())
            .collect(),
        whole: hex.to_owned(),
    }
}

fn statement(kept: &Kept, in_force: Option<u64>, now: std::time::SystemTime) -> StatementView {
    let said = kept.root.statement();
    StatementView {
        number: said.number,
        site: words::plain(&said.site),
        created: said.created.clone(),
        accepted: words::when(kept.accepted_ms, now),
        print: print(&kept.root.fingerprint().hex()),
        in_force: in_force == Some(said.number),
        roles: vec![
            role("Release: who may sign bundles", &said.release, said),
            role("Root: who may change these keys", &said.root, said),
        ],
        revoked: said.revoked.iter().map(ToString::to_string).collect(),
        body: words_of(kept.root.bytes()),
    }
}

/// The statement's own text; its line ends are part of it.
fn words_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text.lines().map(words::plain).collect();
    lines.join("\n")
}

fn role(title: &'static str, role: &Role, said: &Statement) -> RoleView {
    RoleView {
        title,
        need: format!("{} of {} must sign", role.threshold, role.keys.len()),
        keys: role
            .keys
            .iter()
            .map(|key| KeyLine {
                name: words::plain(&key.name),
                id: key.id.to_string(),
                key: key.key.clone(),
                state: if said.revoked.contains(&key.id) {
                    state("revoked", "bad")
                } else {
                    state("counts", "ok")
                },
            })
            .collect(),
    }
}
