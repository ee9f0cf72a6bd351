//! Which actions the steps of a job need, near and far, each pinned to its commit in one
//! generation.
//!
//! What a composite action uses is known from its file, so all of it is looked up before a job
//! starts. Refuses what is not there, circles, nesting deeper than [`MAX_DEPTH`], containers.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::Arc;

use bundle::Item;
use bundle::manifest::Action as Carried;
use git::{EntryKind, ObjectId, Repository};
use workflow::{Action, ActionRef, Limits, Runs, StepAction, path_below};

use super::Actions;
use crate::generation::{self, GenerationId};

/// How many actions may be nested in each other, the outermost included.
pub const MAX_DEPTH: usize = 10;
/// The most different commits of actions that one job may need; each is a mount of its own.
const MAX_COMMITS: usize = 24;
/// The most different actions, near and far.
const MAX_ACTIONS: usize = 250;
/// The most refs that a message names.
const MAX_NAMED: usize = 10;

/// The file of a local action: where it stands in the tree, and its bytes.
pub type LocalFile = (String, Vec<u8>);

/// Where to look.
pub struct Sought<'a> {
    /// The generation; none before the first import.
    pub generation: Option<GenerationId>,
    /// Whether the runner has an action itself.
    pub built_in: &'a dyn Fn(&ActionRef) -> bool,
    /// The file of the action in a folder of the run's commit, if there is one. The error is
    /// words.
    pub local: &'a dyn Fn(&str) -> Result<Option<LocalFile>, String>,
}

/// One ref of an action's repository, with the actions in it that are needed.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The repository, as the generation has it.
    pub carried: Carried,
    /// The ref, as it was asked for.
    pub git_ref: String,
    /// The commit.
    pub commit: ObjectId,
    /// By folder; empty for the root.
    pub actions: BTreeMap<String, Arc<Action>>,
}

/// Why an action cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// In words, for whoever wrote the workflow.
    pub text: String,
    /// What the next bundle must have, as `owner/name@ref`.
    pub missing: Option<String>,
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self {
            text,
            missing: None,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Resolution {
    /// All that is needed and there.
    pub pinned: Vec<Pinned>,
    /// For each that was asked for, in order: why it cannot be used.
    pub troubles: Vec<Option<Trouble>>,
}

impl Actions {
    /// Looks up what `uses` need. Blocks.
    pub fn resolve<'u>(
        &self,
        sought: &Sought<'_>,
        uses: impl IntoIterator<Item = (&'u ActionRef, &'u str)>,
    ) -> Resolution {
        let mut walk = Walk {
            actions: self,
            sought,
            found: Resolution::default(),
            heights: HashMap::new(),
            stack: Vec::new(),
        };
        for (action, text) in uses {
            let trouble = walk.height(action, text).err();
            walk.stack.clear();
            walk.found.troubles.push(trouble);
        }
        walk.found
    }
}

struct Walk<'a> {
    actions: &'a Actions,
    sought: &'a Sought<'a>,
    found: Resolution,
    /// How many actions are nested in one that was looked at, itself included.
    heights: HashMap<String, usize>,
    /// Those that are being looked at, the outermost first: what each is, and how it was named.
    stack: Vec<(String, String)>,
}

impl Walk<'_> {
    /// How many actions are nested in this one, itself included; 0 for those that are built in.
    fn height(&mut self, action: &ActionRef, text: &str) -> Result<usize, Trouble> {
        if (self.sought.built_in)(action) {
            return Ok(0);
        }
        match action {
            ActionRef::Docker(_) => Err(self.say(format!("{text} cannot be run: {NO_CONTAINERS}"))),
            ActionRef::Local(folder) => self.local(folder, text),
            ActionRef::Repo { .. } | ActionRef::Url { .. } => self.carried(action, text),
        }
    }

    fn local(&mut self, folder: &str, text: &str) -> Result<usize, Trouble> {
        let Some(folder) = path_below("", folder) else {
            return Err(self.say(format!("{text} leads out of the workspace")));
        };
        // A checkout may have put the tree into a folder of the workspace.
        let mut place = folder.as_str();
        let file = loop {
            let file = (self.sought.local)(place).map_err(|why| self.say(why))?;
            match place.split_once('/') {
                Some((_, below)) if file.is_none() => place = below,
                _ => break file,
            }
        };
        // What is not in the commit may be made by a step: the runner looks again.
        let Some((path, bytes)) = file else {
            return Ok(1);
        };
        self.enter(&format!("./{folder}"), text, |walk| {
            let action = walk.parse(&path, &bytes)?;
            walk.nested(&action, text)
        })
    }

    fn carried(&mut self, action: &ActionRef, text: &str) -> Result<usize, Trouble> {
        let missing = |walk: &Self, there: String| Trouble {
            missing: action.repo().map(|(o, n, _, r)| format!("{o}/{n}@{r}")),
            ..walk.say(format!(
                "action {text} is not in the active generation{there}"
            ))
        };
        let Some((owner, name, folder, git_ref)) = action.carried() else {
            return Err(missing(self, String::new()));
        };
        let Some(carried) = self.item(&format!("{owner}/{name}"))? else {
            return Err(missing(self, String::new()));
        };
        let failed = |walk: &Self, error: &dyn Error| walk.say(format!("{text}: {}", chain(error)));
        let repository = self.actions.repository(&carried);
        let repository = repository.map_err(|e| failed(self, &e))?;
        let commit = match pin(&repository, git_ref) {
            Ok(Some(commit)) => commit,
            Ok(None) => return Err(missing(self, refs_of(&carried))),
            Err(error) => return Err(failed(self, &error)),
        };
        let key = format!("{}/{folder}@{commit}", carried.name.to_ascii_lowercase());
        let known = self.pinned(&carried, git_ref, commit);
        let is_known = known.is_some_and(|known| known.actions.contains_key(folder));
        if is_known && let Some(height) = self.heights.get(&key).copied() {
            return self.deep_enough(height, text);
        }
        self.enter(&key, text, |walk| {
            let (path, bytes) = file_of(&repository, commit, folder)
                .map_err(|why| walk.say(format!("{text}: {why}")))?;
            let shown = format!("{}@{git_ref}:{path}", carried.name);
            let action = walk.parse(&shown, &bytes)?;
            programs(&repository, commit, folder, &action)
                .map_err(|why| walk.say(format!("{text}: {why}")))?;
            walk.keep(&carried, git_ref, commit, folder, &action)?;
            walk.nested(&action, text)
        })
    }

    /// Looks into an action, once, with its name on the stack.
    fn enter(
        &mut self,
        key: &str,
        text: &str,
        look: impl FnOnce(&mut Self) -> Result<usize, Trouble>,
    ) -> Result<usize, Trouble> {
        if self.stack.iter().any(|(above, _)| above == key) {
            return Err(self.say(format!(
                "{text} uses itself: actions must not form a circle"
            )));
        }
        self.deep_enough(1, text)?;
        self.stack.push((key.to_owned(), text.to_owned()));
        let height = look(self)?;
        self.stack.pop();
        self.heights.insert(key.to_owned(), height);
        Ok(height)
    }

    fn deep_enough(&self, height: usize, text: &str) -> Result<usize, Trouble> {
        if self.stack.len() + height > MAX_DEPTH {
            return Err(self.say(format!(
                "{text} is nested too deep: at most {MAX_DEPTH} actions may use each other"
            )));
        }
        Ok(height)
    }

    fn nested(&mut self, action: &Action, text: &str) -> Result<usize, Trouble> {
        if let Runs::Docker(at) = &action.runs {
            let (line, column) = (at.line, at.column);
            return Err(self.say(format!(
                "{text} cannot be run ({}:{line}:{column}): {NO_CONTAINERS}",
                action.path
            )));
        }
        let mut height = 1;
        for step in action.steps() {
            if let StepAction::Uses { uses, action, .. } = &step.action {
                height = height.max(1 + self.height(action, uses)?);
            }
        }
        Ok(height)
    }

    fn parse(&self, path: &str, bytes: &[u8]) -> Result<Arc<Action>, Trouble> {
        let read = workflow::parse_action(path, bytes, &Limits::default());
        read.map(Arc::new).map_err(|problems| {
            let first = problems.first().map(ToString::to_string);
            let more = match problems.len() {
                0 | 1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            self.say(format!("{}{more}", first.unwrap_or_default()))
        })
    }

    fn item(&self, name: &str) -> Result<Option<Carried>, Trouble> {
        let Some(generation) = self.sought.generation else {
            return Ok(None);
        };
        let store = &self.actions.0.store;
        let items = store.read(|db| generation::items_named(db, generation, "action", name));
        let items = items.map_err(|e| self.say(chain(&e)))?;
        Ok(items.into_iter().find_map(|item| match item {
            Item::Action(action) => Some(action),
            _ => None,
        }))
    }

    fn pinned(&self, carried: &Carried, git_ref: &str, commit: ObjectId) -> Option<&Pinned> {
        self.found.pinned.iter().find(|pinned| {
            pinned.commit == commit
                && pinned.git_ref == git_ref
                && pinned.carried.name == carried.name
        })
    }

    fn keep(
        &mut self,
        carried: &Carried,
        git_ref: &str,
        commit: ObjectId,
        folder: &str,
        action: &Arc<Action>,
    ) -> Result<(), Trouble> {
        let all = &self.found.pinned;
        if all.iter().map(|p| p.actions.len()).sum::<usize>() >= MAX_ACTIONS {
            let most = format!("more than {MAX_ACTIONS} actions are needed, near and far");
            return Err(self.say(most));
        }
        if self.pinned(carried, git_ref, commit).is_none() {
            if all.len() >= MAX_COMMITS {
                return Err(self.say(format!(
                    "more than {MAX_COMMITS} actions of different repositories or refs are needed"
                )));
            }
            self.found.pinned.push(Pinned {
                carried: carried.clone(),
                git_ref: git_ref.to_owned(),
                commit,
                actions: BTreeMap::new(),
            });
        }
        let same = |p: &&mut Pinned| {
            p.commit == commit && p.git_ref == git_ref && p.carried.name == carried.name
        };
        if let Some(pinned) = self.found.pinned.iter_mut().find(same) {
            pinned.actions.insert(folder.to_owned(), Arc::clone(action));
        }
        Ok(())
    }

    /// Words, with the way that led here.
    fn say(&self, text: String) -> Trouble {
        let way: Vec<&str> = self.stack.iter().map(|(_, text)| text.as_str()).collect();
        if way.is_empty() {
            return text.into();
        }
        format!("{text} (used by {})", way.join(" → ")).into()
    }
}

const NO_CONTAINERS: &str = "actions in containers are not served; use run steps, or an action \
                             that is composite or written in JavaScript";

/// The commit of a ref, or of a whole commit id; abbreviations name nothing.
fn pin(repository: &Repository, git_ref: &str) -> Result<Option<ObjectId>, git::ResolveError> {
    let found = repository.resolve(git_ref)?;
    let whole = git_ref.len() == repository.object_format().len_in_hex();
    Ok(found
        .filter(|found| found.ref_name.is_some() || whole)
        .map(|found| found.commit))
}

fn refs_of(carried: &Carried) -> String {
    let short = |name: &String| name.rsplit_once('/').map(|(_, short)| short.to_owned());
    let names: Vec<String> = carried.refs.keys().filter_map(short).collect();
    let more = match names.len().checked_sub(MAX_NAMED) {
        Some(more) if more > 0 => format!(" and {more} more"),
        _ => String::new(),
    };
    let shown = names[..names.len().min(MAX_NAMED)].join(", ");
    format!("; of {} it has {shown}{more}", carried.name)
}

/// The file of the action in `folder`, and its bytes.
fn file_of(
    repository: &Repository,
    commit: ObjectId,
    folder: &str,
) -> Result<(String, Vec<u8>), String> {
    let objects = repository.objects();
    for name in Action::FILES {
        let path = path_below(folder, name).unwrap_or_default();
        let Some(entry) = objects.entry(commit, &path).map_err(|e| chain(&e))? else {
            continue;
        };
        if !matches!(entry.kind, EntryKind::File | EntryKind::Executable) {
            return Err(format!("{path} is no plain file in commit {commit}"));
        }
        let limit = Limits::default().file_bytes as u64;
        let bytes = objects.blob(entry.id, limit).map_err(|e| chain(&e))?;
        return Ok((path, bytes));
    }
    let place = match folder {
        "" => String::new(),
        folder => format!(" in folder {folder}"),
    };
    Err(format!(
        "there is no action.yml{place} at commit {commit}; it may be a workflow or a library"
    ))
}

/// Whether the programs of a node action are where it says.
fn programs(
    repository: &Repository,
    commit: ObjectId,
    folder: &str,
    action: &Action,
) -> Result<(), String> {
    let Runs::Node(node) = &action.runs else {
        return Ok(());
    };
    let objects = repository.objects();
    for path in [Some(&node.main), node.pre.as_ref(), node.post.as_ref()] {
        let Some(path) = path else { continue };
        let Some(below) = path_below(folder, path) else {
            return Err(format!("'{path}' leads out of the action's repository"));
        };
        let entry = objects.entry(commit, &below).map_err(|e| chain(&e))?;
        if !entry.is_some_and(|entry| entry.kind.is_blob()) {
            return Err(format!(
                "its program '{path}' is not in commit {commit}; carry a ref that has it built"
            ));
        }
    }
    Ok(())
}

/// The file of the action in `folder` of a run's own commit, as [`Sought::local`] wants it.
///
/// Errors, in words: the objects cannot be read, or the file is larger than an action may be.
pub fn local_action(
    objects: &git::Objects,
    commit: ObjectId,
    folder: &str,
) -> Result<Option<LocalFile>, String> {
    for name in Action::FILES {
        let path = path_below(folder, name).unwrap_or_default();
        match objects.entry(commit, &path).map_err(|e| chain(&e))? {
            Some(entry) if matches!(entry.kind, EntryKind::File | EntryKind::Executable) => {
                let limit = Limits::default().file_bytes as u64;
                let bytes = objects.blob(entry.id, limit).map_err(|e| chain(&e))?;
                return Ok(Some((path, bytes)));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
