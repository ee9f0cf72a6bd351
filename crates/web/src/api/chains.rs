//! The chains of custody of bundles: one for whoever asks, those of a time for an export.

use audit::{Export, Extra, Wanted};
use axum::Json;
use axum::extract::{Path, Query};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Db, StoreError};
use supply::bundles::{self, Custody, Row};

use super::audit::whole;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::state::App;

/// Most bundles whose chain one export carries, the newest.
const CHAINS_MAX: usize = 500;

#[derive(Deserialize)]
pub(crate) struct Which {
    channel: Option<String>,
}

/// `GET /api/v1/bundles/{number}/custody`: who built, brought and let in the bundle of that number.
pub(crate) async fn custody(
    ctx: Ctx,
    Path(seq): Path<u64>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Fault> {
    let app = ctx.app.clone();
    let shown = ctx.app.off(move || {
        app.store.read(|db| {
            let rows = bundles::numbered(db, seq)?;
            let fits = |row: &&Row| which.channel.as_ref().is_none_or(|c| *c == row.channel);
            let row = rows.iter().find(fits);
            let row = row.ok_or_else(|| {
                Fault::missing(format!("bundle {seq}"))
                    .todo("`cofferdam bundle history` lists them")
            })?;
            Ok::<_, Fault>(json!(bundles::custody(db, &app.store, row)?))
        })
    });
    Ok(Json(shown.await?))
}

/// The chains that an export carries.
pub(super) struct Chains(Vec<(Row, Custody)>);

impl Chains {
    /// Those of bundles that were told of or used in the time that is `wanted`; each of their
    /// steps is to be proved.
    pub(super) fn look(app: &App, wanted: &mut Wanted) -> Result<Self, Fault> {
        if !whole(wanted) {
            return Ok(Self(Vec::new()));
        }
        let chains = app.store.read(|db: &Db| -> Result<_, StoreError> {
            let rows = bundles::in_time(db, wanted.since, wanted.until)?;
            let newest = rows.into_iter().rev().take(CHAINS_MAX);
            newest
                .map(|row| {
                    let custody = bundles::custody(db, &app.store, &row)?;
                    Ok((row, custody))
                })
                .collect()
        })?;
        let chains: Vec<(Row, Custody)> = chains;
        let steps = chains.iter().flat_map(|(_, custody)| &custody.steps);
        wanted.proved = steps
            .filter_map(|step| u64::try_from(step.seq).ok())
            .collect();
        Ok(Self(chains))
    }

    /// Their files, each step with its proof.
    pub(super) fn files(self, app: &App, export: &Export<'_>) -> Result<Vec<Extra>, Fault> {
        let mut files: Vec<Extra> = Vec::new();
        for (row, mut custody) in self.0 {
            let carried = app
                .store
                .read(|db| bundles::custody_files(db, &app.store, &row))?;
            if carried.is_empty() {
                // Its manifest was collected; the log alone tells of it.
                continue;
            }
            let mut folder = format!("bundles/{}", custody.seq);
            if files
                .iter()
                .any(|(name, _)| name.starts_with(&format!("{folder}/")))
            {
                folder = format!("{folder}-{}", &custody.manifest.hex()[..8]);
            }
            for step in &mut custody.steps {
                let proof = u64::try_from(step.seq).ok().and_then(|at| export.proof(at));
                step.proof = proof.unwrap_or_default().iter().map(hex::encode).collect();
            }
            let record = serde_json::to_string_pretty(&custody).map_err(Fault::internal)?;
            files.push((
                format!("{folder}/custody.json"),
                format!("{record}\n").into_bytes(),
            ));
            files.extend(
                carried
                    .into_iter()
                    .map(|(name, bytes)| (format!("{folder}/{name}"), bytes)),
            );
        }
        Ok(files)
    }
}
