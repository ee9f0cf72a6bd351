//! The actions that a job is given: looked up in its generation, each as a tree on this host.

use git::ObjectId;
use queue::Claimed;
use runner::CarriedAction;
use supply::{Pinned, Sought};
use workflow::StepAction;

use crate::dispatcher::chain;
use crate::{Appliance, Held};

/// What the steps of a claimed job need, near and far. The error is words for its log and page.
pub(crate) fn actions(
    appliance: &Appliance,
    claimed: &Claimed,
    held: &Held,
) -> Result<Vec<CarriedAction>, String> {
    let uses = claimed
        .spec
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            StepAction::Uses { uses, action, .. } => Some((action, uses.as_str())),
            StepAction::Run { .. } => None,
        });
    let foreign: Vec<_> = uses
        .filter(|(action, _)| !runner::is_built_in(action))
        .collect();
    if foreign.is_empty() {
        return Ok(Vec::new());
    }
    let repository = (appliance.open)(claimed.run.repo)?;
    let objects = repository.objects();
    let commit = ObjectId::from_hex(claimed.run.sha.as_bytes())
        .map_err(|_| format!("'{}' is no commit", claimed.run.sha))?;
    let sought = Sought {
        generation: held.generation(),
        built_in: &runner::is_built_in,
        local: &|folder| supply::local_action(&objects, commit, folder),
    };
    let found = appliance.actions.resolve(&sought, foreign);
    let mut problems = Vec::new();
    for trouble in found.troubles.into_iter().flatten() {
        if let Some(missing) = &trouble.missing {
            let job = Some(claimed.fence.job);
            appliance.wants.note("action", missing, job);
        }
        problems.push(trouble.text);
    }
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    let trees = found
        .pinned
        .into_iter()
        .map(|pinned| shown(appliance, pinned));
    trees.collect()
}

fn shown(appliance: &Appliance, pinned: Pinned) -> Result<CarriedAction, String> {
    let tree = appliance.actions.tree(&pinned.carried, pinned.commit);
    Ok(CarriedAction {
        tree: tree.map_err(|e| chain(&e))?,
        name: pinned.carried.name,
        git_ref: pinned.git_ref,
        commit: pinned.commit.to_string(),
        actions: pinned.actions,
    })
}
