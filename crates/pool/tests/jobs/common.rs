//! What the tests share: a launcher, an order from a workflow's text, an observer that remembers.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use pool::Embedded;
use runner::executor::{Facts, Limits, NetworkPolicy};
use runner::receipt::RunnerIdentity;
use runner::{
    Annotation, Cancel, CheckedOut, CheckoutRequest, Grace, JobOrder, JobReport, LineKind,
    Observer, Secret, Source, SourceError, StepReport,
};
use sandbox::{DefenceOff, Launcher, LauncherConfig};
use vocab::{Attempt, Clock, Fence, JobId};
use workflow::{Contexts, JobSpec, Status};

/// An executor; none where jobs cannot be isolated, which CI does not accept.
pub(crate) fn executor() -> Option<Embedded> {
    executor_without(DefenceOff::default())
}

/// An executor that leaves layers out, for control runs.
pub(crate) fn executor_without(off: DefenceOff) -> Option<Embedded> {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "jobs are tested as root");
        eprintln!("not root: jobs are not tested");
        return None;
    }
    let config = LauncherConfig {
        exe: PathBuf::from(env!("CARGO_BIN_EXE_pool-test-host")),
        allow_controls: true,
        ..LauncherConfig::new()
    };
    let launcher = Launcher::start(&config).expect("this host can isolate jobs");
    Some(Embedded::new(Arc::new(launcher)).without(off))
}

/// A job with everything around it, to be changed by a test and then run.
pub(crate) struct Case {
    pub(crate) order: JobOrder,
    pub(crate) spec: JobSpec,
    pub(crate) source: Box<dyn Source>,
    pub(crate) cancel: Cancel,
    /// Asks to cancel when a line holds this text.
    pub(crate) cancel_at: Option<&'static str>,
    /// Starts a program on the host with the job's ids, for the search after its end.
    pub(crate) plant: bool,
}

/// A job's end, and what was heard of it.
pub(crate) struct Ran {
    pub(crate) report: JobReport,
    pub(crate) heard: Vec<Heard>,
    pub(crate) annotations: Vec<Annotation>,
}

/// One line of the log.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) step: u32,
    pub(crate) kind: LineKind,
    pub(crate) text: String,
}

impl Ran {
    /// What steps printed, in lines.
    pub(crate) fn out(&self) -> Vec<&str> {
        let printed = self.heard.iter().filter(|h| h.kind == LineKind::Out);
        printed.map(|h| h.text.as_str()).collect()
    }

    /// The whole log.
    pub(crate) fn log(&self) -> String {
        let lines = self
            .heard
            .iter()
            .map(|h| format!("{} {:?} {}", h.step, h.kind, h.text));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The report of the workflow's step with this id.
    pub(crate) fn step(&self, id: &str) -> &StepReport {
        self.report
            .steps
            .iter()
            .find(|s| s.id == id)
            .expect("the step has this id")
    }

    /// The values of a receipt's lines with this label.
    pub(crate) fn receipt(&self, label: &str) -> Vec<String> {
        let receipt = self.report.receipt.as_ref().expect("there was a sandbox");
        receipt
            .lines()
            .into_iter()
            .filter(|l| l.label == label)
            .map(|l| l.value)
            .collect()
    }
}

/// A job named `j` of a workflow with these lines below `jobs: j:`.
pub(crate) fn case(job: &str) -> Case {
    let indented: String = job.lines().map(|l| format!("    {l}\n")).collect();
    workflow(&format!(
        "on: push\njobs:\n  j:\n    runs-on: x\n{indented}"
    ))
}

/// The job `j` of a whole workflow file.
pub(crate) fn workflow(text: &str) -> Case {
    let parsed = workflow::parse("w.yml", text.as_bytes(), &workflow::Limits::default());
    let parsed = parsed.expect("the test's workflow is right");
    let job = parsed.job("j").expect("there is a job j");
    let contexts = Contexts::new(Status::SUCCESS);
    let leg = workflow::expand(&parsed, job, &contexts)
        .expect("it can be planned")
        .remove(0);
    Case {
        order: order(),
        spec: JobSpec::new(&parsed, job, leg),
        source: Box::new(Tree::default()),
        cancel: Cancel::new().expect("a pipe"),
        cancel_at: None,
        plant: false,
    }
}

fn order() -> JobOrder {
    let github = serde_json::json!({
        "repository": "lab/tasks-app", "repository_owner": "lab", "ref": "refs/heads/main",
        "ref_name": "main", "sha": "0123456789012345678901234567890123456789", "actor": "dev",
        "event_name": "push", "event": { "after": "0123" }, "run_id": "7",
    });
    let now = Clock::system().now();
    JobOrder {
        fence: Fence {
            job: JobId(1),
            attempt: Attempt(1),
            epoch: 1,
        },
        github: github.as_object().expect("an object").clone(),
        needs: serde_json::Map::new(),
        vars: vec![("COLOUR".to_owned(), "blue".to_owned())],
        inputs: serde_json::Map::new(),
        secrets: Vec::new(),
        image: None,
        limits: Limits {
            memory_bytes: 512 << 20,
            cpu_millis: 2000,
            pids: 256,
            disk_bytes: 256 << 20,
            timeout: Duration::from_secs(120),
        },
        network: NetworkPolicy::Loopback,
        supply: None,
        actions: Vec::new(),
        endpoint: None,
        grace: Grace::default(),
        server_url: "http://forge.test".to_owned(),
        api_url: "http://forge.test/api/v1".to_owned(),
        runner: RunnerIdentity {
            name: "embedded-1".to_owned(),
            version: "0.1.0".to_owned(),
            binary_sha256: "ab".repeat(32),
            labels: vec!["x".to_owned()],
        },
        queued_at: now,
        claimed_at: now,
        debug: false,
    }
}

impl Case {
    pub(crate) fn secret(mut self, name: &str, value: &str) -> Self {
        self.order
            .secrets
            .push((name.to_owned(), Secret::new(value.to_owned())));
        self
    }

    pub(crate) fn run(&self, executor: &Embedded) -> Ran {
        let memory = Memory {
            cancel: self.cancel.clone(),
            cancel_at: self.cancel_at,
            plant: self.plant,
            planted: Mutex::default(),
            heard: Mutex::default(),
            annotations: Mutex::default(),
        };
        let report = runner::run(
            &self.order,
            &self.spec,
            executor,
            self.source.as_ref(),
            &memory,
            &self.cancel,
            &Clock::system(),
        );
        if let Some(mut child) = memory.planted.lock().expect("no panic").take() {
            child.kill().expect("it is ours");
            child.wait().expect("it has ended");
        }
        Ran {
            report,
            heard: memory.heard.into_inner().expect("no panic"),
            annotations: memory.annotations.into_inner().expect("no panic"),
        }
    }
}

struct Memory {
    cancel: Cancel,
    cancel_at: Option<&'static str>,
    plant: bool,
    planted: Mutex<Option<Child>>,
    heard: Mutex<Vec<Heard>>,
    annotations: Mutex<Vec<Annotation>>,
}

impl Observer for Memory {
    fn prepared(&self, facts: &Facts, _: Option<TcpListener>) {
        if self.plant {
            let root = facts.uid_map[0][1];
            let child = Command::new("/usr/bin/sleep").arg("1000").uid(root).spawn();
            *self.planted.lock().expect("no panic") = Some(child.expect("sleep starts"));
        }
    }

    fn step_started(&self, _: u32, _: &str, _: SystemTime) {}

    fn line(&self, step: u32, _: SystemTime, kind: LineKind, text: &str) {
        if kind == LineKind::Out && self.cancel_at.is_some_and(|mark| text.contains(mark)) {
            self.cancel.request("cancelled by dev");
        }
        let heard = Heard {
            step,
            kind,
            text: text.to_owned(),
        };
        self.heard.lock().expect("no panic").push(heard);
    }

    fn annotation(&self, _: u32, annotation: &Annotation) {
        self.annotations
            .lock()
            .expect("no panic")
            .push(annotation.clone());
    }

    fn step_finished(&self, _: u32, _: &StepReport, _: SystemTime) {}
}

/// A source with the files of a small repo, or none.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<(&'static str, &'static str)>,
    pub(crate) has_submodules: bool,
}

impl Source for Tree {
    fn checkout(
        &self,
        request: &CheckoutRequest,
        out: &mut dyn Write,
    ) -> Result<CheckedOut, SourceError> {
        if request.repository != "lab/tasks-app" {
            let repository = request.repository.clone();
            return Err(SourceError::NoRepository { repository });
        }
        let failed = |e: std::io::Error| SourceError::Failed {
            repository: request.repository.clone(),
            reason: e.to_string(),
        };
        let mut tar = tar::Builder::new(out);
        for (name, text) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(text.len()).expect("small"));
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes())
                .map_err(failed)?;
        }
        tar.finish().map_err(failed)?;
        Ok(CheckedOut {
            commit: request.commit.clone(),
            reference: request.reference.clone(),
            has_submodules: self.has_submodules,
            files: u64::try_from(self.files.len()).expect("small"),
        })
    }
}
