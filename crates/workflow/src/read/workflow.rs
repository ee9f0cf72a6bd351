//! Reads the top level of a workflow.

use std::collections::BTreeMap;

use super::scalars::Kind;
use super::{Reader, key_text};
use crate::availability::Place;
use crate::expr::Value;
use crate::model::{Access, Concurrency, Permissions, RunDefaults, Workflow};
use crate::template::{Template, has_expression};
use crate::yaml::{Node, NodeKind};

const KEYS: [&str; 9] = [
    "name",
    "run-name",
    "description",
    "on",
    "permissions",
    "env",
    "defaults",
    "concurrency",
    "jobs",
];

/// What a token may be allowed, and whether only to read or only to write it makes sense.
const PERMISSIONS: [(&str, &[&str]); 20] = {
    const ANY: &[&str] = &["read", "write", "none"];
    const WRITE: &[&str] = &["write", "none"];
    const READ: &[&str] = &["read", "none"];
    [
        ("actions", ANY),
        ("artifact-metadata", ANY),
        ("attestations", ANY),
        ("checks", ANY),
        ("code-quality", ANY),
        ("contents", ANY),
        ("copilot-requests", WRITE),
        ("deployments", ANY),
        ("discussions", ANY),
        ("drives", ANY),
        ("id-token", WRITE),
        ("issues", ANY),
        ("models", READ),
        ("packages", ANY),
        ("pages", ANY),
        ("pull-requests", ANY),
        ("repository-projects", ANY),
        ("security-events", ANY),
        ("statuses", ANY),
        ("vulnerability-alerts", READ),
    ]
};

impl Reader<'_> {
    pub(super) fn workflow(&mut self, root: &Node) -> Option<Workflow> {
        let fields = self.fields(root, "a workflow", &KEYS)?;
        if let Some(node) = fields.get("description") {
            self.text(node, "description");
        }
        let name = fields.get("name").and_then(|node| self.text(node, "name"));
        let run_name = fields
            .get("run-name")
            .and_then(|node| self.scalar(node, "run-name", Kind::Text, Place::Run));
        let on = self
            .required(&fields, "on", "the workflow")
            .map(|node| self.triggers(node));
        let permissions = fields
            .get("permissions")
            .and_then(|node| self.permissions(node));
        let env = fields
            .get("env")
            .and_then(|node| self.flat_data(node, "env", Kind::Text, Place::WorkflowEnv));
        let defaults = fields
            .get("defaults")
            .map(|node| self.defaults(node, Place::Plain));
        let concurrency = fields
            .get("concurrency")
            .and_then(|node| self.concurrency(node, Place::Run));
        let jobs = self
            .required(&fields, "jobs", "the workflow")
            .map(|node| self.jobs(node));
        Some(Workflow {
            path: self.path.to_owned(),
            name: name.filter(|name| !name.trim().is_empty()),
            run_name,
            on: on.unwrap_or_default(),
            env,
            defaults: defaults.unwrap_or_default(),
            concurrency,
            permissions,
            jobs: jobs.unwrap_or_default(),
            warnings: Vec::new(),
        })
    }

    pub(super) fn permissions(&mut self, node: &Node) -> Option<Permissions> {
        match &node.kind {
            NodeKind::Mapping(entries) => {
                let known: Vec<&str> = PERMISSIONS.iter().map(|(name, _)| *name).collect();
                self.fields(node, "permissions", &known);
                let mut each = BTreeMap::new();
                for (key, value) in entries {
                    let name = key_text(key);
                    let levels = PERMISSIONS.iter().find(|(known, _)| *known == name);
                    let Some((_, levels)) = levels else { continue };
                    let what = format!("permission '{name}'");
                    if let Some(level) = self.word(value, &what, levels) {
                        each.insert(name, access(&level));
                    }
                }
                Some(Permissions::Each(each))
            }
            _ => match self
                .word(node, "permissions", &["read-all", "write-all"])?
                .as_str()
            {
                "read-all" => Some(Permissions::ReadAll),
                _ => Some(Permissions::WriteAll),
            },
        }
    }

    /// `defaults.run`; `place` is where its expressions stand.
    pub(super) fn defaults(&mut self, node: &Node, place: Place) -> RunDefaults {
        let run = match node.scalar() {
            Some(Value::Null) => None,
            _ => self
                .fields(node, "defaults", &["run"])
                .and_then(|fields| fields.get("run")),
        };
        let Some(run) = run.filter(|run| run.scalar() != Some(&Value::Null)) else {
            return RunDefaults::default();
        };
        let Some(fields) = self.fields(run, "defaults.run", &["shell", "working-directory"]) else {
            return RunDefaults::default();
        };
        let mut read = |name| {
            fields
                .get(name)
                .and_then(|node| self.scalar(node, name, Kind::NonEmpty, place))
        };
        RunDefaults {
            shell: read("shell"),
            working_directory: read("working-directory"),
        }
    }

    pub(super) fn concurrency(&mut self, node: &Node, place: Place) -> Option<Concurrency> {
        if let NodeKind::Scalar(_) = &node.kind {
            let group = self.scalar(node, "concurrency", Kind::NonEmpty, place)?;
            return Some(Concurrency {
                group,
                cancel_in_progress: None,
                keep_all: false,
            });
        }
        let known = ["group", "cancel-in-progress", "queue"];
        let fields = self.fields(node, "concurrency", &known)?;
        let cancel_in_progress = fields
            .get("cancel-in-progress")
            .and_then(|node| self.scalar(node, "cancel-in-progress", Kind::Bool, place));
        let queue = fields
            .get("queue")
            .and_then(|node| self.word(node, "queue", &["single", "max"]));
        let group = self.required(&fields, "group", "concurrency")?;
        let group = self.scalar(group, "group", Kind::NonEmpty, place)?;
        let keep_all = queue.as_deref() == Some("max");
        Some(Concurrency {
            group,
            cancel_in_progress,
            keep_all,
        })
    }

    /// A text, list or mapping of texts as `runs-on` is, or an expression that gives it.
    pub(super) fn text_or_texts(
        &mut self,
        node: &Node,
        what: &str,
        place: Place,
    ) -> Option<crate::template::Data> {
        use crate::template::Data;
        match &node.kind {
            NodeKind::Sequence(items) => Some(Data::Sequence(
                items
                    .iter()
                    .filter_map(|item| self.scalar(item, what, Kind::NonEmpty, place))
                    .map(Data::Scalar)
                    .collect(),
            )),
            _ => self
                .scalar(node, what, Kind::NonEmpty, place)
                .map(Data::Scalar),
        }
    }
}

fn access(level: &str) -> Access {
    match level {
        "write" => Access::Write,
        "read" => Access::Read,
        _ => Access::None,
    }
}

/// Whether a scalar is one expression or has one in it.
pub(super) fn is_dynamic(node: &Node) -> bool {
    node.scalar()
        .and_then(Value::as_str)
        .is_some_and(has_expression)
}

/// Whether a template is text that was written out.
pub(super) fn literal_text(template: &Template) -> Option<String> {
    template.literal().map(|value| value.to_text().to_string())
}
