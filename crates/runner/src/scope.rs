//! What the expressions of a step see: the workflow's contexts, or those of the action it is in.

use workflow::{Contexts, Host, Object, Status, StatusFunction, Value};

use crate::environment::{self, Env};
use crate::hashfiles;
use crate::job::{Job, Progress};

/// What a step's expressions see.
pub(crate) struct Scope<'a, 'b> {
    contexts: Contexts,
    job: &'b Job<'a>,
}

impl Host for Scope<'_, '_> {
    fn context(&self, name: &str) -> Option<Value> {
        self.contexts.context(name)
    }

    fn status(&self, function: StatusFunction, jobs: &[String]) -> Result<bool, String> {
        self.contexts.status(function, jobs)
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        hashfiles::hash(self.job, patterns)
    }

    fn memory_bytes(&self) -> usize {
        self.contexts.memory_bytes()
    }
}

impl<'a> Job<'a> {
    /// The contexts for a step, or for the job itself.
    pub(crate) fn scope(&self, env: &Env) -> Scope<'a, '_> {
        let order = self.order;
        let mut contexts = Contexts::new(self.status());
        let texts = |pairs: &mut dyn Iterator<Item = (&str, &str)>| {
            let mut object = Object::new();
            for (name, value) in pairs {
                object.set(name, Value::from(value));
            }
            Value::object(object)
        };
        let json = |map: &serde_json::Map<String, serde_json::Value>| {
            Value::from_json(&serde_json::Value::Object(map.clone()))
        };
        contexts.set("env", env.to_value());
        match self.frames.last() {
            // No secrets, no variables: an action sees what it is handed.
            Some(frame) => {
                let mut github = self.github.clone();
                frame.place.set(&mut github);
                contexts.set("github", Value::object(github));
                contexts.set("inputs", Value::object(frame.inputs.clone()));
                contexts.set("steps", Value::object(frame.steps.clone()));
            }
            None => {
                contexts.set(
                    "vars",
                    texts(&mut order.vars.iter().map(|(n, v)| (n.as_str(), v.as_str()))),
                );
                contexts.set(
                    "secrets",
                    texts(&mut order.secrets.iter().map(|(n, v)| (n.as_str(), v.expose()))),
                );
                contexts.set("inputs", json(&order.inputs));
                contexts.set("needs", json(&order.needs));
                contexts.set("github", Value::object(self.github.clone()));
                contexts.set("steps", Value::object(self.steps.clone()));
            }
        }
        contexts.set("matrix", self.spec.leg.matrix.clone());
        contexts.set("strategy", self.spec.leg.strategy());
        let mut job = Object::new();
        job.set("status", Value::from(self.progress.word()));
        job.set("container", Value::object(Object::new()));
        job.set("services", Value::object(Object::new()));
        contexts.set("job", job);
        let debug = if order.debug { "1" } else { "" };
        let runner = [
            ("name", order.runner.name.as_str()),
            ("os", "Linux"),
            ("arch", environment::arch()),
            ("temp", self.paths.temp.as_str()),
            ("tool_cache", self.paths.tool_cache.as_str()),
            ("workspace", self.paths.runner_workspace.as_str()),
            ("environment", "self-hosted"),
            ("debug", debug),
        ];
        contexts.set("runner", texts(&mut runner.into_iter()));
        Scope {
            contexts,
            job: self,
        }
    }

    /// How things went so far: for a step of an action, those inside of it.
    fn status(&self) -> Status {
        match (self.frames.last(), &self.progress) {
            (Some(frame), Progress::Success | Progress::Failed) if frame.failed => Status::FAILURE,
            (Some(_), Progress::Success | Progress::Failed) => Status::SUCCESS,
            (_, progress) => progress.status(),
        }
    }
}
