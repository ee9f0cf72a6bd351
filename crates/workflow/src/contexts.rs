//! What expressions see at planning time and at run time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vocab::Outcome;

use crate::expr::{Host, Object, StatusFunction, Value};

/// Other names of the `github` context.
pub const GITHUB_ALIASES: [&str; 3] = ["gitea", "forgejo", "forge"];

/// The most memory that one expression of a job may take.
const MEMORY_BYTES: usize = 10 << 20;

/// How things went so far, as the status functions answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// What `success()` answers.
    pub success: bool,
    /// What `failure()` answers.
    pub failure: bool,
    /// What `cancelled()` answers.
    pub cancelled: bool,
}

impl Status {
    /// All went well.
    pub const SUCCESS: Self = Self {
        success: true,
        failure: false,
        cancelled: false,
    };
    /// Something failed.
    pub const FAILURE: Self = Self {
        success: false,
        failure: true,
        cancelled: false,
    };
    /// It was cancelled.
    pub const CANCELLED: Self = Self {
        success: false,
        failure: false,
        cancelled: true,
    };

    /// For a job: `needs` are the outcomes of the jobs it names, `ancestors` those of every job
    /// they depend on.
    ///
    /// A job that was skipped or cancelled is no success; one that failed, timed out or was lost is a failure.
    pub fn of_needs(
        needs: impl IntoIterator<Item = Outcome>,
        ancestors: impl IntoIterator<Item = Outcome>,
        cancelled: bool,
    ) -> Self {
        let mut status = Self {
            success: !cancelled,
            failure: false,
            cancelled,
        };
        for result in needs.into_iter().chain(ancestors).map(Outcome::as_result) {
            status.success &= result == "success";
            status.failure |= result == "failure";
        }
        status.failure &= !cancelled;
        status
    }
}

/// Computes `hashFiles` over a workspace.
pub type HashFiles = Arc<dyn Fn(&[String]) -> Result<String, String> + Send + Sync>;

/// The contexts by name, with the answers of the status functions.
#[derive(Clone)]
pub struct Contexts {
    values: Object,
    status: Status,
    hash_files: Option<HashFiles>,
}

impl Contexts {
    /// No contexts yet.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self {
            values: Object::new(),
            status,
            hash_files: None,
        }
    }

    /// Adds or replaces a context.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.set(name, value.into());
    }

    /// Adds or replaces a context.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Lets `hashFiles` look at a workspace.
    #[must_use]
    pub fn with_hash_files(mut self, hash_files: HashFiles) -> Self {
        self.hash_files = Some(hash_files);
        self
    }

    /// Changes what the status functions answer.
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// What the status functions answer.
    #[must_use]
    pub fn status_now(&self) -> Status {
        self.status
    }

    /// A context's value; null when there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> Value {
        self.context(name).unwrap_or_default()
    }
}

impl Host for Contexts {
    fn context(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.values.get(name) {
            return Some(value.clone());
        }
        let alias = GITHUB_ALIASES
            .iter()
            .any(|alias| alias.eq_ignore_ascii_case(name));
        if alias {
            self.values.get("github").cloned()
        } else {
            None
        }
    }

    fn status(&self, function: StatusFunction, jobs: &[String]) -> Result<bool, String> {
        if jobs.is_empty() {
            return Ok(match function {
                StatusFunction::Success => self.status.success,
                StatusFunction::Failure => self.status.failure,
                StatusFunction::Always => true,
                StatusFunction::Cancelled => self.status.cancelled,
            });
        }
        let needs = self.get("needs");
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            match needs.get(job).get("result").as_str() {
                Some(result) => results.push(result.to_owned()),
                None => return Err(format!("job '{job}' is not among the needs of this job")),
            }
        }
        Ok(match function {
            StatusFunction::Success => results.iter().all(|result| result == "success"),
            _ => results.iter().any(|result| result == "failure"),
        })
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        match &self.hash_files {
            Some(hash_files) => hash_files(patterns),
            None => Err("hashFiles needs a workspace; it can be used in steps only".into()),
        }
    }

    fn memory_bytes(&self) -> usize {
        MEMORY_BYTES
    }
}

/// What the `github` context says of one run or job; empty texts where nothing is known yet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GithubContext {
    /// The event's name, for example `push`.
    pub event_name: String,
    /// The event's payload.
    pub event: serde_json::Value,
    /// The full ref, for example `refs/heads/main`.
    pub git_ref: String,
    /// The commit.
    pub sha: String,
    /// `owner/name`.
    pub repository: String,
    /// The repo's number, as text.
    pub repository_id: String,
    /// The owner's number, as text.
    pub repository_owner_id: String,
    /// Whether the ref is protected.
    pub ref_protected: bool,
    /// Who caused the run.
    pub actor: String,
    /// The number of who caused the run, as text.
    pub actor_id: String,
    /// Who caused this attempt.
    pub triggering_actor: String,
    /// The workflow's display name.
    pub workflow: String,
    /// The workflow's path in the repo.
    pub workflow_path: String,
    /// The commit the workflow was read from.
    pub workflow_sha: String,
    /// The run's number for ever.
    pub run_id: String,
    /// The run's number in its workflow.
    pub run_number: String,
    /// The attempt, from 1.
    pub run_attempt: String,
    /// The forge's address, without a slash at its end.
    pub server_url: String,
    /// The API's address, without a slash at its end.
    pub api_url: String,
    /// The branch a pull request goes to.
    pub base_ref: String,
    /// The branch a pull request comes from.
    pub head_ref: String,
    /// For how many days results are kept.
    pub retention_days: u32,
    /// The job's id in the workflow; empty while planning.
    pub job: String,
    /// The working folder; empty while planning.
    pub workspace: String,
    /// Where the payload lies as a file; empty while planning.
    pub event_path: String,
    /// The job's token; empty while planning.
    pub token: String,
}

impl GithubContext {
    /// The ref without `refs/heads/` or `refs/tags/`.
    #[must_use]
    pub fn ref_name(&self) -> &str {
        let name = self.git_ref.as_str();
        name.strip_prefix("refs/heads/")
            .or_else(|| name.strip_prefix("refs/tags/"))
            .unwrap_or(name)
    }

    /// `branch`, `tag`, or empty for anything else.
    #[must_use]
    pub fn ref_type(&self) -> &'static str {
        if self.git_ref.starts_with("refs/heads/") {
            "branch"
        } else if self.git_ref.starts_with("refs/tags/") {
            "tag"
        } else {
            ""
        }
    }

    /// `owner/name/path@ref` of the workflow.
    #[must_use]
    pub fn workflow_ref(&self) -> String {
        format!(
            "{}/{}@{}",
            self.repository, self.workflow_path, self.git_ref
        )
    }

    /// The context as expressions see it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let owner = self.repository.split('/').next().unwrap_or_default();
        let mut object = Object::new();
        object.set("event", Value::from_json(&self.event));
        object.set("ref_protected", Value::Bool(self.ref_protected));
        for (name, text) in [
            ("event_name", self.event_name.as_str()),
            ("ref", self.git_ref.as_str()),
            ("ref_name", self.ref_name()),
            ("ref_type", self.ref_type()),
            ("sha", self.sha.as_str()),
            ("repository", self.repository.as_str()),
            ("repository_id", self.repository_id.as_str()),
            ("repository_owner", owner),
            ("repository_owner_id", self.repository_owner_id.as_str()),
            ("actor", self.actor.as_str()),
            ("actor_id", self.actor_id.as_str()),
            ("triggering_actor", self.triggering_actor.as_str()),
            ("workflow", self.workflow.as_str()),
            ("workflow_ref", self.workflow_ref().as_str()),
            ("workflow_sha", self.workflow_sha.as_str()),
            ("run_id", self.run_id.as_str()),
            ("run_number", self.run_number.as_str()),
            ("run_attempt", self.run_attempt.as_str()),
            ("server_url", self.server_url.as_str()),
            ("api_url", self.api_url.as_str()),
            ("graphql_url", ""),
            ("repositoryUrl", self.repository_url().as_str()),
            ("base_ref", self.base_ref.as_str()),
            ("head_ref", self.head_ref.as_str()),
            ("retention_days", self.retention_days.to_string().as_str()),
            ("secret_source", "Actions"),
            ("job", self.job.as_str()),
            ("workspace", self.workspace.as_str()),
            ("event_path", self.event_path.as_str()),
            ("token", self.token.as_str()),
        ] {
            object.set(name, Value::from(text));
        }
        Value::object(object)
    }

    fn repository_url(&self) -> String {
        format!("{}/{}.git", self.server_url, self.repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Names, parse};

    fn eval(source: &str, contexts: &Contexts) -> Value {
        parse(source, &Names::all())
            .unwrap()
            .eval(contexts)
            .unwrap()
    }

    #[test]
    fn the_github_context_says_where_a_push_went() {
        let github = GithubContext {
            git_ref: "refs/heads/feature/x".into(),
            repository: "lab/tasks-app".into(),
            workflow_path: ".github/workflows/ci.yml".into(),
            event: serde_json::json!({ "before": "0000" }),
            ..GithubContext::default()
        };
        let contexts = Contexts::new(Status::SUCCESS).with("github", github.to_value());
        for (source, expected) in [
            ("github.ref_name", "feature/x"),
            ("github.ref_type", "branch"),
            ("forgejo.repository_owner", "lab"),
            ("Gitea.event.before", "0000"),
            (
                "forge.workflow_ref",
                "lab/tasks-app/.github/workflows/ci.yml@refs/heads/feature/x",
            ),
        ] {
            assert_eq!(eval(source, &contexts), Value::from(expected), "{source}");
        }
    }

    #[test]
    fn a_skipped_need_is_neither_success_nor_failure() {
        use Outcome::{Cancelled, Failure, Skipped, Success};
        let of = |needs: &[Outcome], above: &[Outcome]| {
            Status::of_needs(needs.iter().copied(), above.iter().copied(), false)
        };
        assert_eq!(of(&[], &[]), Status::SUCCESS);
        assert_eq!(of(&[Success, Success], &[Success]), Status::SUCCESS);
        assert_eq!(of(&[Success, Failure], &[]), Status::FAILURE);
        assert_eq!(of(&[Skipped], &[Failure]), Status::FAILURE);
        let neither = Status {
            success: false,
            failure: false,
            cancelled: false,
        };
        assert_eq!(of(&[Skipped], &[]), neither);
        assert_eq!(of(&[Cancelled], &[]), neither);
        assert_eq!(Status::of_needs([Failure], [], true), Status::CANCELLED);
    }

    #[test]
    fn success_of_a_named_job_reads_its_result() {
        let needs = serde_json::json!({
            "build": { "result": "success" }, "lint": { "result": "failure" },
        });
        let contexts = Contexts::new(Status::FAILURE).with("needs", Value::from_json(&needs));
        assert!(eval("success('build') && failure('lint', 'build')", &contexts).is_truthy());
        assert!(!eval("success('build', 'lint')", &contexts).is_truthy());
        let unknown = parse("success('deploy')", &Names::all())
            .unwrap()
            .eval(&contexts);
        assert!(
            unknown
                .unwrap_err()
                .message
                .contains("'deploy' is not among the needs")
        );
    }
}
