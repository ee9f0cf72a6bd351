//! Reads the steps of a job.

use std::collections::HashSet;

use super::scalars::Kind;
use super::{Fields, Reader};
use crate::expr::fold;
use crate::model::{Step, StepAction};
use crate::uses::ActionRef;
use crate::yaml::Node;

/// Keys of every step.
const COMMON: [&str; 6] = [
    "id",
    "name",
    "if",
    "env",
    "continue-on-error",
    "timeout-minutes",
];
/// Keys of a step that runs a script.
const RUN: [&str; 3] = ["run", "shell", "working-directory"];
/// Keys of a step that runs an action.
const USES: [&str; 2] = ["uses", "with"];
/// Keys of steps that run beside others.
const UNSERVED: [&str; 5] = ["background", "wait", "wait-all", "cancel", "parallel"];

impl Reader<'_> {
    pub(super) fn steps(&mut self, node: &Node) -> Vec<Step> {
        let items = self.sequence(node, "steps").unwrap_or_default();
        let mut ids = HashSet::new();
        let mut steps = Vec::with_capacity(items.len());
        for item in items {
            let Some(step) = self.step(item, &mut ids) else {
                continue;
            };
            steps.push(step);
        }
        steps
    }

    fn step(&mut self, node: &Node, ids: &mut HashSet<String>) -> Option<Step> {
        let known: Vec<&str> = COMMON
            .iter()
            .chain(&RUN)
            .chain(&USES)
            .chain(&UNSERVED)
            .copied()
            .collect();
        let fields = self.fields(node, "a step", &known)?;
        let mut unserved = false;
        for name in UNSERVED {
            if let Some((key, _)) = fields.entry(name) {
                self.not_served(key, "a step");
                unserved = true;
            }
        }
        let id = fields.get("id").and_then(|node| self.step_id(node, ids));
        let mut scalar = |name: &str, kind| {
            fields
                .get(name)
                .and_then(|node| self.scalar(node, name, kind, self.step))
        };
        let name = scalar("name", Kind::Text);
        let continue_on_error = scalar("continue-on-error", Kind::Bool);
        let timeout_minutes = scalar("timeout-minutes", Kind::Number);
        let condition = fields
            .get("if")
            .and_then(|node| self.condition(node, "if", self.step_if));
        let env = fields
            .get("env")
            .and_then(|node| self.flat_data(node, "env", Kind::Text, self.step));
        if unserved {
            return None;
        }
        let action = self.action(&fields)?;
        Some(Step {
            id,
            name,
            condition,
            action,
            env,
            continue_on_error,
            timeout_minutes,
            position: node.position,
        })
    }

    fn step_id(&mut self, node: &Node, ids: &mut HashSet<String>) -> Option<String> {
        let id = self.non_empty(node, "id")?;
        if !self.identifier(&id, node.position) {
            return None;
        }
        if !ids.insert(fold(&id)) {
            self.problem_mend(
                node.position,
                format!("the step id '{id}' is used twice in this job"),
                "give each step its own; case does not matter",
            );
            return None;
        }
        Some(id)
    }

    fn action(&mut self, fields: &Fields<'_>) -> Option<StepAction> {
        match (fields.entry("run"), fields.entry("uses")) {
            (Some((run, _)), Some((uses, _))) => {
                let (first, second) = if run.position < uses.position {
                    ("run", uses)
                } else {
                    ("uses", run)
                };
                self.problem_mend(
                    second.position,
                    format!("a step with '{first}' cannot have this too"),
                    "make it two steps",
                );
                None
            }
            (None, None) => {
                self.problem(
                    fields.position,
                    "the step does nothing: it has neither 'run' nor 'uses'",
                );
                None
            }
            (Some((_, run)), None) => {
                self.misplaced(fields, &USES[1..], "run", "uses");
                let mut scalar = |node: Option<&Node>, name: &str, kind| {
                    node.and_then(|node| self.scalar(node, name, kind, self.step))
                };
                let shell = scalar(fields.get("shell"), "shell", Kind::NonEmpty);
                let folder = fields.get("working-directory");
                let working_directory = scalar(folder, "working-directory", Kind::Text);
                let script = scalar(Some(run), "run", Kind::Text)?;
                Some(StepAction::Run {
                    script,
                    shell,
                    working_directory,
                })
            }
            (None, Some((_, uses))) => {
                self.misplaced(fields, &RUN[1..], "uses", "run");
                let with = fields
                    .get("with")
                    .and_then(|node| self.flat_data(node, "with", Kind::Text, self.step));
                let text = self.non_empty(uses, "uses")?;
                let position = uses.position;
                match ActionRef::parse(&text) {
                    Ok(action) => Some(StepAction::Uses {
                        uses: text,
                        action,
                        position,
                        with,
                    }),
                    Err(error) => {
                        self.problem_mend(
                            position,
                            error.to_string(),
                            "write owner/repo[/path]@ref, ./folder or docker://image",
                        );
                        None
                    }
                }
            }
        }
    }

    /// Tells keys that belong to the other kind of step.
    fn misplaced(&mut self, fields: &Fields<'_>, keys: &[&str], kind: &str, other: &str) {
        for name in keys {
            if let Some((key, _)) = fields.entry(name) {
                self.problem_mend(
                    key.position,
                    format!("a step with '{kind}' cannot have '{name}'"),
                    format!("'{name}' belongs to steps with '{other}'"),
                );
            }
        }
    }
}
