//! Reads `on`: which events start a workflow.

use super::scalars::Kind;
use super::{Fields, Reader, key_text};
use crate::availability::Place;
use crate::diagnostic::{Position, nearest};
use crate::expr::Value;
use crate::glob::Glob;
use crate::model::{
    Dispatch, Input, InputKind, PatternFilter, PushFilter, Triggers, UnservedEvent,
};
use crate::yaml::{Node, NodeKind};

const TYPES: &[&str] = &["types"];
const BRANCHES: &[&str] = &["types", "branches", "branches-ignore"];
const PATHS: &[&str] = &[
    "types",
    "branches",
    "branches-ignore",
    "paths",
    "paths-ignore",
];

/// Every event with the keys that its mapping may have.
const EVENTS: [(&str, &[&str]); 36] = [
    ("branch_protection_rule", TYPES),
    ("check_run", TYPES),
    ("check_suite", TYPES),
    ("create", &[]),
    ("delete", &[]),
    ("deployment", &[]),
    ("deployment_status", &[]),
    ("discussion", TYPES),
    ("discussion_comment", TYPES),
    ("fork", &[]),
    ("gollum", &[]),
    ("image_version", &["types", "names", "versions"]),
    ("issue_comment", TYPES),
    ("issues", TYPES),
    ("label", TYPES),
    ("merge_group", BRANCHES),
    ("milestone", TYPES),
    ("page_build", &[]),
    ("project", TYPES),
    ("project_card", TYPES),
    ("project_column", TYPES),
    ("public", &[]),
    ("pull_request", PATHS),
    ("pull_request_comment", TYPES),
    ("pull_request_review", TYPES),
    ("pull_request_review_comment", TYPES),
    ("pull_request_target", PATHS),
    ("registry_package", TYPES),
    ("release", TYPES),
    ("repository_dispatch", TYPES),
    ("schedule", &[]),
    ("status", &[]),
    ("watch", TYPES),
    ("workflow_call", &["inputs", "outputs", "secrets"]),
    (
        "workflow_run",
        &["types", "workflows", "branches", "branches-ignore"],
    ),
    ("package", TYPES),
];

const PUSH_KEYS: [&str; 6] = [
    "branches",
    "branches-ignore",
    "tags",
    "tags-ignore",
    "paths",
    "paths-ignore",
];

const INPUT_KEYS: [&str; 6] = [
    "description",
    "deprecationMessage",
    "required",
    "default",
    "type",
    "options",
];

impl Reader<'_> {
    pub(super) fn triggers(&mut self, node: &Node) -> Triggers {
        let mut triggers = Triggers::default();
        match &node.kind {
            NodeKind::Mapping(entries) => {
                for (key, value) in entries {
                    self.trigger(&mut triggers, key, Some(value));
                }
                if entries.is_empty() {
                    self.problem(node.position, "'on' names no event");
                }
            }
            NodeKind::Sequence(items) => {
                for item in items {
                    self.trigger(&mut triggers, item, None);
                }
                if items.is_empty() {
                    self.problem(node.position, "'on' names no event");
                }
            }
            NodeKind::Scalar(_) => self.trigger(&mut triggers, node, None),
        }
        triggers
    }

    fn trigger(&mut self, triggers: &mut Triggers, name_node: &Node, config: Option<&Node>) {
        let config = config.filter(|config| config.scalar() != Some(&Value::Null));
        let Some(name) = self.non_empty(name_node, "an event") else {
            return;
        };
        let position = name_node.position;
        match name.as_str() {
            "push" => triggers.push = Some(self.push(config)),
            "workflow_dispatch" => triggers.workflow_dispatch = Some(self.dispatch(config)),
            name => match EVENTS.iter().find(|(known, _)| *known == name) {
                Some((_, keys)) => {
                    self.check_unserved(name, config, keys);
                    triggers.unserved.push(UnservedEvent {
                        name: name.to_owned(),
                        position,
                    });
                }
                None => self.unknown_event(name, position),
            },
        }
    }

    fn unknown_event(&mut self, name: &str, at: Position) {
        let known = EVENTS
            .iter()
            .map(|(name, _)| *name)
            .chain(["push", "workflow_dispatch"]);
        let message = format!("unknown event '{name}'");
        match nearest(name, known) {
            Some(near) => self.problem_mend(at, message, format!("did you mean '{near}'?")),
            None => self.problem(at, message),
        }
    }

    /// Checks the shape of an event that is not served.
    fn check_unserved(&mut self, name: &str, config: Option<&Node>, keys: &[&str]) {
        let Some(config) = config else { return };
        let what = format!("on.{name}");
        if name == "schedule" {
            for item in self.sequence(config, &what).unwrap_or_default() {
                if let Some(fields) = self.fields(item, &what, &["cron", "timezone"]) {
                    self.required(&fields, "cron", &what);
                }
            }
            return;
        }
        let Some(fields) = self.fields(config, &what, keys) else {
            return;
        };
        if name == "workflow_call" {
            self.check_call(&fields);
            return;
        }
        for (key, value) in fields.entries {
            if value.scalar() != Some(&Value::Null) {
                self.texts(value, &key_text(key));
            }
        }
    }

    /// Checks the shape of `on.workflow_call`.
    fn check_call(&mut self, fields: &Fields<'_>) {
        let inputs = self.entries_of(fields, "inputs");
        for (_, input) in inputs {
            let keys = [
                "description",
                "deprecationMessage",
                "required",
                "default",
                "type",
            ];
            let what = "an input of on.workflow_call";
            let Some(input) = self.fields(input, what, &keys) else {
                continue;
            };
            if let Some(kind) = self.required(&input, "type", what) {
                self.word(kind, "type", &["boolean", "number", "string"]);
            }
        }
        for (_, output) in self.entries_of(fields, "outputs") {
            let what = "an output of on.workflow_call";
            let Some(output) = self.fields(output, what, &["description", "value"]) else {
                continue;
            };
            if let Some(value) = self.required(&output, "value", what) {
                self.scalar(value, "value", Kind::Text, Place::CallOutput);
            }
        }
        for (_, secret) in self.entries_of(fields, "secrets") {
            if secret.scalar() != Some(&Value::Null) {
                self.fields(
                    secret,
                    "a secret of on.workflow_call",
                    &["description", "required"],
                );
            }
        }
    }

    /// The entries of a mapping under `name`; none if it is absent or null.
    fn entries_of<'n>(&mut self, fields: &Fields<'n>, name: &str) -> &'n [(Node, Node)] {
        match fields.get(name) {
            Some(node) if node.scalar() != Some(&Value::Null) => {
                self.mapping(node, name).unwrap_or_default()
            }
            _ => &[],
        }
    }

    fn push(&mut self, config: Option<&Node>) -> PushFilter {
        let Some(config) = config else {
            return PushFilter::default();
        };
        let Some(fields) = self.fields(config, "on.push", &PUSH_KEYS) else {
            return PushFilter::default();
        };
        PushFilter {
            branches: self.filter(&fields, "branches", "branches-ignore"),
            tags: self.filter(&fields, "tags", "tags-ignore"),
            paths: self.filter(&fields, "paths", "paths-ignore"),
        }
    }

    fn filter(&mut self, fields: &Fields<'_>, only: &str, ignore: &str) -> PatternFilter {
        let keep = fields.get(only).and_then(|node| self.patterns(node, only));
        let ignored = fields
            .get(ignore)
            .and_then(|node| self.patterns(node, ignore));
        if let (Some(_), Some((key, _))) = (fields.entry(only), fields.entry(ignore)) {
            self.problem_mend(
                key.position,
                format!("'{only}' and '{ignore}' cannot be used together"),
                format!("use '{only}' with patterns that start with '!'"),
            );
        }
        match (keep, ignored) {
            (Some(patterns), _) => {
                if !patterns.is_empty() && patterns.iter().all(|pattern| pattern.starts_with('!')) {
                    let at = fields
                        .get(only)
                        .map_or(fields.position, |node| node.position);
                    self.warning(
                        at,
                        format!("'{only}' takes back but never picks, so nothing passes"),
                        format!("put '**' first, or use '{ignore}'"),
                    );
                }
                PatternFilter::Only(patterns)
            }
            (None, Some(patterns)) => PatternFilter::Ignore(patterns),
            (None, None) => PatternFilter::Absent,
        }
    }

    fn patterns(&mut self, node: &Node, what: &str) -> Option<Vec<String>> {
        if node.scalar() == Some(&Value::Null) {
            return None;
        }
        let items = match &node.kind {
            NodeKind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut patterns = Vec::with_capacity(items.len());
        for item in items {
            let Some(pattern) = self.non_empty(item, what) else {
                continue;
            };
            match Glob::parse(&pattern) {
                Ok(_) => patterns.push(pattern),
                Err(error) => self.problem(item.position, error.to_string()),
            }
        }
        Some(patterns)
    }

    fn dispatch(&mut self, config: Option<&Node>) -> Dispatch {
        let mut dispatch = Dispatch::default();
        let Some(config) = config else {
            return dispatch;
        };
        let Some(fields) = self.fields(config, "on.workflow_dispatch", &["inputs"]) else {
            return dispatch;
        };
        for (key, node) in self.entries_of(&fields, "inputs") {
            let id = key_text(key);
            if !self.forbids_expression(key) && self.identifier(&id, key.position) {
                dispatch.inputs.extend(self.input(id, node));
            }
        }
        dispatch
    }

    fn input(&mut self, id: String, node: &Node) -> Option<Input> {
        let mut input = Input {
            id,
            description: None,
            required: false,
            default: None,
            kind: InputKind::String,
        };
        if node.scalar() == Some(&Value::Null) {
            return Some(input);
        }
        let what = format!("input '{}'", input.id);
        let fields = self.fields(node, &what, &INPUT_KEYS)?;
        input.description = fields
            .get("description")
            .and_then(|node| self.text(node, "description"));
        input.required = fields
            .get("required")
            .and_then(|node| self.boolean(node, "required"))
            .unwrap_or_default();
        input.kind = self.input_kind(&fields, &what)?;
        if let Some(default) = fields.get("default") {
            input.default = self.input_default(&input, default);
        }
        Some(input)
    }

    fn input_kind(&mut self, fields: &Fields<'_>, what: &str) -> Option<InputKind> {
        let known = ["string", "boolean", "number", "choice", "environment"];
        let kind = match fields.get("type") {
            Some(node) => self.word(node, "type", &known)?,
            None => "string".to_owned(),
        };
        let options = fields.entry("options");
        if kind != "choice"
            && let Some((key, _)) = options
        {
            self.problem_mend(
                key.position,
                format!("{what} has options but is of type {kind}"),
                "set 'type: choice'",
            );
        }
        Some(match kind.as_str() {
            "boolean" => InputKind::Boolean,
            "number" => InputKind::Number,
            "environment" => InputKind::Environment,
            "choice" => {
                let options = options.and_then(|(_, node)| self.texts(node, "options"));
                if options.as_ref().is_none_or(Vec::is_empty) {
                    self.problem(
                        fields.position,
                        format!("{what} is a choice without options"),
                    );
                }
                InputKind::Choice(options.unwrap_or_default())
            }
            _ => InputKind::String,
        })
    }

    fn input_default(&mut self, input: &Input, node: &Node) -> Option<String> {
        let what = format!("default of input '{}'", input.id);
        match &input.kind {
            InputKind::Boolean => self.boolean(node, &what).map(|truth| truth.to_string()),
            InputKind::Number => {
                let template = self.scalar(node, &what, Kind::Number, Place::Plain)?;
                template.literal().map(|value| value.to_text().to_string())
            }
            InputKind::Choice(options) => {
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                self.word(node, &what, &options)
            }
            InputKind::String | InputKind::Environment => self.text(node, &what),
        }
    }
}
