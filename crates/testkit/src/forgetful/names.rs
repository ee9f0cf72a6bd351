//! Names of one disk: what each folder holds now, and what it would hold after a cut.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

/// The number of a file or folder.
pub(super) type Number = u64;

type Folder = BTreeMap<OsString, Number>;

/// One name set or removed in one folder.
#[derive(Clone, Debug)]
struct Step {
    folder: Number,
    name: OsString,
    to: Option<Number>,
}

/// All folders, live and durable, with the changes between the two in their order.
#[derive(Debug, Default)]
pub(super) struct Names {
    live: BTreeMap<Number, Folder>,
    durable: BTreeMap<Number, Folder>,
    /// Each change is atomic: a rename has two steps.
    unsynced: Vec<Vec<Step>>,
}

impl Names {
    pub(super) fn with_root(root: Number) -> Self {
        let mut names = Self::default();
        names.live.insert(root, Folder::new());
        names.durable.insert(root, Folder::new());
        names
    }

    pub(super) fn get(&self, folder: Number, name: &OsStr) -> Option<Number> {
        self.live.get(&folder)?.get(name).copied()
    }

    pub(super) fn list(&self, folder: Number) -> Option<Vec<(OsString, Number)>> {
        let folder = self.live.get(&folder)?;
        Some(
            folder
                .iter()
                .map(|(name, number)| (name.clone(), *number))
                .collect(),
        )
    }

    pub(super) fn is_empty(&self, folder: Number) -> bool {
        self.live.get(&folder).is_none_or(Folder::is_empty)
    }

    /// A new folder, not yet named anywhere.
    pub(super) fn add_folder(&mut self, number: Number) {
        self.live.insert(number, Folder::new());
    }

    pub(super) fn set(&mut self, folder: Number, name: &OsStr, to: Option<Number>) {
        self.change(vec![Step {
            folder,
            name: name.to_owned(),
            to,
        }]);
    }

    pub(super) fn rename(&mut self, from: (Number, &OsStr), to: (Number, &OsStr), what: Number) {
        self.change(vec![
            Step {
                folder: from.0,
                name: from.1.to_owned(),
                to: None,
            },
            Step {
                folder: to.0,
                name: to.1.to_owned(),
                to: Some(what),
            },
        ]);
    }

    fn change(&mut self, steps: Vec<Step>) {
        for step in &steps {
            apply(&mut self.live, step);
        }
        self.unsynced.push(steps);
    }

    /// Makes the names in `folder` durable; a rename takes its other folder along.
    pub(super) fn sync(&mut self, folder: Number) {
        let mut folders = BTreeSet::from([folder]);
        loop {
            let before = folders.len();
            for steps in &self.unsynced {
                if steps.iter().any(|step| folders.contains(&step.folder)) {
                    folders.extend(steps.iter().map(|step| step.folder));
                }
            }
            if folders.len() == before {
                break;
            }
        }
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsynced)
            .into_iter()
            .partition(|steps| steps.iter().any(|step| folders.contains(&step.folder)));
        for step in now.iter().flatten() {
            apply(&mut self.durable, step);
        }
        self.unsynced = later;
    }

    /// Makes all names durable.
    pub(super) fn settle(&mut self) {
        for step in std::mem::take(&mut self.unsynced).iter().flatten() {
            apply(&mut self.durable, step);
        }
    }

    /// How many changes a cut would lose.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Forgets all unsynced changes but the first `kept`, as a journal would, and gives every
    /// number that can still be reached from `root`.
    pub(super) fn forget(&mut self, root: Number, kept: usize) -> BTreeSet<Number> {
        for step in self.unsynced.iter().take(kept).flatten() {
            apply(&mut self.durable, step);
        }
        self.unsynced.clear();
        let mut reached = BTreeSet::new();
        let mut open = vec![root];
        while let Some(number) = open.pop() {
            if reached.insert(number)
                && let Some(folder) = self.durable.get(&number)
            {
                open.extend(folder.values());
            }
        }
        self.durable.retain(|number, _| reached.contains(number));
        // A folder that was named durably before any of its own names is there, and empty.
        let folders: Vec<Number> = self
            .live
            .keys()
            .copied()
            .filter(|number| reached.contains(number))
            .collect();
        for number in folders {
            self.durable.entry(number).or_default();
        }
        self.live.clone_from(&self.durable);
        reached
    }
}

fn apply(folders: &mut BTreeMap<Number, Folder>, step: &Step) {
    let folder = folders.entry(step.folder).or_default();
    match step.to {
        Some(number) => folder.insert(step.name.clone(), number),
        None => folder.remove(&step.name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn only_synced_names_survive() {
        let mut names = Names::with_root(1);
        names.set(1, name("kept"), Some(2));
        names.sync(1);
        names.set(1, name("lost"), Some(3));
        assert_eq!(names.get(1, name("lost")), Some(3));
        let reached = names.forget(1, 0);
        assert_eq!(names.get(1, name("kept")), Some(2));
        assert_eq!(names.get(1, name("lost")), None);
        assert!(!reached.contains(&3));
    }

    #[test]
    fn a_rename_is_never_half_done() {
        for synced in [1, 2] {
            let mut names = Names::with_root(1);
            names.add_folder(2);
            names.set(1, name("sub"), Some(2));
            names.set(1, name("a"), Some(3));
            names.sync(1);
            names.rename((1, name("a")), (2, name("b")), 3);
            names.sync(synced);
            names.forget(1, 0);
            assert_eq!(names.get(1, name("a")), None);
            assert_eq!(names.get(2, name("b")), Some(3));
        }
    }

    #[test]
    fn a_journal_may_keep_the_first_changes() {
        let mut names = Names::with_root(1);
        names.set(1, name("first"), Some(2));
        names.set(1, name("second"), Some(3));
        names.forget(1, 1);
        assert_eq!(names.get(1, name("first")), Some(2));
        assert_eq!(names.get(1, name("second")), None);
    }
}
