//! The environment of a step: the image's, the runner's, the workflow's, in this order, with the
//! runner's own names on top.

use workflow::{Data, ExprError, Host, Object, Value};

/// Where things are inside the sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) workspace: String,
    pub(crate) runner_workspace: String,
    pub(crate) temp: String,
    pub(crate) tool_cache: String,
    pub(crate) event: String,
}

/// All that the runner makes inside stands below this.
pub(crate) const WORK: &str = "/work";

const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables in order, the last word on each name counting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env(Vec<(String, String)>);

impl Env {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            self.set(name, value);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// The `env` context.
    pub(crate) fn to_value(&self) -> Value {
        let mut object = Object::case_sensitive();
        for (name, value) in self.iter() {
            object.set(name, Value::from(value));
        }
        Value::object(object)
    }

    /// What an `env:` says.
    pub(crate) fn eval(data: Option<&Data>, host: &dyn Host) -> Result<Self, ExprError> {
        let mut env = Self::default();
        if let Some(data) = data {
            let value = data.eval(host)?;
            for (name, value) in value.as_object().unwrap_or(&Object::new()).iter() {
                env.set(name, &value.to_text());
            }
        }
        Ok(env)
    }
}

/// What an image's configuration sets.
pub(crate) fn of_image(lines: &[String]) -> Env {
    let mut env = Env::default();
    for (name, value) in lines.iter().filter_map(|line| line.split_once('=')) {
        env.set(name, value);
    }
    if env.get("PATH").is_none_or(str::is_empty) {
        env.set("PATH", USUAL_PATH);
    }
    env
}

/// What makes clients of packages look at the job's own loopback instead of the internet.
pub(crate) fn of_endpoint(endpoint: &str) -> Env {
    let index = format!("{endpoint}/simple/");
    let mut env = Env::default();
    env.set("COFFERDAM_ENDPOINT", endpoint);
    for name in ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "PDM_PYPI_URL"] {
        env.set(name, &index);
    }
    env.set("PIPENV_PYPI_MIRROR", &index);
    env.set("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    env.set("PIP_NO_INPUT", "1");
    // There is nothing to download them from; what the image and the tool cache have is used.
    env.set("UV_PYTHON_DOWNLOADS", "never");
    env
}

/// The whole environment of a program.
///
/// `asked` is the workflow's, the job's and the step's; `own` is the runner's, whose names nobody
/// else can take; `folders` come first on the path.
pub(crate) fn compose(image: &Env, asked: &Env, own: &Env, folders: &[String]) -> Env {
    let mut env = Env::default();
    env.set("CI", "true");
    env.add(image);
    env.add(asked);
    env.add(own);
    if env.get("HOME").is_none_or(str::is_empty) {
        env.set("HOME", "/root");
    }
    if !folders.is_empty() {
        let mut all: Vec<&str> = folders.iter().map(String::as_str).collect();
        let rest = env.get("PATH").unwrap_or(USUAL_PATH).to_owned();
        all.push(&rest);
        env.set("PATH", &all.join(":"));
    }
    // A name with a NUL or `=` cannot be passed to a program; a value with NUL neither.
    env.0
        .retain(|(n, v)| !n.is_empty() && !n.contains(['=', '\0']) && !v.contains('\0'));
    env
}

/// `GITHUB_*` and `RUNNER_*` of a job, from its `github` context.
pub(crate) fn of_runner(github: &Object, paths: &Paths, runner_name: &str, debug: bool) -> Env {
    const NAMES: [&str; 27] = [
        "actor",
        "actor_id",
        "api_url",
        "base_ref",
        "event_name",
        "event_path",
        "graphql_url",
        "head_ref",
        "job",
        "ref",
        "ref_name",
        "ref_protected",
        "ref_type",
        "repository",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "retention_days",
        "run_attempt",
        "run_id",
        "run_number",
        "server_url",
        "sha",
        "triggering_actor",
        "workflow",
        "workflow_ref",
        "workflow_sha",
    ];
    let mut env = Env::default();
    for name in NAMES {
        if let Some(value) = github.get(name) {
            env.set(&format!("GITHUB_{}", name.to_uppercase()), &value.to_text());
        }
    }
    env.set("GITHUB_ACTIONS", "true");
    env.set("GITHUB_WORKSPACE", &paths.workspace);
    env.set("RUNNER_OS", "Linux");
    env.set("RUNNER_ARCH", arch());
    env.set("RUNNER_NAME", runner_name);
    env.set("RUNNER_ENVIRONMENT", "self-hosted");
    env.set("RUNNER_TEMP", &paths.temp);
    env.set("RUNNER_TOOL_CACHE", &paths.tool_cache);
    env.set("RUNNER_WORKSPACE", &paths.runner_workspace);
    if debug {
        env.set("RUNNER_DEBUG", "1");
    }
    env
}

/// The machine's kind, in the dialect's word.
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "X64",
        "x86" => "X86",
        "aarch64" => "ARM64",
        "arm" => "ARM",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        let mut env = Env::default();
        for (name, value) in pairs {
            env.set(name, value);
        }
        env
    }

    #[test]
    fn later_words_win_and_the_runners_names_are_its_own() {
        let image = of_image(&["A=image".to_owned(), "B=image".to_owned()]);
        let asked = env(&[("B", "asked"), ("GITHUB_SHA", "forged"), ("CI", "no")]);
        let own = env(&[("GITHUB_SHA", "real")]);
        let all = compose(&image, &asked, &own, &[]);
        let get = |name| all.get(name).unwrap();
        assert_eq!(
            (get("A"), get("B"), get("GITHUB_SHA")),
            ("image", "asked", "real")
        );
        assert_eq!(
            (get("CI"), get("HOME"), get("PATH")),
            ("no", "/root", USUAL_PATH)
        );
    }

    #[test]
    fn a_workflow_may_name_another_index_and_an_image_may_not() {
        let mut image = of_image(&["PIP_INDEX_URL=http://image".to_owned()]);
        image.add(&of_endpoint("http://127.0.0.1:8470"));
        let plain = compose(&image, &Env::default(), &Env::default(), &[]);
        assert_eq!(
            plain.get("PIP_INDEX_URL"),
            Some("http://127.0.0.1:8470/simple/")
        );
        let asked = env(&[("PIP_INDEX_URL", "http://other")]);
        let own = compose(&image, &asked, &Env::default(), &[]);
        assert_eq!(own.get("PIP_INDEX_URL"), Some("http://other"));
    }

    #[test]
    fn added_folders_come_first_on_the_path() {
        let all = compose(
            &of_image(&[]),
            &env(&[("PATH", "/mine")]),
            &Env::default(),
            &["/new".to_owned(), "/old".to_owned()],
        );
        assert_eq!(all.get("PATH"), Some("/new:/old:/mine"));
    }

    #[test]
    fn what_no_program_can_be_given_is_left_out() {
        let all = compose(
            &of_image(&[]),
            &env(&[("a=b", "1"), ("c", "x\0y")]),
            &Env::default(),
            &[],
        );
        assert!(all.get("a=b").is_none() && all.get("c").is_none());
    }
}
