//! One attempt from preparation to receipt.
//!
//! Invariant: whatever happens to the steps, the sandbox is destroyed and searched, and the report
//! says how it ended.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;
use vocab::{Clock, Outcome, Stopwatch, unix_ms};
use workflow::{JobSpec, Object, Status, Value};

use crate::actions::Frame;
use crate::around::Post;
use crate::cancel::Cancel;
use crate::environment::{self, Env, Paths, WORK};
use crate::executor::{
    AttemptSpec, Ended, Executor, Facts, LiveProcess, Sandbox, SandboxError, Shown, User,
};
use crate::log::Log;
use crate::observer::{LineKind, Observer};
use crate::order::JobOrder;
use crate::process::Watch;
use crate::receipt::{ActionFacts, Machine, Network, Receipt, Root, Timings};
use crate::report::{JobReport, StepReport};
use crate::source::Source;
use crate::stage::Stage;
use crate::supply::CarriedAction;

/// Runs one attempt at one job and destroys its sandbox.
///
/// Blocks until it is over; give it a thread of its own. Never panics on what a job does.
pub fn run(
    order: &JobOrder,
    spec: &JobSpec,
    executor: &dyn Executor,
    source: &dyn Source,
    observer: &dyn Observer,
    cancel: &Cancel,
    clock: &Clock,
) -> JobReport {
    let mut log = Log::new(observer, clock);
    let since = Stopwatch::start();
    let started_ms = log.now_ms();
    log.step_started(0, "Set up job");
    let mut setup = StepReport::new("Set up job", "", started_ms);
    let prepared = hide_secrets(order, &mut log).and_then(|()| prepare(order, executor));
    let (sandbox, facts) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => {
            log.error(0, &reason);
            setup.end(Outcome::Failure, reason.clone(), log.now_ms());
            observer.step_finished(0, &setup, log.now());
            return JobReport::refused(reason, setup, log.annotations);
        }
    };
    let prepared_ms = log.now_ms();
    observer.prepared(&facts, sandbox.take_listener());
    introduce(order, executor, &facts, &mut log);
    setup.end(Outcome::Success, String::new(), log.now_ms());
    observer.step_finished(0, &setup, log.now());

    let watch = Watch {
        sandbox: &*sandbox,
        cancel,
        grace: order.grace,
        since,
        lingering: Vec::new(),
    };
    let mut job = Job::new(order, spec, source, observer, log, watch);
    job.reports.push(setup);
    job.run_steps();
    let outputs = job.outputs();
    let last = job.step();
    let (background, unread) = job.clear();
    let (verdict, mut steps, served_as) = (job.progress, job.reports, job.served_as);
    let mut log = job.log.outliving(observer, clock);

    log.step_started(last, "Complete job");
    let mut complete = StepReport::new("Complete job", "", log.now_ms());
    let finished_ms = log.now_ms();
    observer.ending();
    let ended = sandbox.destroy();
    let timings = Timings {
        queued_ms: unix_ms(order.queued_at),
        claimed_ms: unix_ms(order.claimed_at),
        prepared_ms,
        first_output_ms: log.first_output.map(unix_ms),
        finished_ms,
    };
    let mut receipt = receipt(
        order, executor, &facts, ended, timings, background, unread, &log,
    );
    receipt.served_as = served_as;
    for found in &receipt.residue.found {
        log.warn(last, &format!("this job left something behind: {found}"));
    }
    for line in receipt.render_text() {
        log.say(last, LineKind::Receipt, &line);
    }
    complete.end(Outcome::Success, String::new(), log.now_ms());
    observer.step_finished(last, &complete, log.now());
    steps.push(complete);
    let (outcome, reason) = told(verdict, &steps, &log);
    JobReport {
        outcome,
        reason,
        outputs,
        steps,
        annotations: log.annotations,
        receipt: Some(receipt),
    }
}

/// How the job ended and why, as others may read it: a reason may quote what an expression made of
/// a secret, and it enters the audit log.
fn told(verdict: Progress, steps: &[StepReport], log: &Log<'_>) -> (Outcome, String) {
    let (outcome, reason) = verdict.into_outcome(steps);
    (outcome, log.masker.mask_text(&reason))
}

fn hide_secrets(order: &JobOrder, log: &mut Log<'_>) -> Result<(), String> {
    for (name, secret) in &order.secrets {
        let added = log.masker.add(secret.expose());
        added.map_err(|e| format!("secret {name} cannot be hidden in the log: {e}"))?;
    }
    Ok(())
}

fn prepare(order: &JobOrder, executor: &dyn Executor) -> Result<(Box<dyn Sandbox>, Facts), String> {
    let attempt = AttemptSpec {
        fence: order.fence,
        image: order.image.clone(),
        limits: order.limits.clone(),
        hostname: format!("job-{}", order.fence.job),
        network: order.network,
        shown: shown(order),
    };
    let sandbox = executor.prepare(&attempt).map_err(|e| e.to_string())?;
    match sandbox.facts() {
        Ok(facts) => Ok((sandbox, facts)),
        Err(error) => {
            let reason = format!("the sandbox was made but cannot say what protects it: {error}");
            let ended = sandbox.destroy();
            tracing::warn!(found = ?ended.residue.found, "a sandbox that could not be read was removed");
            Err(reason)
        }
    }
}

/// The trees of all carried actions, each once.
fn shown(order: &JobOrder) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for action in &order.actions {
        let target = action.place();
        if shown.iter().all(|other| other.target != target) {
            shown.push(Shown {
                source: action.tree.clone(),
                target,
            });
        }
    }
    shown
}

/// The first lines of the log: who runs this, where, in what.
fn introduce(order: &JobOrder, executor: &dyn Executor, facts: &Facts, log: &mut Log<'_>) {
    let r = &order.runner;
    let image = match &order.image {
        Some(image) => format!("image {} {}", image.name, image.digest),
        None => "the host's own /usr, read-only".to_owned(),
    };
    let in_force = facts.layers.iter().filter(|l| l.in_force).count();
    log.say(
        0,
        LineKind::Info,
        &format!("runner {} {} on {}", r.name, r.version, facts.host),
    );
    log.say(
        0,
        LineKind::Info,
        &format!(
            "{} sandbox, kernel {}, {in_force} of {} isolation layers in force",
            executor.kind(),
            facts.kernel,
            facts.layers.len()
        ),
    );
    log.say(0, LineKind::Info, &image);
    if let Some(supply) = &order.supply {
        log.say(0, LineKind::Info, &supply.facts().to_string());
    }
}

/// How a job stands while its steps run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Success,
    Failed,
    Cancelled(String),
    TimedOut,
    /// The sandbox ended under the job.
    Lost(String),
}

impl Progress {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Success => Status::SUCCESS,
            Self::Cancelled(_) => Status::CANCELLED,
            Self::Failed | Self::TimedOut | Self::Lost(_) => Status::FAILURE,
        }
    }

    /// `job.status`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Cancelled(_) => "cancelled",
            Self::Failed | Self::TimedOut | Self::Lost(_) => "failure",
        }
    }

    fn into_outcome(self, steps: &[StepReport]) -> (Outcome, String) {
        match self {
            Self::Success => (Outcome::Success, String::new()),
            Self::Cancelled(reason) => (Outcome::Cancelled, reason),
            Self::TimedOut => (
                Outcome::TimedOut,
                "the job ran past its time limit".to_owned(),
            ),
            Self::Lost(reason) => (Outcome::Failure, reason),
            Self::Failed => {
                let failed = steps.iter().find(|s| !s.conclusion.is_good());
                let reason = failed.map(|s| format!("step '{}': {}", s.name, s.reason));
                (Outcome::Failure, reason.unwrap_or_default())
            }
        }
    }
}

/// A job whose steps run.
pub(crate) struct Job<'a> {
    pub(crate) order: &'a JobOrder,
    pub(crate) spec: &'a JobSpec,
    pub(crate) source: &'a dyn Source,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) log: Log<'a>,
    pub(crate) watch: Watch<'a>,
    pub(crate) paths: Paths,
    pub(crate) user: User,
    pub(crate) github: Object,
    pub(crate) image_env: Env,
    pub(crate) own_env: Env,
    /// What steps set by `GITHUB_ENV`.
    pub(crate) set_env: Env,
    /// What the workflow and the job set.
    pub(crate) base_env: Env,
    /// What steps put on the path, first first.
    pub(crate) folders: Vec<String>,
    pub(crate) steps: Object,
    pub(crate) progress: Progress,
    pub(crate) reports: Vec<StepReport>,
    /// When the job, or what cleans up after it, must end, on the watch's stopwatch.
    pub(crate) deadline: Duration,
    pub(crate) oom_kills: u64,
    /// Tools that stood in for others, in words.
    pub(crate) served_as: Vec<String>,
    /// Programs that the image was found not to have.
    pub(crate) missing: Vec<String>,
    /// The program whose script was shown last, by its tag.
    pub(crate) shown: Option<String>,
    /// The composite actions that run now, the outermost first.
    pub(crate) frames: Vec<Frame>,
    /// Which step runs: its number among the workflow's, then those inside of actions.
    pub(crate) path: Vec<usize>,
    /// How many programs the step that runs has started inside of actions.
    pub(crate) calls: u32,
    /// When the step that runs must end at the latest, on the watch's stopwatch.
    pub(crate) step_end: Option<Duration>,
    /// What programs of actions keep for those that run later, by the step's path.
    pub(crate) states: BTreeMap<Vec<usize>, Vec<(String, String)>>,
    /// What is to run after all steps, the last one first.
    pub(crate) posts: Vec<Post>,
    /// Node programs that were placed, by the major version that they stand for.
    pub(crate) nodes: BTreeMap<u32, String>,
    /// Whether a program of the job has run.
    pub(crate) touched: bool,
    /// What waits to be unpacked below `/work`.
    pub(crate) stage: Stage,
}

impl<'a> Job<'a> {
    fn new(
        order: &'a JobOrder,
        spec: &'a JobSpec,
        source: &'a dyn Source,
        observer: &'a dyn Observer,
        log: Log<'a>,
        watch: Watch<'a>,
    ) -> Self {
        let mut image_env = environment::of_image(order.image.as_ref().map_or(&[][..], |i| &i.env));
        if let Some(endpoint) = &order.endpoint {
            image_env.add(&environment::of_endpoint(endpoint));
        }
        let paths = paths(order, &image_env);
        let github = github(order, spec, &paths);
        let own_env = environment::of_runner(&github, &paths, &order.runner.name, order.debug);
        let minutes = spec
            .leg
            .timeout_minutes
            .map(minutes)
            .unwrap_or(Duration::MAX);
        let deadline = watch
            .since
            .elapsed()
            .saturating_add(order.limits.timeout.min(minutes));
        Self {
            order,
            spec,
            source,
            observer,
            user: User::default(),
            github,
            image_env,
            own_env,
            paths,
            set_env: Env::default(),
            base_env: Env::default(),
            folders: Vec::new(),
            steps: Object::new(),
            progress: Progress::Success,
            reports: Vec::new(),
            deadline,
            oom_kills: 0,
            served_as: Vec::new(),
            missing: Vec::new(),
            shown: None,
            frames: Vec::new(),
            path: Vec::new(),
            calls: 0,
            step_end: None,
            states: BTreeMap::new(),
            posts: Vec::new(),
            nodes: BTreeMap::new(),
            touched: false,
            stage: Stage::new(log.now()),
            log,
            watch,
        }
    }

    pub(crate) fn sandbox(&self) -> &'a dyn Sandbox {
        self.watch.sandbox
    }

    /// The number of the step that runs or ran last.
    pub(crate) fn step(&self) -> u32 {
        u32::try_from(self.reports.len()).unwrap_or(u32::MAX)
    }

    /// What names the files of the program that runs now: the step, and which program of it.
    pub(crate) fn tag(&self) -> String {
        match self.calls {
            0 => self.step().to_string(),
            calls => format!("{}-{calls}", self.step()),
        }
    }

    /// Sends what was gathered.
    pub(crate) fn unpack_stage(&mut self) -> Result<(), SandboxError> {
        let stage = std::mem::replace(&mut self.stage, Stage::new(self.log.now()));
        if stage.is_empty() {
            return Ok(());
        }
        let failed = |e: std::io::Error| SandboxError::File {
            what: "gathering files for",
            path: WORK.to_owned(),
            reason: e.to_string(),
        };
        self.sandbox()
            .unpack_tar(WORK, stage.seal().map_err(failed)?, self.user)
    }

    /// Ends what the steps left running; returns it, with what could not be read.
    fn clear(&mut self) -> (Vec<LiveProcess>, Vec<String>) {
        let mut unread = Vec::new();
        let background = self.sandbox().processes().unwrap_or_else(|error| {
            unread.push(format!("programs left running: {error}"));
            Vec::new()
        });
        if let Err(error) = self.sandbox().kill_all() {
            unread.push(format!("whether all programs ended with the job: {error}"));
        }
        self.watch.finish(&mut self.log);
        let shown = background.into_iter().map(|process| LiveProcess {
            command: shorten(&self.log.masker.mask_text(&process.command)),
            ..process
        });
        (shown.collect(), unread)
    }
}

/// A command line as a receipt shows it.
fn shorten(command: &str) -> String {
    command.chars().take(80).collect()
}

/// Minutes as a span; negative and unusable numbers are none at all.
pub(crate) fn minutes(minutes: f64) -> Duration {
    Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::MAX)
}

fn paths(order: &JobOrder, image_env: &Env) -> Paths {
    let repository = order
        .github
        .get("repository")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let name = repository
        .rsplit('/')
        .next()
        .filter(|n| !n.is_empty())
        .unwrap_or("job");
    let tool_cache = ["RUNNER_TOOL_CACHE", "AGENT_TOOLSDIRECTORY"]
        .iter()
        .find_map(|n| image_env.get(n))
        .unwrap_or("/opt/hostedtoolcache");
    Paths {
        workspace: format!("{WORK}/{name}/{name}"),
        runner_workspace: format!("{WORK}/{name}"),
        temp: format!("{WORK}/_temp"),
        tool_cache: tool_cache.to_owned(),
        event: format!("{WORK}/_temp/_github_workflow/event.json"),
    }
}

/// The `github` context with what only the runner knows.
fn github(order: &JobOrder, spec: &JobSpec, paths: &Paths) -> Object {
    let value = Value::from_json(&Json::Object(order.github.clone()));
    let mut github = value.as_object().cloned().unwrap_or_default();
    for (name, text) in [
        ("job", spec.leg.job.as_str()),
        ("workspace", paths.workspace.as_str()),
        ("event_path", paths.event.as_str()),
    ] {
        github.set(name, Value::from(text));
    }
    for (name, text) in [
        ("workflow", &spec.workflow),
        ("server_url", &order.server_url),
        ("api_url", &order.api_url),
    ] {
        if github.get(name).is_none_or(|v| v.to_text().is_empty()) {
            github.set(name, Value::from(text.as_str()));
        }
    }
    github
}

fn action_facts(action: &CarriedAction) -> ActionFacts {
    ActionFacts {
        name: action.name.clone(),
        git_ref: action.git_ref.clone(),
        commit: action.commit.clone(),
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "a receipt gathers everything, once"
)]
fn receipt(
    order: &JobOrder,
    executor: &dyn Executor,
    facts: &Facts,
    ended: Ended,
    timings: Timings,
    background: Vec<LiveProcess>,
    mut unread: Vec<String>,
    log: &Log<'_>,
) -> Receipt {
    if ended.usage.is_none() {
        unread.push("what the job used: the counters were gone".to_owned());
    }
    let image = order.image.as_ref();
    Receipt {
        version: 1,
        fence: order.fence,
        runner: order.runner.clone(),
        machine: Machine {
            host: facts.host.clone(),
            kernel: facts.kernel.clone(),
            boot_id: facts.boot_id.clone(),
        },
        executor: executor.kind().to_owned(),
        layers: facts.layers.clone(),
        root: Root {
            image: image.map(|i| i.name.clone()).unwrap_or_default(),
            digest: image.map(|i| i.digest),
            mounts: facts.root.clone(),
        },
        supply: order.supply.as_ref().map(|supply| supply.facts()),
        actions: order.actions.iter().map(action_facts).collect(),
        served_as: Vec::new(),
        uid_map: facts.uid_map.clone(),
        limits: facts.limits.clone(),
        network: Network {
            policy: order.network,
            interfaces: facts.interfaces.clone(),
            refused_packets: ended.usage.as_ref().and_then(|u| u.no_route_packets),
        },
        usage: ended.usage,
        secrets: order.secrets.iter().map(|(name, _)| name.clone()).collect(),
        timings,
        background,
        residue: ended.residue,
        log: log.size,
        unread,
    }
}

#[cfg(test)]
mod tests {
    use vocab::from_unix_ms;

    use super::*;
    use crate::testing::Seen;

    const SECRET: &str = "s3cr3t/Pa<ss>w\"ör'd&42\\n%x";

    #[test]
    fn no_reason_tells_a_secret_in_any_encoding() {
        let (seen, clock) = (Seen::default(), Clock::scripted(from_unix_ms(0)));
        let mut log = Log::new(&seen, &clock);
        log.masker.add(SECRET).unwrap();
        let needles = crate::encodings::needles(SECRET);
        assert!(needles.len() >= 40, "{}", needles.len());
        for needle in needles {
            let needle = String::from_utf8(needle).unwrap();
            let quoted = format!("the format string is invalid: {{{needle}");
            let mut step = StepReport::new("step", "", 0);
            step.end(Outcome::Failure, quoted.clone(), 0);
            let ends = || {
                [
                    (Progress::Lost(quoted.clone()), Vec::new()),
                    (Progress::Cancelled(quoted.clone()), Vec::new()),
                    (Progress::Failed, vec![step.clone()]),
                ]
            };
            for (verdict, steps) in ends() {
                let (_, reason) = verdict.into_outcome(&steps);
                assert!(reason.contains(&needle), "control: {needle}");
            }
            for (verdict, steps) in ends() {
                let (_, reason) = told(verdict, &steps, &log);
                assert!(
                    !reason.contains(&needle) && reason.contains("***"),
                    "{reason}"
                );
            }
        }
    }
}
