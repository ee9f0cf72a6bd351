//! One image explained: which bundle, whose approval, which log index, which jobs.

use axum::Json;
use axum::extract::Path;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::guard::Ctx;

#[derive(Deserialize)]
pub(crate) struct NamePath {
    name: String,
}

/// `GET /api/v1/images/{name}`: a digest, `name:tag`, or a name that was given by hand.
pub(crate) async fn image(ctx: Ctx, Path(path): Path<NamePath>) -> Result<Json<Value>, Fault> {
    let shown = ctx.app.read(move |db| {
        let explained = attest::explain(db, &path.name)?.ok_or_else(|| {
            Fault::missing(format!("image {}", path.name))
                .todo("`cofferdam image list` and the catalogue name those that are here")
        })?;
        let mut jobs = Vec::new();
        for (job, attempt) in &explained.jobs {
            let Some(row) = queue::job(db, *job)? else {
                // Its repo was deleted.
                jobs.push(json!({ "job": job, "attempt": attempt }));
                continue;
            };
            let run = queue::run(db, row.run)?;
            let repo = forge::by_id(db, row.repo).map_err(Fault::internal)?;
            jobs.push(json!({
                "job": job,
                "attempt": attempt,
                "name": row.name,
                "outcome": row.outcome,
                "run": run.map(|run| run.number),
                "repo": repo.map(|repo| repo.path.to_string()),
            }));
        }
        let mut out = serde_json::to_value(&explained).map_err(Fault::internal)?;
        out["jobs"] = jobs.into();
        Ok(out)
    });
    Ok(Json(shown.await?))
}
