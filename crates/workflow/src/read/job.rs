//! Reads the jobs of a workflow.

use std::collections::HashSet;

use super::scalars::Kind;
use super::workflow::{is_dynamic, literal_text};
use super::{Fields, Reader, key_text};
use crate::availability::Place;
use crate::diagnostic::Position;
use crate::expr::{Object, Value, fold, same_text};
use crate::matrix;
use crate::model::{Job, Strategy};
use crate::template::Data;
use crate::yaml::{Node, NodeKind};

/// The most jobs of a workflow.
const MAX_JOBS: usize = 256;

/// Keys of a job that runs steps.
const KEYS: [&str; 18] = [
    "name",
    "needs",
    "if",
    "runs-on",
    "strategy",
    "timeout-minutes",
    "continue-on-error",
    "env",
    "defaults",
    "outputs",
    "concurrency",
    "permissions",
    "steps",
    "container",
    "services",
    "environment",
    "cancel-timeout-minutes",
    "snapshot",
];

/// Keys of a job that calls another workflow.
const CALL_KEYS: [&str; 9] = [
    "name",
    "uses",
    "with",
    "secrets",
    "needs",
    "if",
    "permissions",
    "concurrency",
    "strategy",
];

impl Reader<'_> {
    pub(super) fn jobs(&mut self, node: &Node) -> Vec<Job> {
        let Some(entries) = self.mapping(node, "jobs") else {
            return Vec::new();
        };
        if entries.is_empty() {
            self.problem(node.position, "the workflow has no jobs");
        }
        if entries.len() > MAX_JOBS {
            let message = format!(
                "the workflow has {} jobs; the limit is {MAX_JOBS}",
                entries.len()
            );
            self.problem(node.position, message);
            return Vec::new();
        }
        let mut jobs = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if self.forbids_expression(key) {
                continue;
            }
            let id = key_text(key);
            self.identifier(&id, key.position);
            jobs.extend(self.job(id, key.position, value));
        }
        self.check_graph(entries);
        spell_needs(&mut jobs);
        jobs
    }

    fn job(&mut self, id: String, position: Position, node: &Node) -> Option<Job> {
        let entries = self.mapping(node, &format!("job '{id}'"))?;
        let what = format!("job '{id}'");
        let has = |name| entries.iter().any(|(key, _)| super::is_key(key, name));
        if has("uses") && !has("runs-on") {
            self.called_job(node, &what);
            return None;
        }
        let fields = self.fields(node, &what, &KEYS)?;
        self.unserved_keys(&fields, &what);
        let mut scalar = |name: &str, kind, place| {
            fields
                .get(name)
                .and_then(|node| self.scalar(node, name, kind, place))
        };
        let name = scalar("name", Kind::Text, Place::Job);
        let timeout_minutes = scalar("timeout-minutes", Kind::Number, Place::Job);
        let continue_on_error = scalar("continue-on-error", Kind::Bool, Place::Job);
        let needs = fields
            .get("needs")
            .and_then(|node| self.texts(node, "needs"));
        let condition = fields
            .get("if")
            .and_then(|node| self.condition(node, "if", Place::JobIf));
        let strategy = fields
            .get("strategy")
            .and_then(|node| self.strategy(&id, node));
        let outputs = fields
            .get("outputs")
            .and_then(|node| self.flat_data(node, "outputs", Kind::Text, Place::JobOutputs));
        let env = fields
            .get("env")
            .and_then(|node| self.flat_data(node, "env", Kind::Text, Place::JobSecrets));
        let defaults = fields
            .get("defaults")
            .map(|node| self.defaults(node, Place::JobDefaults));
        let concurrency = fields
            .get("concurrency")
            .and_then(|node| self.concurrency(node, Place::Job));
        let permissions = fields
            .get("permissions")
            .and_then(|node| self.permissions(node));
        let steps = fields
            .get("steps")
            .map(|node| self.steps(node))
            .unwrap_or_default();
        let runs_on_node = self.required(&fields, "runs-on", &what)?;
        let runs_on = self.runs_on(runs_on_node)?;
        Some(Job {
            id,
            position,
            name,
            needs: unique(needs.unwrap_or_default()),
            condition,
            runs_on,
            runs_on_position: runs_on_node.position,
            strategy: strategy.unwrap_or_default(),
            timeout_minutes,
            continue_on_error,
            outputs,
            env,
            defaults: defaults.unwrap_or_default(),
            concurrency,
            permissions,
            steps,
        })
    }

    /// A job that calls a reusable workflow: checked, and not served.
    fn called_job(&mut self, node: &Node, what: &str) {
        let Some(fields) = self.fields(node, what, &CALL_KEYS) else {
            return;
        };
        if let Some(node) = fields.get("uses") {
            self.non_empty(node, "uses");
        }
        if let Some(node) = fields.get("with") {
            self.flat_data(node, "with", Kind::Any, Place::Job);
        }
        match fields.get("secrets") {
            Some(node) if node.scalar().and_then(Value::as_str) == Some("inherit") => {}
            Some(node) => {
                self.flat_data(node, "secrets", Kind::Any, Place::JobSecrets);
            }
            None => {}
        }
        if let Some(node) = fields.get("if") {
            self.condition(node, "if", Place::JobIf);
        }
        if let Some((key, _)) = fields.entry("uses") {
            self.not_served(key, what);
        }
    }

    fn unserved_keys(&mut self, fields: &Fields<'_>, what: &str) {
        if let Some((key, node)) = fields.entry("container") {
            self.check_container(node);
            self.not_served(key, what);
        }
        if let Some((key, node)) = fields.entry("services") {
            self.check_services(node);
            self.not_served(key, what);
        }
        if let Some((key, node)) = fields.entry("environment") {
            self.check_environment(node);
            self.not_served(key, what);
        }
        if let Some((key, node)) = fields.entry("cancel-timeout-minutes") {
            self.scalar(node, "cancel-timeout-minutes", Kind::Number, Place::Job);
            self.warning(
                key.position,
                format!("'cancel-timeout-minutes' of {what} has no effect here yet"),
                "a cancelled job is given the time that the site gives",
            );
        }
        if let Some((key, _)) = fields.entry("snapshot") {
            self.not_served(key, what);
        }
    }

    fn runs_on(&mut self, node: &Node) -> Option<Data> {
        if !matches!(node.kind, NodeKind::Mapping(_)) {
            if matches!(&node.kind, NodeKind::Sequence(items) if items.is_empty()) {
                self.problem(
                    node.position,
                    "runs-on is empty; name the label of a runner",
                );
            }
            return self.text_or_texts(node, "runs-on", Place::Job);
        }
        let fields = self.fields(node, "runs-on", &["group", "labels"])?;
        let mut entries = Vec::new();
        for name in ["group", "labels"] {
            let Some(value) = fields.get(name) else {
                continue;
            };
            let data = match name {
                "group" => self
                    .scalar(value, "group", Kind::NonEmpty, Place::Job)
                    .map(Data::Scalar),
                _ => self.text_or_texts(value, "labels", Place::Job),
            };
            let key = crate::template::Template::Literal(Value::from(name));
            entries.extend(data.map(|data| (crate::template::Key::Name(key), data)));
        }
        if fields.entries.is_empty() {
            self.problem(
                node.position,
                "runs-on is empty; name the label of a runner",
            );
        }
        Some(Data::Mapping(entries))
    }

    fn strategy(&mut self, job: &str, node: &Node) -> Option<Strategy> {
        let fields = self.fields(node, "strategy", &["matrix", "fail-fast", "max-parallel"])?;
        let fail_fast = fields
            .get("fail-fast")
            .and_then(|node| self.scalar(node, "fail-fast", Kind::Bool, Place::Strategy));
        let max_parallel = fields
            .get("max-parallel")
            .and_then(|node| self.scalar(node, "max-parallel", Kind::Number, Place::Strategy));
        let matrix = fields.get("matrix");
        Some(Strategy {
            matrix: matrix.and_then(|node| self.matrix(job, node)),
            matrix_position: matrix.map(|node| node.position),
            fail_fast,
            max_parallel,
        })
    }

    fn matrix(&mut self, job: &str, node: &Node) -> Option<Data> {
        if is_dynamic(node) {
            return self.data(node, "matrix", Place::Strategy);
        }
        let before = self.problems.len();
        for (key, value) in self.mapping(node, "matrix")? {
            let name = key_text(key);
            match &value.kind {
                NodeKind::Sequence(items) if items.is_empty() && !is_dynamic(key) => {
                    self.problem_mend(
                        value.position,
                        format!("matrix '{name}' does not contain any values"),
                        "give it at least one, or remove it",
                    );
                }
                NodeKind::Sequence(_) => {}
                _ if is_dynamic(value) => {}
                _ => self.unexpected(value, &format!("matrix '{name}'"), "a list"),
            }
        }
        let data = self.data(node, "matrix", Place::Strategy)?;
        if self.problems.len() == before && !data.any_expr(&|_| true) {
            self.check_legs(job, node, &data);
        }
        Some(data)
    }

    /// Counts the legs of a matrix in which nothing is left to compute.
    fn check_legs(&mut self, job: &str, node: &Node, data: &Data) {
        let Ok(value) = data.eval(&Object::new()) else {
            return;
        };
        if let Err(error) = matrix::combinations(job, &value) {
            self.problem(node.position, error.to_string());
        }
    }

    fn check_environment(&mut self, node: &Node) {
        if matches!(node.kind, NodeKind::Scalar(_)) {
            self.scalar(node, "environment", Kind::Text, Place::Job);
            return;
        }
        let keys = ["name", "url", "deployment"];
        let Some(fields) = self.fields(node, "environment", &keys) else {
            return;
        };
        if let Some(name) = self.required(&fields, "name", "environment") {
            let name = self.scalar(name, "name", Kind::Text, Place::Job);
            if name
                .as_ref()
                .and_then(literal_text)
                .is_some_and(|name| name.trim().is_empty())
            {
                self.problem(fields.position, "the name of the environment is empty");
            }
        }
        if let Some(url) = fields.get("url") {
            self.scalar(url, "url", Kind::Text, Place::EnvironmentUrl);
        }
    }
}

/// Spells every need as the job it names does; case does not matter.
fn spell_needs(jobs: &mut [Job]) {
    let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
    for need in jobs.iter_mut().flat_map(|job| &mut job.needs) {
        if let Some(id) = ids.iter().find(|id| same_text(id, need)) {
            need.clone_from(id);
        }
    }
}

/// Each name once, in order.
fn unique(names: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names
        .into_iter()
        .filter(|name| seen.insert(fold(name)))
        .collect()
}
