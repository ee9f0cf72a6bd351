//! What steps hand over: the command files are read back after each, and a job's outputs at its
//! end.

use workflow::Object;

use crate::environment;
use crate::executor::SandboxError;
use crate::files::{self, FileError};
use crate::job::Job;
use crate::output::Asked;
use crate::steps::Worked;

/// Folder, below `/work`, of the files by which steps hand over values.
pub(crate) const COMMANDS: &str = "_temp/_runner_file_commands";

/// The command files: variable and name.
pub(crate) const COMMAND_FILES: [(&str, &str); 5] = [
    ("GITHUB_OUTPUT", "set_output"),
    ("GITHUB_ENV", "set_env"),
    ("GITHUB_PATH", "add_path"),
    ("GITHUB_STATE", "save_state"),
    ("GITHUB_STEP_SUMMARY", "step_summary"),
];

/// Largest output of a job.
const OUTPUT_BYTES: usize = 1 << 20;

/// Most outputs of a job.
const OUTPUTS: usize = 1000;

#[derive(Debug, thiserror::Error)]
enum CommandFileError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl Job<'_> {
    /// Takes what the step wrote to its command files and asked for by commands.
    pub(crate) fn read_back(&mut self, asked: Asked, worked: &mut Worked) -> Result<(), String> {
        let mut errors = asked.errors;
        let mut env = asked.env;
        let mut folders = asked.path;
        let mut pairs_of = |job: &Self, variable, word| -> Vec<(String, String)> {
            let bytes = job.command_file(variable, word, files::FILE_BYTES);
            bytes
                .and_then(|b| Ok(files::pairs(variable, &b)?))
                .unwrap_or_else(|error| {
                    errors.push(error.to_string());
                    Vec::new()
                })
        };
        worked
            .outputs
            .extend(pairs_of(self, "GITHUB_OUTPUT", "set_output"));
        worked.state.extend(asked.state);
        worked
            .state
            .extend(pairs_of(self, "GITHUB_STATE", "save_state"));
        env.extend(pairs_of(self, "GITHUB_ENV", "set_env"));
        match self.command_file("GITHUB_PATH", "add_path", files::FILE_BYTES) {
            Ok(bytes) => folders.extend(files::folders(&bytes)),
            Err(error) => errors.push(error.to_string()),
        }
        self.take_summary(worked);
        for (name, value) in env {
            if files::is_refused_env(&name) {
                errors.push(format!(
                    "GITHUB_ENV cannot set {name}: later actions would run it"
                ));
            } else {
                self.set_env.set(&name, &value);
            }
        }
        for folder in folders {
            self.folders.retain(|f| *f != folder);
            self.folders.insert(0, folder);
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.join("; "))
        }
    }

    fn take_summary(&mut self, worked: &mut Worked) {
        match self.command_file("GITHUB_STEP_SUMMARY", "step_summary", files::SUMMARY_BYTES) {
            Ok(bytes) => {
                worked.summary = self.log.masker.mask_text(&files::decode(&bytes));
            }
            Err(error) => {
                let number = self.step();
                self.log
                    .warn(number, &format!("the summary is left out: {error}"));
            }
        }
    }

    fn command_file(
        &self,
        variable: &'static str,
        word: &str,
        limit: u64,
    ) -> Result<Vec<u8>, CommandFileError> {
        let path = format!("{}/{COMMANDS}/{word}_{}", environment::WORK, self.tag());
        match self.sandbox().read_file(&path, limit) {
            Ok(bytes) => Ok(bytes.unwrap_or_default()),
            Err(SandboxError::TooLarge { limit, .. }) => {
                Err(CommandFileError::File(FileError::TooLarge {
                    file: variable,
                    limit,
                }))
            }
            Err(error) => Err(CommandFileError::Sandbox(error)),
        }
    }

    /// What the job gives to those that need it.
    pub(crate) fn outputs(&mut self) -> Vec<(String, String)> {
        let last = self.step().saturating_sub(1);
        let Some(data) = &self.spec.outputs else {
            return Vec::new();
        };
        let value = match data.eval(&self.scope(&self.env_now())) {
            Ok(value) => value,
            Err(error) => {
                self.log.error(
                    last,
                    &format!("the job's outputs cannot be computed: {error}"),
                );
                return Vec::new();
            }
        };
        let mut outputs = Vec::new();
        for (name, value) in value.as_object().unwrap_or(&Object::new()).iter() {
            let value = value.to_text();
            let refusal = if self.log.masker.reveals(&value) {
                "it holds a secret"
            } else if value.len() > OUTPUT_BYTES {
                "it is larger than 1 MiB"
            } else if name.len() > 255 || outputs.len() >= OUTPUTS {
                "its name is longer than 255 characters, or there are more than 1,000 outputs"
            } else {
                outputs.push((name.to_owned(), value.to_string()));
                continue;
            };
            self.log.warn(
                last,
                &format!("output '{name}' is not passed on: {refusal}"),
            );
        }
        outputs
    }
}
