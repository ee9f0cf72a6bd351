//! `bundle lock`: from a recipe, and the lock before, to a lock.
//!
//! A pin holds until the recipe's entry changes or an update is asked for. A source that fails
//! is told with its line, keeps the pin that it had, and stops no other. Nothing is written here.

use jiff::civil::Date;

use crate::lock::{Lock, LockError, LockedBlob, Pin, moves};
use crate::recipe::{Entry, KeepTags, Recipe, Want};
use crate::source::{self, Means, SourceError};

/// Which pins are resolved anew although they would hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Update {
    /// None.
    #[default]
    Nothing,
    /// All.
    All,
    /// Those of entries that name one of these.
    Named(Vec<String>),
}

/// How to lock.
#[derive(Clone, Debug)]
pub struct LockOptions {
    /// The day that the lock gets (UTC).
    pub today: Date,
    /// Which pins are resolved anew.
    pub update: Update,
}

/// What locking came to.
#[derive(Debug)]
pub struct Locked {
    /// The lock; incomplete when something failed.
    pub lock: Lock,
    /// What failed, in the order of the recipe.
    pub failures: Vec<Failure>,
    /// Names that moved in this lock.
    pub moved: Vec<String>,
    /// Whether it says anything that the lock before did not.
    pub changed: bool,
}

/// One entry of a recipe that could not be locked.
#[derive(Debug)]
pub struct Failure {
    /// Its line in the recipe, from 1.
    pub line: usize,
    /// The entry, as people call it.
    pub entry: String,
    /// Why.
    pub error: SourceError,
}

/// Why there is no lock at all.
#[derive(Debug, thiserror::Error)]
pub enum RelockError {
    /// The pins do not fit together.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Names moved and the recipe forbids it.
    #[error("keep_tags = \"refuse\", and these moved: {}", names.join(", "))]
    Moved {
        /// Which.
        names: Vec<String>,
    },
    /// Release notes cannot be read.
    #[error("the release notes cannot be kept")]
    Notes(#[source] SourceError),
    /// `--update` names nothing of the recipe.
    #[error("the recipe has no entry named '{0}'")]
    NoSuchEntry(String),
}

/// Locks `recipe`; `before` is the lock that is there.
pub fn lock(
    recipe: &Recipe,
    before: Option<&Lock>,
    options: &LockOptions,
    means: &Means<'_>,
) -> Result<Locked, RelockError> {
    if let Update::Named(names) = &options.update {
        let known = |name: &&String| recipe.entries.iter().any(|e| is_named(&e.want, name));
        if let Some(unknown) = names.iter().find(|name| !known(name)) {
            return Err(RelockError::NoSuchEntry(unknown.clone()));
        }
    }
    let head = &recipe.head;
    let same_channel = |lock: &&Lock| lock.product == head.product && lock.channel == head.channel;
    let before = before.filter(same_channel);
    let mut failures = Vec::new();
    let mut pins = Vec::new();
    for entry in &recipe.entries {
        let old = before.and_then(|lock| pin_of(lock, &entry.want));
        match pin(entry, old, options, means) {
            Ok(pin) => pins.push(pin),
            Err(error) => {
                pins.extend(old.cloned());
                failures.push(Failure {
                    line: entry.line,
                    entry: entry.want.label(),
                    error,
                });
            }
        }
    }
    let mut lock = Lock::empty(&head.product, &head.channel, options.today);
    lock.pins = pins;
    lock.notes = notes(recipe, means).map_err(RelockError::Notes)?;
    let items = lock.items()?;
    let content = head.content.clone();
    lock.content = content.unwrap_or_else(|| options.today.strftime("%Y.%-m.%-d").to_string());
    lock.not_after = head.not_after.after(options.today).to_string();
    let mut moved = Vec::new();
    if let Some(before) = before {
        if says_the_same(&lock, before, recipe) {
            let lock = before.clone();
            return Ok(Locked {
                lock,
                failures,
                moved,
                changed: false,
            });
        }
        let found = moves(&before.items()?, &before.removes, &before.replaces, &items);
        if head.keep_tags == KeepTags::Refuse && !found.fresh.is_empty() {
            return Err(RelockError::Moved { names: found.fresh });
        }
        lock.seq = before.seq + 1;
        (lock.removes, lock.replaces, moved) = (found.removes, found.replaces, found.fresh);
    }
    Ok(Locked {
        lock,
        failures,
        moved,
        changed: true,
    })
}

/// Whether `before` can stand: the same pins, and a head that the recipe still means.
fn says_the_same(lock: &Lock, before: &Lock, recipe: &Recipe) -> bool {
    let content = recipe.head.content.as_ref();
    let day: Option<Date> = before.day.parse().ok();
    let until = day.map(|day| recipe.head.not_after.after(day).to_string());
    lock.pins == before.pins
        && lock.notes == before.notes
        && content.is_none_or(|content| *content == before.content)
        && until.as_ref() == Some(&before.not_after)
}

/// The pin of an entry: the old one if it holds.
fn pin(
    entry: &Entry,
    old: Option<&Pin>,
    options: &LockOptions,
    means: &Means<'_>,
) -> Result<Pin, SourceError> {
    let want = &entry.want;
    let asked = match &options.update {
        Update::Nothing => false,
        Update::All => true,
        Update::Named(names) => names.iter().any(|name| is_named(want, name)),
    };
    let holds = |pin: &&Pin| pin.want == want.digest().to_string() && !want.is_local() && !asked;
    if let Some(pin) = old.filter(holds) {
        source::fetch(want, pin, means)?;
        return Ok(pin.clone());
    }
    means.watch.begin(&want.label());
    let mut new = source::resolve(want, options.today, means)?;
    if let Some(old) = old {
        // The same content keeps its day, so that a lock changes only when something did.
        let day = std::mem::replace(&mut new.locked, old.locked.clone());
        if new != *old {
            new.locked = day;
        }
    }
    Ok(new)
}

/// The pin that `lock` has for an entry, whatever its wording was then.
fn pin_of<'a>(lock: &'a Lock, want: &Want) -> Option<&'a Pin> {
    let digest = want.digest().to_string();
    let same = lock.pins.iter().find(|pin| pin.want == digest);
    same.or_else(|| lock.pins.iter().find(|pin| pin.entry == want.label()))
}

fn is_named(want: &Want, name: &str) -> bool {
    let label = want.label();
    label == name || label.split([' ', ':']).any(|word| word == name)
}

fn notes(recipe: &Recipe, means: &Means<'_>) -> Result<Option<LockedBlob>, SourceError> {
    let Some(path) = &recipe.head.notes else {
        return Ok(None);
    };
    let kept = means.cache.keep_file(&recipe.folder().join(path))?;
    Ok(Some(LockedBlob {
        d: kept.digest,
        n: kept.size_bytes,
        m: "text/markdown".to_owned(),
    }))
}
