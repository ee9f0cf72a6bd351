//! Where an action stands, and what the steps of a composite one share.

use workflow::{Object, Value};

use crate::environment::Env;

/// Where an action is found, as it is told itself.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its folder inside the sandbox.
    pub(crate) path: String,
    /// `owner/name`; empty for an action of the workspace.
    pub(crate) repository: String,
    /// The ref, as it was asked for.
    pub(crate) git_ref: String,
}

impl Place {
    fn pairs(&self) -> [(&'static str, &str); 3] {
        [
            ("action_path", &self.path),
            ("action_repository", &self.repository),
            ("action_ref", &self.git_ref),
        ]
    }

    /// Into the `github` context.
    pub(crate) fn set(&self, github: &mut Object) {
        for (name, value) in self.pairs() {
            github.set(name, Value::from(value));
        }
    }

    /// Into the environment.
    pub(crate) fn tell(&self, env: &mut Env) {
        for (name, value) in self.pairs() {
            env.set(&format!("GITHUB_{}", name.to_uppercase()), value);
        }
    }
}

/// A composite action while it runs.
#[derive(Debug)]
pub(crate) struct Frame {
    /// What it is, whatever it was called by.
    pub(crate) key: String,
    pub(crate) place: Place,
    /// The `inputs` context of its steps.
    pub(crate) inputs: Object,
    /// What the steps around it set.
    pub(crate) env: Env,
    /// The `steps` context of its steps.
    pub(crate) steps: Object,
    /// Whether one of its steps failed.
    pub(crate) failed: bool,
}
