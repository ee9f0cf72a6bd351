//! Where an attempt ran, what it could touch and what it did: its receipt, as a statement.

use evidence::attestation::{STATEMENT, Statement, WHERE_IT_RAN, WhereItRan};
use serde_json::{Map, Value, json};

use crate::Appliance;
use crate::facts::Facts;
use crate::provenance::{invocation_of, subject};

const PLACE: [&str; 3] = ["machine", "runner", "executor"];
const COULD: [&str; 9] = [
    "root",
    "layers",
    "uid_map",
    "limits",
    "network",
    "secrets",
    "supply",
    "actions",
    "served_as",
];
const DID: [&str; 5] = ["usage", "background", "residue", "log", "timings"];

pub(crate) fn statement(facts: &Facts, appliance: &Appliance) -> Statement<WhereItRan> {
    let none = Value::Null;
    let receipt = facts.attempt.receipt.as_ref().unwrap_or(&none);
    let mut did = picked(receipt, &DID);
    let steps = facts.steps.iter().map(|step| {
        json!({
            "number": step.number,
            "outcome": step.outcome,
            "conclusion": step.conclusion,
            "exit_code": step.exit_code,
        })
    });
    did.insert("steps".to_owned(), steps.collect());
    let mut unread: Vec<String> =
        serde_json::from_value(receipt["unread"].clone()).unwrap_or_default();
    if receipt.is_null() {
        unread.push(
            "there is no receipt: no sandbox was made, or nobody was left to tell of it".to_owned(),
        );
    }
    Statement {
        kind: STATEMENT.to_owned(),
        subject: subject(facts, appliance),
        predicate_type: WHERE_IT_RAN.to_owned(),
        predicate: WhereItRan {
            invocation_id: invocation_of(facts, appliance),
            outcome: facts
                .attempt
                .outcome
                .map_or_else(String::new, |outcome| outcome.as_str().to_owned()),
            place: picked(receipt, &PLACE).into(),
            could: picked(receipt, &COULD).into(),
            did: did.into(),
            unread,
        },
    }
}

fn picked(receipt: &Value, keys: &[&str]) -> Map<String, Value> {
    keys.iter()
        .filter_map(|key| Some(((*key).to_owned(), receipt.get(key)?.clone())))
        .collect()
}
