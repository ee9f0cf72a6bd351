//! What actions run before all steps of a job, and after them: `pre` in order, `post` in reverse.

use vocab::Outcome;
use workflow::{Condition, Runs, Step, StepAction, evaluate_condition};

use crate::actions::{self, Call, Called};
use crate::environment::Env;
use crate::job::{Job, Progress};
use crate::report::StepReport;
use crate::steps::Worked;

/// A program that runs after all steps.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) call: Call,
    pub(crate) program: String,
    pub(crate) condition: Option<Condition>,
}

impl Job<'_> {
    /// Runs the `pre` of every carried action that has one. Those of the workspace are not there
    /// yet.
    pub(crate) fn run_pres(&mut self, steps: &[Step]) {
        let carried = self.order.actions.iter().flat_map(|c| c.actions.values());
        let any = |runs: &Runs| matches!(runs, Runs::Node(node) if node.pre.is_some());
        if carried.map(|action| &action.runs).any(any) {
            self.pres_of(steps);
        }
    }

    fn pres_of(&mut self, steps: &[Step]) {
        for (index, step) in steps.iter().enumerate() {
            self.path.push(index);
            self.pre_of(step);
            self.path.pop();
        }
    }

    fn pre_of(&mut self, step: &Step) {
        let StepAction::Uses {
            uses, action, with, ..
        } = &step.action
        else {
            return;
        };
        let Some(found) = actions::carried(self, action) else {
            return;
        };
        let mut env = self.env_now();
        // What cannot be computed yet is told when the step itself runs.
        let own = Env::eval(step.env.as_ref(), &self.scope(&env)).unwrap_or_default();
        env.add(&own);
        let with = with.as_ref().map(|with| with.eval(&self.scope(&env)));
        let with = with.and_then(Result::ok).unwrap_or_default();
        let called = Called {
            uses,
            action,
            with: &with,
            env: &env,
            own: &own,
        };
        let Ok((inputs, _)) = actions::inputs(self, &found.action, &called) else {
            return;
        };
        match &found.action.runs {
            Runs::Composite(steps) => {
                if actions::enter(self, &found, inputs, &called).is_ok() {
                    self.pres_of(steps);
                    self.frames.pop();
                }
            }
            Runs::Node(node) => {
                if let Some(program) = &node.pre {
                    let call = actions::call_of(self, &called, &found, node.major, inputs);
                    actions::expect_post(self, &call, node);
                    self.around(("Pre", &call), program, node.pre_if.as_ref());
                }
            }
            Runs::Docker(_) => {}
        }
    }

    /// Runs what the steps left to be run, the last one first.
    pub(crate) fn run_posts(&mut self) {
        while let Some(post) = self.posts.pop() {
            self.around(("Post", &post.call), &post.program, post.condition.as_ref());
        }
    }

    /// Runs a program of an action as a step of its own.
    fn around(
        &mut self,
        (when, call): (&str, &Call),
        program: &str,
        condition: Option<&Condition>,
    ) {
        self.heed_cancel();
        self.calls = 0;
        let number = self.step();
        let name = format!("{when} Run {}", call.uses);
        let name = self.log.masker.mask_text(&name);
        let mut report = StepReport::new(&name, "", self.log.now_ms());
        self.log.step_started(number, &name);
        let mut env = self.env_now();
        env.add(&call.own);
        let runs = match (&self.progress, condition) {
            (Progress::Lost(_), _) => Ok(false),
            (_, None) => Ok(true),
            (_, condition) => evaluate_condition(condition, &self.scope(&env)),
        };
        let worked = match runs {
            Ok(false) => None,
            Ok(true) => {
                actions::announce(self, &name, &call.found, &call.inputs);
                Some(actions::program(self, call, program))
            }
            Err(e) => Some(Worked::failed(format!("its if cannot be computed: {e}"))),
        };
        match worked {
            None => report.end(Outcome::Skipped, self.why_skipped(), self.log.now_ms()),
            Some(worked) => {
                if !worked.outcome.is_good() {
                    self.log.error(number, &worked.reason);
                    if self.progress == Progress::Success {
                        self.progress = Progress::Failed;
                    }
                }
                let reason = self.log.masker.mask_text(&worked.reason);
                report.end(worked.outcome, reason, self.log.now_ms());
                report.exit_code = worked.exit_code;
                report.summary = worked.summary;
            }
        }
        let at = self.log.now();
        self.observer.step_finished(number, &report, at);
        self.reports.push(report);
    }
}
