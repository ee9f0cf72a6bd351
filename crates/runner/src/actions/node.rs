//! Actions that are written in JavaScript: their programs, run by a Node of the generation.

use workflow::{NodeRun, Object, path_below};

use super::found::Found;
use super::frame::Place;
use super::tools::{self, Offered};
use crate::around::Post;
use crate::environment::Env;
use crate::executor::SandboxError;
use crate::job::Job;
use crate::observer::LineKind;
use crate::steps::Worked;

/// The oldest Node that actions are run with: older ones are served by it, as elsewhere.
const OLDEST: u32 = 20;

/// What the programs of one use of an action share.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// As the step names it.
    pub(crate) uses: String,
    pub(crate) found: Found,
    /// The major version of Node that it was written for.
    pub(crate) major: u32,
    pub(crate) inputs: Object,
    /// What the step and those around it set.
    pub(crate) own: Env,
    /// Which step it is.
    pub(crate) path: Vec<usize>,
}

impl Call {
    fn place(&self) -> &Place {
        &self.found.place
    }
}

/// Runs `main`, and sees to it that `post` runs later.
pub(super) fn run(job: &mut Job<'_>, call: Call, node: &NodeRun) -> Worked {
    expect_post(job, &call, node);
    job.calls += 1;
    program(job, &call, &node.main)
}

/// Puts `post` on the list, once for each use.
pub(crate) fn expect_post(job: &mut Job<'_>, call: &Call, node: &NodeRun) {
    let known = job.posts.iter().any(|post| post.call.path == call.path);
    if let Some(program) = &node.post
        && !known
    {
        job.posts.push(Post {
            call: call.clone(),
            program: program.clone(),
            condition: node.post_if.clone(),
        });
    }
}

/// Runs one program of an action.
pub(crate) fn program(job: &mut Job<'_>, call: &Call, program: &str) -> Worked {
    let found = &call.found;
    let Some(below) = path_below(&found.folder, program) else {
        return Worked::failed(format!(
            "'{program}' leads out of the tree of {}",
            call.uses
        ));
    };
    let node = match toolchain(job, call) {
        Ok(node) => node,
        Err(reason) => return Worked::failed(reason),
    };
    let mut extra = Env::default();
    for (name, value) in call.inputs.iter() {
        let name = name.replace(' ', "_").to_uppercase();
        extra.set(&format!("INPUT_{name}"), &value.to_text());
    }
    for (name, value) in job.states.get(&call.path).into_iter().flatten() {
        extra.set(&format!("STATE_{name}"), value);
    }
    call.place().tell(&mut extra);
    let mut env = job.base_env.clone();
    env.add(&job.set_env);
    env.add(&call.own);
    let argv = [node, format!("{}/{below}", found.root)];
    let id = format!("__{}", found.place.repository.replace('/', "_"));
    let folder = job.paths.workspace.clone();
    match job.run_program(&argv, &folder, &env, &id, &extra) {
        Ok(worked) => {
            let state = worked.state.iter().cloned();
            job.states
                .entry(call.path.clone())
                .or_default()
                .extend(state);
            worked
        }
        Err(SandboxError::NoProgram { program }) => Worked::failed(format!(
            "{program} cannot be started in this image: Node needs one with glibc"
        )),
        Err(error) => {
            job.note_loss();
            Worked::failed(error.to_string())
        }
    }
}

/// The Node that stands for the one an action was written for.
fn toolchain(job: &mut Job<'_>, call: &Call) -> Result<String, String> {
    let wanted = call.major.max(OLDEST);
    if let Some(node) = job.nodes.get(&wanted) {
        return Ok(node.clone());
    }
    let offered = tools::offered(job, "node")?;
    let Some(tool) = fitting(&offered, wanted) else {
        tools::note_missing(job, "node", &wanted.to_string());
        return Err(format!(
            "{} is run by Node {wanted} or newer, and this generation has {}; put the toolchain \
             node {wanted} into the next bundle",
            call.uses,
            tools::listed(&offered)
        ));
    };
    let node = format!("{}/bin/node", tools::place(job, tool)?);
    let step = job.step();
    let text = format!("run by Node {} (written for {})", tool.version, call.major);
    job.log.say(step, LineKind::Info, &text);
    job.nodes.insert(wanted, node.clone());
    Ok(node)
}

/// The newest of the major version, else of the next one that is there.
fn fitting(offered: &[Offered], wanted: u32) -> Option<&Offered> {
    let major = offered
        .iter()
        .map(|tool| tool.version.major)
        .filter(|major| *major >= wanted)
        .min()?;
    offered.iter().find(|tool| tool.version.major == major)
}
