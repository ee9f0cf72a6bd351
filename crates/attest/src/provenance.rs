//! SLSA provenance of one attempt: what it was made from, by whom and when.
//!
//! Until jobs hand over files of their own, the subject is the commit that was worked on and the
//! log of the work.

use std::collections::BTreeMap;

use evidence::attestation::{
    BUILD_TYPE, BuildDefinition, Builder, Metadata, PROVENANCE, Provenance, Resource, RunDetails,
    STATEMENT, Statement, invocation,
};
use serde_json::json;

use crate::facts::Facts;
use crate::{Appliance, Custody, time};

pub(crate) fn statement(facts: &Facts, appliance: &Appliance) -> Statement<Provenance> {
    Statement {
        kind: STATEMENT.to_owned(),
        subject: subject(facts, appliance),
        predicate_type: PROVENANCE.to_owned(),
        predicate: Provenance {
            build_definition: definition(facts, appliance),
            run_details: details(facts, appliance),
        },
    }
}

/// The commit, and the log where there is one: the same for both statements.
pub(crate) fn subject(facts: &Facts, appliance: &Appliance) -> Vec<Resource> {
    std::iter::once(commit(facts, appliance))
        .chain(log(facts))
        .collect()
}

fn commit(facts: &Facts, appliance: &Appliance) -> Resource {
    let (repo, run) = (&facts.repo, &facts.run);
    Resource {
        uri: format!("git+{}/{repo}@{}", appliance.url, run.git_ref),
        ..Resource::new(repo, "gitCommit", &run.sha)
    }
}

fn log(facts: &Facts) -> Option<Resource> {
    let (job, attempt) = (facts.job.id, facts.attempt.attempt);
    let log = facts.log.as_ref()?;
    Some(Resource::new(
        &format!("logs/{job}/{attempt}"),
        "sha256",
        &log.sha256,
    ))
}

/// What names this attempt.
pub(crate) fn invocation_of(facts: &Facts, appliance: &Appliance) -> String {
    invocation(
        &appliance.id(),
        facts.job.id.get(),
        facts.attempt.attempt.get(),
    )
}

fn definition(facts: &Facts, appliance: &Appliance) -> BuildDefinition {
    let (run, job) = (&facts.run, &facts.job);
    let seen = facts.receipt.as_ref().and_then(|r| r.supply.as_ref());
    BuildDefinition {
        build_type: BUILD_TYPE.to_owned(),
        external_parameters: json!({
            "workflow": {
                "repository": facts.repo, "ref": run.git_ref, "path": run.workflow_path,
            },
            "event": run.event,
            "inputs": facts.inputs,
            "job": job.key,
        }),
        internal_parameters: json!({
            "run": run.id.tagged(),
            "runNumber": run.number,
            "runAttempt": run.attempt,
            "actor": run.actor.tagged(),
            "untrusted": run.untrusted,
            "matrix": job.matrix,
            "labels": job.labels,
            "generation": seen.map(|supply| supply.generation),
            "trustRoot": facts.trust_root,
            "allGivenIsListed": !facts.more,
        }),
        resolved_dependencies: dependencies(facts, appliance),
    }
}

fn dependencies(facts: &Facts, appliance: &Appliance) -> Vec<Resource> {
    let annotations = || {
        facts
            .custody
            .as_ref()
            .map(Custody::annotations)
            .unwrap_or_default()
    };
    let mut all = vec![commit(facts, appliance)];
    if let Some(receipt) = &facts.receipt {
        if let Some(digest) = &receipt.root.digest {
            let image = &receipt.root.image;
            all.push(Resource {
                uri: format!("oci:{image}"),
                annotations: annotations(),
                ..Resource::new(image, "sha256", &digest.hex())
            });
        }
        for action in &receipt.actions {
            let mut digest = BTreeMap::from([("gitCommit".to_owned(), action.commit.clone())]);
            if let Some(tree) = facts.trees.get(&action.commit) {
                digest.insert("gitTree".to_owned(), tree.clone());
            }
            all.push(Resource {
                name: format!("{}@{}", action.name, action.git_ref),
                uri: format!("action:{}", action.name),
                digest,
                annotations: annotations(),
            });
        }
    }
    all.extend(facts.given.iter().cloned());
    if let Some(custody) = &facts.custody {
        let name = format!(
            "bundle {} {} {}",
            custody.product, custody.channel, custody.seq
        );
        all.push(Resource {
            annotations: annotations(),
            ..Resource::new(&name, "sha256", &custody.manifest)
        });
    }
    all
}

fn details(facts: &Facts, appliance: &Appliance) -> RunDetails {
    let runner = facts.receipt.as_ref().map(|receipt| &receipt.runner);
    let program = runner
        .filter(|runner| !runner.binary_sha256.is_empty())
        .map(|runner| {
            let name = format!("cofferdam {}", runner.version);
            Resource::new(&name, "sha256", &runner.binary_sha256)
        });
    RunDetails {
        builder: Builder {
            id: appliance.id(),
            version: BTreeMap::from([("cofferdam".to_owned(), appliance.version.clone())]),
            builder_dependencies: program.into_iter().collect(),
        },
        metadata: Metadata {
            invocation_id: invocation_of(facts, appliance),
            started_on: facts.attempt.started_ms.map(time),
            finished_on: facts.attempt.finished_ms.map(time),
        },
        byproducts: log(facts).into_iter().collect(),
    }
}
