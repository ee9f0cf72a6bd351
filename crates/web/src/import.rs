//! A git bundle file taken into an empty repo: a push in all but its runs, which do not start.

use std::io::{BufReader, Read};

use forge::Repo;
use git::{BundleError, BundleHead, RefOutcome};
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::guard::Ctx;
use crate::push::{self, PushFault};

/// Takes all branches and tags of the file, or none. Blocking.
pub(crate) fn take(ctx: &Ctx, repo: &Repo, input: impl Read + Send) -> Result<Value, Fault> {
    let app = &ctx.app;
    let repository = app.repository(repo.id).map_err(Fault::internal)?;
    let refs = repository.refs().map_err(Fault::internal)?;
    if !refs.all().is_empty() {
        return Err(
            Fault::conflict(format!("{} is not empty", repo.path)).todo("import into a new repo")
        );
    }
    let mut input = BufReader::with_capacity(64 << 10, input);
    let head = BundleHead::read(&mut input).map_err(no_bundle)?;
    let mut whole = head.as_push(&repository, input).map_err(no_bundle)?;
    let limits = push::limits(app, push::Client::SendsFirst);
    let mut received = git::receive_pack(&repository, &mut whole, &limits, &mut |_| {})
        .map_err(|error| Fault::bad(&error.refusal))?;
    // Reading it can outlive the right to it.
    if let Err(why) = ctx.caller()?.may(access::Action::GitPush) {
        return Err(Fault::denied(why));
    }
    let updates = received.accepted();
    let refused = received.commands.iter().find_map(|command| {
        let why = command.refused.as_ref()?;
        Some(format!("{}: {why}", command.name))
    });
    if let Some(why) = refused {
        return Err(Fault::bad(why).todo("nothing was taken; leave that ref out of the file"));
    }
    received.make_durable().map_err(Fault::internal)?;
    let begun = push::begin(app, &ctx.who, repo, &received, &updates, &[]).map_err(unrecorded)?;
    let outcomes = git::update_refs(&repository, &updates, true);
    received.settle(&updates, &outcomes);
    push::end(app, &ctx.who, &repository, &begun, &updates, &outcomes).map_err(unrecorded)?;
    if let Some((update, why)) = updates.iter().zip(&outcomes).find_map(|(u, o)| match o {
        RefOutcome::Refused(why) | RefOutcome::Failed(why) => Some((u, why)),
        RefOutcome::Done => None,
    }) {
        return Err(Fault::conflict(format!("{}: {why}", update.name)));
    }
    Ok(json!({
        "repo": repo.path.to_string(),
        "refs": updates.len(),
        "left_out": head.left_out,
    }))
}

fn no_bundle(error: BundleError) -> Fault {
    Fault::bad(push::chain(&error)).todo("nothing was taken")
}

fn unrecorded(error: impl Into<PushFault>) -> Fault {
    Fault::internal(error.into())
}
