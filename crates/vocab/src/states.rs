//! The states of runs and jobs, as stored and shown.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{RepoId, UserId};

/// A stored text that names no state: the database is from another version.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not a known {what}; the data may come from a newer version")]
pub struct StateError {
    what: &'static str,
    text: String,
}

macro_rules! states {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[doc = $doc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        pub enum $name {
            $($(#[doc = $doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The word that is stored and shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = StateError;

            fn from_str(text: &str) -> Result<Self, StateError> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(StateError { what: $what, text: text.to_owned() }),
                }
            }
        }
    };
}

states! {
    /// How something that ended, ended. The words of the Actions dialect, and two of our own.
    Outcome, "outcome" {
        /// All went as told.
        Success = "success",
        /// A step failed, or the workflow could not be run.
        Failure = "failure",
        /// Somebody or something cancelled it.
        Cancelled = "cancelled",
        /// Its condition or a need said not to run it.
        Skipped = "skipped",
        /// It ran past its time limit.
        TimedOut = "timed_out",
        /// Its runner vanished; nobody knows how far it came. Never silently run again.
        Lost = "lost",
    }
}

states! {
    /// Where a job stands. The outcome of a finished one is stored beside it.
    JobState, "job state" {
        /// Its run's push has not completed: nobody may claim it yet.
        Held = "held",
        /// Waits for its needs.
        Blocked = "blocked",
        /// May be claimed.
        Queued = "queued",
        /// Has been handed to a runner, under a lease.
        Leased = "leased",
        /// Its first step has started.
        Running = "running",
        /// Has an outcome.
        Finished = "finished",
    }
}

states! {
    /// Where a run stands. The outcome of a finished one is stored beside it.
    RunState, "run state" {
        /// Its push has not completed.
        Held = "held",
        /// No job has started.
        Waiting = "waiting",
        /// Some job has started.
        Running = "running",
        /// All jobs have an outcome.
        Finished = "finished",
    }
}

states! {
    /// Who may see a repo besides those it was shared with.
    Visibility, "visibility" {
        /// Only its owner and collaborators.
        Private = "private",
        /// Everybody who is signed in to this instance.
        Instance = "instance",
        /// Everybody who can reach this instance.
        Public = "public",
    }
}

/// Which repos somebody may see: what a list is filtered by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sight {
    /// All of them.
    Everything,
    /// Public ones, those of the instance, the user's own and those shared with them.
    SignedIn {
        /// The user.
        user: UserId,
        /// Repos that the user collaborates on.
        shared: Vec<RepoId>,
    },
    /// Only this one, besides the public ones.
    One(RepoId),
    /// Public ones.
    Public,
}

impl Outcome {
    /// Whether this counts as success for what depends on it (`needs`, a run's verdict).
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Success | Self::Skipped)
    }

    /// The word that expressions see (`job.status`, `needs.x.result`): only four exist there.
    #[must_use]
    pub fn as_result(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Failure | Self::TimedOut | Self::Lost => "failure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_words_come_back() {
        for outcome in [Outcome::Success, Outcome::TimedOut, Outcome::Lost] {
            assert_eq!(outcome.as_str().parse::<Outcome>().unwrap(), outcome);
        }
        assert!("melted".parse::<JobState>().is_err());
    }
}
