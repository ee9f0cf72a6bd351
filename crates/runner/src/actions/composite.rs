//! Composite actions: their steps, one after the other, in a scope of their own.

use vocab::Outcome;
use workflow::{Step, Value, evaluate_condition};

use super::Called;
use super::found::Found;
use super::frame::Frame;
use crate::environment::Env;
use crate::job::{Job, Progress};
use crate::observer::LineKind;
use crate::steps::{Worked, step_name};

/// Most bytes of the summaries of one action's steps together.
const SUMMARY_BYTES: usize = 1 << 20;

/// How deep actions may be nested, the outermost included.
const MAX_DEPTH: usize = 10;

/// Lets the steps of an action see themselves. Errors: it is inside of itself, or too deep.
pub(crate) fn enter(
    job: &mut Job<'_>,
    found: &Found,
    inputs: workflow::Object,
    called: &Called<'_>,
) -> Result<(), String> {
    let uses = called.uses;
    if job.frames.iter().any(|frame| frame.key == found.key) {
        return Err(format!(
            "{uses} uses itself: actions must not form a circle"
        ));
    }
    if job.frames.len() >= MAX_DEPTH {
        return Err(format!(
            "{uses} is nested too deep: at most {MAX_DEPTH} actions may use each other"
        ));
    }
    let mut env = job.frames.last().map(|f| f.env.clone()).unwrap_or_default();
    env.add(called.own);
    job.frames.push(Frame {
        key: found.key.clone(),
        place: found.place.clone(),
        inputs,
        env,
        steps: workflow::Object::new(),
        failed: false,
    });
    Ok(())
}

/// Runs the steps of an action that was entered, and leaves it.
pub(super) fn run(job: &mut Job<'_>, found: &Found) -> Worked {
    let mut all = Worked::well(Vec::new());
    for (index, step) in found.action.steps().iter().enumerate() {
        job.path.push(index);
        one(job, step, &mut all);
        job.path.pop();
    }
    let outputs = outputs(job, found);
    job.frames.pop();
    match outputs {
        Ok(outputs) => all.outputs = outputs,
        Err(reason) if all.outcome.is_good() => return Worked::failed(reason),
        Err(_) => {}
    }
    all
}

/// One step: whether it runs, what it does, what that means for those after it.
fn one(job: &mut Job<'_>, step: &Step, all: &mut Worked) {
    job.heed_cancel();
    job.calls += 1;
    let mut env = job.env_now();
    let own = Env::eval(step.env.as_ref(), &job.scope(&env));
    if let Ok(own) = &own {
        env.add(own);
    }
    let scope = job.scope(&env);
    let name = step_name(step, &scope);
    let runs = match &job.progress {
        Progress::Lost(_) => Ok(false),
        _ => evaluate_condition(step.condition.as_ref(), &scope),
    };
    drop(scope);
    let worked = match (runs, own) {
        (Ok(false), _) => {
            return job.remember(step, (Outcome::Skipped, Outcome::Skipped), &[]);
        }
        (Err(e), _) => Worked::failed(format!("its if cannot be computed: {e}")),
        (_, Err(e)) => Worked::failed(format!("its env cannot be computed: {e}")),
        (Ok(true), Ok(own)) => job.work(step, &env, &own),
    };
    let forgiven = job.forgives(step, &env, worked.outcome);
    let conclusion = match forgiven {
        true => Outcome::Success,
        false => worked.outcome,
    };
    job.remember(step, (worked.outcome, conclusion), &worked.outputs);
    if all.summary.len() + worked.summary.len() < SUMMARY_BYTES {
        all.summary.push_str(&worked.summary);
    }
    if worked.outcome.is_good() {
        return;
    }
    let reason = format!("its step '{name}': {}", worked.reason);
    if forgiven {
        let number = job.step();
        job.log.say(number, LineKind::Error, &reason);
        return;
    }
    if let Some(frame) = job.frames.last_mut() {
        frame.failed = true;
    }
    if all.outcome.is_good() {
        all.outcome = worked.outcome;
        all.exit_code = worked.exit_code;
        all.reason = reason;
    }
}

fn outputs(job: &Job<'_>, found: &Found) -> Result<Vec<(String, String)>, String> {
    let scope = job.scope(&job.env_now());
    let mut outputs = Vec::new();
    for output in &found.action.outputs {
        let value = match &output.value {
            Some(value) => value.eval(&scope),
            None => Ok(Value::from("")),
        };
        let value = value.map_err(|e| format!("its output '{}': {e}", output.id))?;
        outputs.push((output.id.clone(), value.to_text().to_string()));
    }
    Ok(outputs)
}
