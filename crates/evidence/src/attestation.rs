//! What an appliance attests of a job: in-toto statements of where it came from and where it ran.
//!
//! The statements' shapes, and how one is read back. Who makes them stands in `attest`; what
//! proves them against the log, in [`crate::proof`].
//! Source: in-toto Attestation Framework, Statement v1 and ResourceDescriptor v1; SLSA Provenance
//! v1; docs/audit.md, "Receipts and provenance".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The type of a statement.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The predicate of SLSA provenance.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// The predicate of a receipt. A name, not an address: nobody serves it.
pub const WHERE_IT_RAN: &str = "https://cofferdam.invalid/where-it-ran/v1";
/// The predicate of how something came in. A name, not an address.
pub const CUSTODY: &str = "https://cofferdam.invalid/custody/v1";
/// How a job is built. A name, not an address.
pub const BUILD_TYPE: &str = "https://cofferdam.invalid/workflow-job/v1";

/// Which of a job's two statements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Which {
    /// What it was made from.
    Provenance,
    /// Whose computer that was, what it could touch and what it did.
    Receipt,
}

impl Which {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Provenance, Self::Receipt];

    /// The name of its file.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Provenance => "provenance.dsse.json",
            Self::Receipt => "receipt.dsse.json",
        }
    }

    /// The detail of the audit entry that has its digest.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::Provenance => "provenance",
            Self::Receipt => "receipt",
        }
    }

    /// The predicate that it must have.
    #[must_use]
    pub fn predicate(self) -> &'static str {
        match self {
            Self::Provenance => PROVENANCE,
            Self::Receipt => WHERE_IT_RAN,
        }
    }

    /// Where it stands in an export: later attempts have a folder of their own.
    #[must_use]
    pub fn place(self, job: i64, attempt: i64) -> String {
        match attempt {
            1 => format!("jobs/{job}/{}", self.file()),
            later => format!("jobs/{job}/attempt-{later}/{}", self.file()),
        }
    }
}

/// Names one attempt at a job, the same in both statements.
#[must_use]
pub fn invocation(appliance: &str, job: i64, attempt: i64) -> String {
    format!("{appliance}/jobs/{job}/attempts/{attempt}")
}

/// A statement: this is said of these.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Statement<P> {
    /// [`STATEMENT`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// Of what it is said.
    pub subject: Vec<Resource>,
    /// What is said, by type.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said.
    pub predicate: P,
}

/// A thing with a digest.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Resource {
    /// What people call it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub name: String,
    /// What programs call it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub uri: String,
    /// By algorithm, in hex.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub digest: BTreeMap<String, String>,
    /// How it came here.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub annotations: Map<String, Value>,
}

impl Resource {
    /// A thing called `name` with one digest.
    #[must_use]
    pub fn new(name: &str, algorithm: &str, hex: &str) -> Self {
        Self {
            name: name.to_owned(),
            digest: BTreeMap::from([(algorithm.to_owned(), hex.to_owned())]),
            ..Self::default()
        }
    }
}

/// SLSA provenance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was asked for.
    pub build_definition: BuildDefinition,
    /// Who did it, and when.
    pub run_details: RunDetails,
}

/// What was asked for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// [`BUILD_TYPE`].
    pub build_type: String,
    /// What came from outside: nothing here is believed.
    pub external_parameters: Value,
    /// What the appliance itself added.
    pub internal_parameters: Value,
    /// What it was made from.
    pub resolved_dependencies: Vec<Resource>,
}

/// Who did it, and when.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// Who.
    pub builder: Builder,
    /// When.
    pub metadata: Metadata,
    /// What came of it besides the subject.
    pub byproducts: Vec<Resource>,
}

/// Whom one trusts who believes this.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Builder {
    /// The appliance.
    pub id: String,
    /// Versions of its parts.
    pub version: BTreeMap<String, String>,
    /// The program that ran the job.
    pub builder_dependencies: Vec<Resource>,
}

/// Which attempt, and when: RFC 3339 in UTC.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// See [`invocation`].
    pub invocation_id: String,
    /// The first step started; absent when none did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_on: Option<String>,
    /// The job had ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished_on: Option<String>,
}

/// Where a job ran.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhereItRan {
    /// The same as in the provenance.
    pub invocation_id: String,
    /// How it ended.
    pub outcome: String,
    /// Whose computer that was: machine, runner, executor.
    pub place: Value,
    /// What it could touch: root, layers, limits, network, secrets by name.
    pub could: Value,
    /// What it did: steps, usage, packets that went nowhere, what it left.
    pub did: Value,
    /// What could not be read, in words.
    pub unread: Vec<String>,
}

/// What a reader needs of a statement of either kind.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// Of what it is said.
    pub subject: Vec<Resource>,
    /// Which attempt.
    pub invocation: String,
}

/// Reads the payload of an envelope as a whole statement of this kind. The error is words.
pub fn read(which: Which, payload: &[u8]) -> Result<Told, String> {
    let words = |e: serde_json::Error| format!("its statement is not well-formed: {e}");
    let (told, kind, predicate) = match which {
        Which::Provenance => {
            let said: Statement<Provenance> = serde_json::from_slice(payload).map_err(words)?;
            if said.predicate.build_definition.build_type != BUILD_TYPE {
                return Err("it tells of another kind of build".to_owned());
            }
            let told = Told {
                subject: said.subject,
                invocation: said.predicate.run_details.metadata.invocation_id,
            };
            (told, said.kind, said.predicate_type)
        }
        Which::Receipt => {
            let said: Statement<WhereItRan> = serde_json::from_slice(payload).map_err(words)?;
            let told = Told {
                subject: said.subject,
                invocation: said.predicate.invocation_id,
            };
            (told, said.kind, said.predicate_type)
        }
    };
    if kind != STATEMENT {
        return Err(format!("it is a '{kind}', not a statement"));
    }
    if predicate != which.predicate() {
        return Err(format!(
            "it says a '{predicate}', where a '{}' belongs",
            which.predicate()
        ));
    }
    let bare = |one: &Resource| one.digest.is_empty();
    if told.subject.is_empty() || told.subject.iter().any(bare) {
        return Err("it says nothing of anything with a digest".to_owned());
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provenance() -> Value {
        json!({
            "_type": STATEMENT,
            "subject": [{ "name": "c", "digest": { "gitCommit": "00" } }],
            "predicateType": PROVENANCE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE, "externalParameters": {}, "internalParameters": {},
                    "resolvedDependencies": [],
                },
                "runDetails": {
                    "builder": { "id": "x", "version": {}, "builderDependencies": [] },
                    "metadata": { "invocationId": "a/jobs/1/attempts/1" },
                    "byproducts": [],
                },
            },
        })
    }

    #[test]
    fn a_statement_is_read_and_each_wrong_part_is_named() {
        let read = |which, value: &Value| super::read(which, value.to_string().as_bytes());
        let told = read(Which::Provenance, &provenance()).unwrap();
        assert_eq!(told.invocation, "a/jobs/1/attempts/1");
        assert_eq!(told.invocation, invocation("a", 1, 1));
        for (pointer, value, words) in [
            (
                "/_type",
                json!("https://in-toto.io/Statement/v0.1"),
                "not a statement",
            ),
            ("/predicateType", json!(WHERE_IT_RAN), "belongs"),
            ("/subject", json!([]), "of anything"),
            ("/subject/0/digest", json!({}), "of anything"),
            (
                "/predicate/buildDefinition/buildType",
                json!("x"),
                "another kind",
            ),
            ("/predicate/runDetails/metadata", json!({}), "well-formed"),
        ] {
            let mut wrong = provenance();
            *wrong.pointer_mut(pointer).unwrap() = value;
            let told = read(Which::Provenance, &wrong).unwrap_err();
            assert!(told.contains(words), "{pointer}: {told}");
        }
        assert!(read(Which::Receipt, &provenance()).is_err());
    }

    #[test]
    fn each_attempt_has_a_place_of_its_own() {
        assert_eq!(Which::Receipt.place(7, 1), "jobs/7/receipt.dsse.json");
        assert_eq!(
            Which::Provenance.place(7, 2),
            "jobs/7/attempt-2/provenance.dsse.json"
        );
    }
}
