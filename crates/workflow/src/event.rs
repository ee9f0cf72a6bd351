//! Whether an event starts a workflow, and with which inputs.

use std::collections::BTreeMap;

use crate::expr::{Object, Value};
use crate::glob::picks;
use crate::model::{Input, InputKind, PatternFilter, PushFilter, Workflow};

/// The folders that may hold workflows. The first one that a commit has is used, no other.
pub const WORKFLOW_DIRS: [&str; 3] = [
    ".forgejo/workflows",
    ".gitea/workflows",
    ".github/workflows",
];

/// Whether a file of a workflow folder, given by its name in it, is a workflow.
#[must_use]
pub fn is_workflow_file(name: &str) -> bool {
    !name.contains('/') && (name.ends_with(".yml") || name.ends_with(".yaml"))
}

/// Texts in the head commit's message that skip every workflow.
const SKIP_WORDS: [&str; 5] = [
    "[skip ci]",
    "[ci skip]",
    "[no ci]",
    "[skip actions]",
    "[actions skip]",
];

/// The text in a commit's message that asks to skip workflows, if there is one.
#[must_use]
pub fn skip_request(message: &str) -> Option<&'static str> {
    let lower = message.to_lowercase();
    if let Some(word) = SKIP_WORDS.into_iter().find(|word| lower.contains(word)) {
        return Some(word);
    }
    let trailers = lower
        .trim_end()
        .rsplit("\n\n")
        .next()
        .filter(|last| *last != lower.trim_end());
    let asks = |line: &str| {
        line.split_once(':')
            .is_some_and(|(key, value)| key.trim() == "skip-checks" && value.trim() == "true")
    };
    trailers
        .is_some_and(|lines| lines.lines().any(asks))
        .then_some("skip-checks: true")
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A ref was pushed.
    Push {
        /// The full ref, for example `refs/heads/main`.
        git_ref: &'a str,
        /// Whether the ref was deleted.
        deleted: bool,
        /// The paths that the push changed; `None` when that is not known, as for a new branch.
        changed_paths: Option<&'a [String]>,
        /// The message of the commit that the ref now names.
        head_message: &'a str,
    },
    /// Somebody started the workflow by hand.
    Dispatch,
}

impl Event<'_> {
    /// The event's name in workflows.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Push { .. } => "push",
            Self::Dispatch => "workflow_dispatch",
        }
    }
}

/// Whether a workflow runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selected {
    /// It does.
    Run,
    /// It does not, and why.
    Skip(SkipReason),
}

/// Why a workflow does not run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SkipReason {
    /// It does not name the event.
    #[error("the workflow is not started by {0}")]
    NotListed(&'static str),
    /// A deleted ref has nothing to run.
    #[error("the ref was deleted")]
    Deleted,
    /// The commit asks for it.
    #[error("the commit message says '{0}'")]
    Asked(&'static str),
    /// A filter keeps the branch out.
    #[error("its filters leave out branch '{0}'")]
    Branch(String),
    /// A filter keeps the tag out.
    #[error("its filters leave out tag '{0}'")]
    Tag(String),
    /// A filter keeps all changed paths out.
    #[error("its filters leave out every changed path")]
    Paths,
    /// Neither a branch nor a tag.
    #[error("'{0}' is neither a branch nor a tag")]
    OtherRef(String),
}

/// Whether `event` starts `workflow`.
#[must_use]
pub fn select(workflow: &Workflow, event: &Event<'_>) -> Selected {
    let reason = match event {
        Event::Push {
            git_ref,
            deleted,
            changed_paths,
            head_message,
        } => match &workflow.on.push {
            None => Some(SkipReason::NotListed(event.name())),
            Some(_) if *deleted => Some(SkipReason::Deleted),
            Some(filter) => skip_request(head_message)
                .map(SkipReason::Asked)
                .or_else(|| filtered_out(filter, git_ref, *changed_paths)),
        },
        Event::Dispatch if workflow.on.workflow_dispatch.is_none() => {
            Some(SkipReason::NotListed(event.name()))
        }
        Event::Dispatch => None,
    };
    reason.map_or(Selected::Run, Selected::Skip)
}

fn filtered_out(
    filter: &PushFilter,
    git_ref: &str,
    changed_paths: Option<&[String]>,
) -> Option<SkipReason> {
    let (branches, tags) = (&filter.branches, &filter.tags);
    if let Some(tag) = git_ref.strip_prefix("refs/tags/") {
        let other_only = *tags == PatternFilter::Absent && *branches != PatternFilter::Absent;
        return (other_only || !passes(tags, tag)).then(|| SkipReason::Tag(tag.to_owned()));
    }
    let Some(branch) = git_ref.strip_prefix("refs/heads/") else {
        return Some(SkipReason::OtherRef(git_ref.to_owned()));
    };
    let other_only = *branches == PatternFilter::Absent && *tags != PatternFilter::Absent;
    if other_only || !passes(branches, branch) {
        return Some(SkipReason::Branch(branch.to_owned()));
    }
    let paths = changed_paths?;
    let passes = match &filter.paths {
        PatternFilter::Absent => true,
        PatternFilter::Only(patterns) => paths.iter().any(|path| picks(patterns, path)),
        PatternFilter::Ignore(patterns) => {
            paths.is_empty() || paths.iter().any(|path| !picks(patterns, path))
        }
    };
    (!passes).then_some(SkipReason::Paths)
}

fn passes(filter: &PatternFilter, name: &str) -> bool {
    match filter {
        PatternFilter::Absent => true,
        PatternFilter::Only(patterns) => picks(patterns, name),
        PatternFilter::Ignore(patterns) => !picks(patterns, name),
    }
}

/// An input that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InputError {
    /// The workflow cannot be started by hand.
    #[error("the workflow has no workflow_dispatch; add it under 'on'")]
    NotDispatchable,
    /// There is no such input.
    #[error("there is no input '{0}'")]
    Unknown(String),
    /// It must be given.
    #[error("input '{0}' is required")]
    Missing(String),
    /// It is of the wrong kind.
    #[error("input '{name}' must be {wanted}, not '{got}'")]
    Wrong {
        /// The input.
        name: String,
        /// What it must be.
        wanted: String,
        /// What was given.
        got: String,
    },
}

/// Checks the inputs given for a start by hand and returns the `inputs` context: what was given,
/// else the defaults, with booleans and numbers as such.
///
/// Errors: every input that is unknown, missing or wrong.
pub fn dispatch_inputs(
    workflow: &Workflow,
    given: &BTreeMap<String, String>,
) -> Result<Value, Vec<InputError>> {
    let Some(dispatch) = &workflow.on.workflow_dispatch else {
        return Err(vec![InputError::NotDispatchable]);
    };
    let mut errors: Vec<InputError> = given
        .keys()
        .filter(|name| {
            !dispatch
                .inputs
                .iter()
                .any(|input| input.id.eq_ignore_ascii_case(name))
        })
        .map(|name| InputError::Unknown(name.clone()))
        .collect();
    let mut object = Object::new();
    for input in &dispatch.inputs {
        let value = given
            .iter()
            .find(|(name, _)| input.id.eq_ignore_ascii_case(name))
            .map(|(_, value)| value);
        match input_value(input, value.map(String::as_str)) {
            Ok(value) => object.set(input.id.as_str(), value),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(Value::object(object))
    } else {
        Err(errors)
    }
}

/// `github.event.inputs` for computed `inputs`: the same values, each as text.
#[must_use]
pub fn event_inputs(inputs: &Value) -> Value {
    let mut texts = Object::new();
    for (name, value) in inputs.as_object().unwrap_or(&Object::new()).iter() {
        texts.set(name, Value::from(&*value.to_text()));
    }
    Value::object(texts)
}

fn input_value(input: &Input, given: Option<&str>) -> Result<Value, InputError> {
    let text = match (given, &input.default) {
        (Some(text), _) if !(text.is_empty() && input.required) => text,
        (_, Some(default)) => default,
        _ if input.required => return Err(InputError::Missing(input.id.clone())),
        (_, None) => "",
    };
    let wrong = |wanted: &str| InputError::Wrong {
        name: input.id.clone(),
        wanted: wanted.to_owned(),
        got: text.to_owned(),
    };
    match &input.kind {
        InputKind::String | InputKind::Environment => Ok(Value::from(text)),
        InputKind::Boolean => match text {
            "true" => Ok(Value::from(true)),
            "false" | "" => Ok(Value::from(false)),
            _ => Err(wrong("true or false")),
        },
        InputKind::Number if text.is_empty() => Ok(Value::from("")),
        InputKind::Number => match Value::from(text).to_number() {
            number if number.is_nan() => Err(wrong("a number")),
            number => Ok(Value::from(number)),
        },
        InputKind::Choice(options) => {
            if text.is_empty() && given.is_none() {
                return Ok(Value::from(options.first().map_or("", String::as_str)));
            }
            if options.iter().any(|option| option == text) {
                return Ok(Value::from(text));
            }
            Err(wrong(&format!("one of {}", options.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, parse};

    fn workflow(on: &str) -> Workflow {
        let text = format!(
            "on:\n{on}\njobs:\n  one:\n    runs-on: linux\n    steps:\n      - run: echo\n"
        );
        parse("w.yml", text.as_bytes(), &Limits::default()).unwrap()
    }

    fn push(on: &str, git_ref: &str, paths: Option<&[&str]>) -> Selected {
        let paths: Option<Vec<String>> =
            paths.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect());
        let event = Event::Push {
            git_ref,
            deleted: false,
            changed_paths: paths.as_deref(),
            head_message: "fix it",
        };
        select(&workflow(on), &event)
    }

    fn runs(on: &str, git_ref: &str) -> bool {
        push(on, git_ref, None) == Selected::Run
    }

    #[test]
    fn branch_and_tag_filters_exclude_each_other() {
        assert!(runs("  push:", "refs/heads/x") && runs("  push:", "refs/tags/x"));
        let branches = "  push:\n    branches: [main, 'rel/**', '!rel/old']";
        assert!(runs(branches, "refs/heads/main") && runs(branches, "refs/heads/rel/1"));
        assert!(!runs(branches, "refs/heads/dev") && !runs(branches, "refs/heads/rel/old"));
        assert!(!runs(branches, "refs/tags/main"));
        let tags = "  push:\n    tags: 'v*'";
        assert!(runs(tags, "refs/tags/v1") && !runs(tags, "refs/heads/v1"));
        let ignore = "  push:\n    branches-ignore: ['tmp/**']";
        assert!(runs(ignore, "refs/heads/main") && !runs(ignore, "refs/heads/tmp/a"));
        assert!(!runs(ignore, "refs/tags/v1"));
        let both = "  push:\n    branches: [main]\n    tags-ignore: [beta*]";
        assert!(runs(both, "refs/tags/v1") && !runs(both, "refs/tags/beta1"));
        assert!(!runs("  push:", "refs/notes/x"));
    }

    #[test]
    fn path_filters_ask_about_every_changed_path() {
        let only = "  push:\n    paths: ['src/**', '!src/docs/**']";
        let main = "refs/heads/main";
        assert_eq!(push(only, main, Some(&["a", "src/x"])), Selected::Run);
        assert_eq!(
            push(only, main, Some(&["src/docs/x"])),
            Selected::Skip(SkipReason::Paths)
        );
        assert_eq!(
            push(only, main, Some(&[])),
            Selected::Skip(SkipReason::Paths)
        );
        assert_eq!(push(only, main, None), Selected::Run);
        assert_eq!(push(only, "refs/tags/v1", Some(&["a"])), Selected::Run);
        let ignore = "  push:\n    paths-ignore: ['**.md']";
        assert_eq!(push(ignore, main, Some(&["a.md", "b.rs"])), Selected::Run);
        assert_eq!(
            push(ignore, main, Some(&["a.md"])),
            Selected::Skip(SkipReason::Paths)
        );
    }

    #[test]
    fn deletions_and_skip_words_run_nothing() {
        let workflow = workflow("  push:");
        let event = |deleted, head_message| Event::Push {
            git_ref: "refs/heads/main",
            deleted,
            changed_paths: None,
            head_message,
        };
        assert_eq!(
            select(&workflow, &event(true, "")),
            Selected::Skip(SkipReason::Deleted)
        );
        assert_eq!(
            select(&workflow, &event(false, "docs [Skip CI]")),
            Selected::Skip(SkipReason::Asked("[skip ci]"))
        );
        assert_eq!(select(&workflow, &event(false, "skip ci")), Selected::Run);
        assert_eq!(
            skip_request("x\n\nbody\n\nSkip-Checks: true\n"),
            Some("skip-checks: true")
        );
        assert_eq!(skip_request("skip-checks: true"), None);
        assert!(matches!(
            select(&workflow, &Event::Dispatch),
            Selected::Skip(_)
        ));
    }

    #[test]
    fn inputs_are_checked_and_typed() {
        let workflow = workflow(concat!(
            "  workflow_dispatch:\n    inputs:\n",
            "      who: { required: true }\n",
            "      dry: { type: boolean, default: true }\n",
            "      count: { type: number, default: 3 }\n",
            "      size: { type: choice, options: [small, large], default: large }\n",
        ));
        let given = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            dispatch_inputs(&workflow, &pairs.collect())
        };
        assert_eq!(
            given(&[("WHO", "ada"), ("count", "0x10")])
                .unwrap()
                .to_json(),
            serde_json::json!({ "who": "ada", "dry": true, "count": 16, "size": "large" })
        );
        let inputs = given(&[("who", "ada"), ("count", "2")]).unwrap();
        assert_eq!(
            event_inputs(&inputs).to_json(),
            serde_json::json!({ "who": "ada", "dry": "true", "count": "2", "size": "large" })
        );
        let errors = given(&[
            ("dry", "yes"),
            ("count", "x"),
            ("size", "huge"),
            ("else", "1"),
        ]);
        assert_eq!(
            errors
                .unwrap_err()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            [
                "there is no input 'else'",
                "input 'who' is required",
                "input 'dry' must be true or false, not 'yes'",
                "input 'count' must be a number, not 'x'",
                "input 'size' must be one of small, large, not 'huge'",
            ]
        );
    }

    #[test]
    fn only_yaml_files_directly_in_the_folder_are_workflows() {
        assert!(is_workflow_file("ci.yml") && is_workflow_file("b.yaml"));
        assert!(!is_workflow_file("a/ci.yml") && !is_workflow_file("readme.md"));
    }
}
