//! `actions/setup-python`: an interpreter that the image, its tool cache or the job's generation
//! has, first on the path. The newest that fits is taken, whichever of them has it.
//!
//! A system's interpreter is often managed by its packages, so that `pip install` refuses to work
//! (PEP 668). Such a one gets a prefix of its own: a virtual environment made of links, without
//! running anything, in which the image's pip is visible and everything can be installed.

use std::time::Duration;

use super::tools::{self, Offered};
use super::{Done, Inputs, output};
use crate::environment::{self, Env, WORK};
use crate::executor::{ExecSpec, Exit, User};
use crate::job::Job;
use crate::observer::LineKind;
use crate::process::capture;
use crate::pyversion::{Spec, Version, requires_python};
use crate::steps::below_work;

/// Largest version file that is read.
const VERSION_FILE_BYTES: u64 = 1 << 20;
/// The longest that looking for interpreters may take.
const SEARCH: Duration = Duration::from_secs(60);

/// Asks every interpreter in the usual places who it is; one line each.
const SEARCH_SCRIPT: &str = r#"
for p in /usr/bin/python3 /usr/bin/python3.[0-9]* /usr/local/bin/python3 \
  /usr/local/bin/python3.[0-9]* "$RUNNER_TOOL_CACHE"/Python/*/x64/bin/python3 \
  "$RUNNER_TOOL_CACHE"/Python/*/arm64/bin/python3; do
  case "$p" in *-config|*-intel64) continue;; esac
  if [ -x "$p" ]; then "$p" -I -c "$1" || :; fi
done
"#;

/// What each interpreter prints about itself, between tabs.
const SEARCH_PYTHON: &str = r#"
import sys, os, importlib.util
lib = os.path.dirname(os.__file__)
spec = importlib.util.find_spec('pip')
pip = os.path.dirname(spec.origin) if spec and spec.origin else ''
if not pip:
    for d in (os.path.join(lib, 'ensurepip', '_bundled'), '/usr/share/python-wheels'):
        if os.path.isdir(d):
            wheels = sorted(w for w in os.listdir(d) if w.startswith('pip-') and w.endswith('.whl'))
            if wheels:
                pip = os.path.join(d, wheels[-1])
                break
managed = os.path.exists(os.path.join(lib, 'EXTERNALLY-MANAGED'))
v = sys.version_info
print('', 'interpreter', os.path.realpath(sys.executable), '%d.%d.%d' % v[:3], sys.prefix,
      'managed' if managed else 'free', pip, v[3], '', sep='\t')
"#;

/// An interpreter in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interpreter {
    program: String,
    version: Version,
    prefix: String,
    /// Where its pip is: a package's folder, a wheel, or nowhere.
    pip: Option<String>,
    /// In the tool cache: free to be changed, used as it is.
    cached: bool,
}

pub(super) fn run(job: &mut Job<'_>, inputs: &Inputs, env: &Env) -> Done {
    let step = job.step();
    let wanted = wanted(job, inputs)?;
    if inputs.text("cache").is_some() {
        let text = "input cache is not served yet: packages are installed anew in each job";
        job.log
            .annotate(step, &crate::Annotation::new(crate::Level::Notice, text));
    }
    let arch = inputs
        .text("architecture")
        .unwrap_or_else(|| environment::arch().to_lowercase());
    if !arch.eq_ignore_ascii_case(environment::arch()) {
        return Err(format!(
            "input architecture is {arch}, and this machine is {}",
            environment::arch().to_lowercase()
        ));
    }
    job.unpack_stage().map_err(|e| e.to_string())?;
    let mut found = search(job, env)?;
    let offered = tools::offered(job, "Python")?;
    let update = inputs.truth("update-environment", true)?;
    let mut outputs = Vec::new();
    for wanted in &wanted {
        let chosen = select(job, env, &mut found, &offered, wanted)?;
        outputs = settle(job, &chosen, update)?;
        let place = if chosen.cached {
            "the tool cache"
        } else {
            "the image"
        };
        let text = format!("Python {} of {place} ({})", chosen.version, chosen.program);
        job.log.say(step, LineKind::Info, &text);
    }
    Ok(outputs)
}

/// A version that is wanted, with the words it was asked for in; `None` takes the image's own.
struct Wanted {
    text: String,
    spec: Option<Spec>,
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, String> {
        let spec = Spec::parse(text).map_err(|e| e.to_string())?;
        Ok(Self {
            text: text.to_owned(),
            spec: Some(spec),
        })
    }
}

/// What the inputs, the version file or `.python-version` ask for.
fn wanted(job: &mut Job<'_>, inputs: &Inputs) -> Result<Vec<Wanted>, String> {
    if let Some(text) = inputs.text("python-version") {
        return text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .map(Wanted::parse)
            .collect();
    }
    if let Some(name) = inputs.text("python-version-file") {
        let text = version_file(job, &name)?
            .ok_or_else(|| format!("python-version-file {name} is not in the workspace"))?;
        return in_file(&name, &text);
    }
    if let Some(text) = version_file(job, ".python-version")? {
        return in_file(".python-version", &text);
    }
    let step = job.step();
    job.log.warn(
        step,
        "neither python-version nor .python-version says which Python: taking the image's newest",
    );
    Ok(vec![Wanted {
        text: "any".to_owned(),
        spec: None,
    }])
}

fn version_file(job: &Job<'_>, name: &str) -> Result<Option<String>, String> {
    let path = match name.strip_prefix('/') {
        Some(_) => name.to_owned(),
        None => format!("{}/{name}", job.paths.workspace),
    };
    let bytes = job
        .sandbox()
        .read_file(&path, VERSION_FILE_BYTES)
        .map_err(|e| e.to_string())?;
    Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
}

/// The versions that a file asks for: `pyproject.toml`, `.tool-versions`, or one on each line.
fn in_file(name: &str, text: &str) -> Result<Vec<Wanted>, String> {
    let nothing = || format!("{name} names no Python version");
    if name.ends_with(".toml") {
        let text = requires_python(text)
            .ok_or_else(|| format!("{name} has no requires-python under [project]"))?;
        let spec = Spec::parse_pep440(&text).map_err(|e| e.to_string())?;
        return Ok(vec![Wanted {
            text,
            spec: Some(spec),
        }]);
    }
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    if name.ends_with(".tool-versions") {
        let version = lines
            .filter_map(|l| l.strip_prefix("python "))
            .next()
            .ok_or_else(nothing)?;
        return Ok(vec![Wanted::parse(
            version.split_whitespace().next().unwrap_or_default(),
        )?]);
    }
    let all: Vec<Wanted> = lines.map(Wanted::parse).collect::<Result<_, _>>()?;
    if all.is_empty() {
        Err(nothing())
    } else {
        Ok(all)
    }
}

fn search(job: &mut Job<'_>, env: &Env) -> Result<Vec<Interpreter>, String> {
    let all = environment::compose(&job.image_env, env, &job.own_env, &[]);
    let argv = ["sh", "-c", SEARCH_SCRIPT, "search", SEARCH_PYTHON];
    let spec = ExecSpec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: all.into_pairs(),
        cwd: "/".to_owned(),
        user: job.user,
    };
    let (exit, out) = capture(job.sandbox(), &spec, 1 << 20, SEARCH)
        .map_err(|e| format!("the image's interpreters could not be listed: {e}"))?;
    if exit != Exit::Code(0) {
        let code = exit.shell_code();
        return Err(format!(
            "the image's interpreters could not be listed: exit code {code}"
        ));
    }
    let mut found = read_search(&String::from_utf8_lossy(&out), &job.paths.tool_cache);
    if job.user != User::default() {
        // The tool cache is root's: somebody else installs into a prefix of their own.
        found.iter_mut().for_each(|i| i.cached = false);
    }
    Ok(found)
}

/// The interpreters in the search's output, newest first, each once.
fn read_search(out: &str, tool_cache: &str) -> Vec<Interpreter> {
    let mut found: Vec<Interpreter> = Vec::new();
    for line in out.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [
            _,
            "interpreter",
            program,
            version,
            prefix,
            managed,
            pip,
            level,
            _,
        ] = fields[..]
        else {
            continue;
        };
        let Some(version) = Version::parse(version).filter(|_| level == "final") else {
            continue;
        };
        if found.iter().any(|i| i.program == program) {
            continue;
        }
        found.push(Interpreter {
            program: program.to_owned(),
            version,
            prefix: prefix.to_owned(),
            pip: Some(pip.to_owned()).filter(|p| !p.is_empty()),
            cached: managed == "free" && program.starts_with(&format!("{tool_cache}/")),
        });
    }
    found.sort_by_key(|i| std::cmp::Reverse((i.version, i.cached)));
    found
}

/// The interpreter for `wanted`; one that only the generation has is unpacked for it.
fn select(
    job: &mut Job<'_>,
    env: &Env,
    found: &mut Vec<Interpreter>,
    offered: &[Offered],
    wanted: &Wanted,
) -> Result<Interpreter, String> {
    if let Some(chosen) = best(job, env, found, offered, wanted)? {
        return Ok(chosen);
    }
    if let Some(other) = tools::stand_in(job, "python", &wanted.text)
        && let Some(chosen) = best(job, env, found, offered, &Wanted::parse(&other)?)?
    {
        return Ok(chosen);
    }
    tools::note_missing(job, "Python", &wanted.text);
    let error = match choose(found, wanted) {
        Ok(chosen) => return Ok(chosen),
        Err(error) => error,
    };
    Err(format!(
        "{error}; in this generation: {}",
        tools::listed(offered)
    ))
}

fn best(
    job: &mut Job<'_>,
    env: &Env,
    found: &mut Vec<Interpreter>,
    offered: &[Offered],
    wanted: &Wanted,
) -> Result<Option<Interpreter>, String> {
    let here = choose(found, wanted).ok();
    let carried = tools::newest(offered, wanted.spec.as_ref());
    let Some(tool) = carried.filter(|tool| here.as_ref().is_none_or(|h| h.version < tool.version))
    else {
        return Ok(here);
    };
    let dir = tools::place(job, tool)?;
    *found = search(job, env)?;
    let inside = found
        .iter()
        .find(|i| i.program.starts_with(&format!("{dir}/")))
        .cloned();
    inside
        .map(Some)
        .ok_or_else(|| format!("the Python that this generation has does not run from {dir}"))
}

fn choose(found: &[Interpreter], wanted: &Wanted) -> Result<Interpreter, String> {
    let fits = |i: &&Interpreter| wanted.spec.as_ref().is_none_or(|s| s.accepts(i.version));
    found.iter().find(fits).cloned().ok_or_else(|| {
        let there: Vec<String> = found
            .iter()
            .map(|i| format!("{} ({})", i.version, i.program))
            .collect();
        let there = if there.is_empty() {
            "none".to_owned()
        } else {
            there.join(", ")
        };
        format!(
            "Python {} is not in this image or its tool cache; there is: {there}. Ask for one of \
             these, or use an image that has it",
            wanted.text
        )
    })
}

/// Puts the interpreter first on the path and gives the outputs.
fn settle(job: &mut Job<'_>, chosen: &Interpreter, update: bool) -> Done {
    let prefix = if chosen.cached {
        chosen.prefix.clone()
    } else {
        let prefix = format!("{WORK}/_python/{}", chosen.version);
        make_prefix(job, chosen, &prefix).map_err(|e| format!("the prefix failed: {e}"))?;
        job.unpack_stage().map_err(|e| e.to_string())?;
        prefix
    };
    let program = format!("{prefix}/bin/python");
    if chosen.pip.is_none() {
        let step = job.step();
        job.log.warn(
            step,
            "this image has no pip: nothing can be installed with it",
        );
    }
    if update {
        for name in [
            "pythonLocation",
            "Python_ROOT_DIR",
            "Python2_ROOT_DIR",
            "Python3_ROOT_DIR",
        ] {
            job.set_env.set(name, &prefix);
        }
        if chosen.cached {
            job.set_env
                .set("PKG_CONFIG_PATH", &format!("{prefix}/lib/pkgconfig"));
            job.set_env.set("LD_LIBRARY_PATH", &format!("{prefix}/lib"));
        }
        for folder in [prefix.clone(), format!("{prefix}/bin")] {
            job.folders.retain(|f| *f != folder);
            job.folders.insert(0, folder);
        }
    }
    Ok(vec![
        output("python-version", &chosen.version.to_string()),
        output("python-path", &program),
        output("cache-hit", "false"),
    ])
}

/// Gathers a virtual environment around `chosen` at `prefix`: the same files as `python -m venv`
/// makes, so that no part of the image needs to be complete.
fn make_prefix(job: &mut Job<'_>, chosen: &Interpreter, prefix: &str) -> std::io::Result<()> {
    let Version { major, minor, .. } = chosen.version;
    let versioned = format!("python{major}.{minor}");
    let packages = format!("lib/{versioned}/site-packages");
    let home = chosen
        .program
        .rsplit_once('/')
        .map_or("/usr/bin", |(home, _)| home);
    let config = format!(
        "home = {home}\ninclude-system-site-packages = false\nversion = {}\nexecutable = {}\n",
        chosen.version, chosen.program
    );
    let root = below_work(prefix);
    let at = |name: &str| format!("{root}/{name}");
    let stage = &mut job.stage;
    for folder in ["_python", &root, &at("bin"), &at("include"), &at("lib")] {
        stage.folder(folder, 0o755)?;
    }
    stage.folder(&at(&format!("lib/{versioned}")), 0o755)?;
    stage.folder(&at(&packages), 0o755)?;
    stage.symlink(&at("lib64"), "lib")?;
    stage.file(&at("pyvenv.cfg"), config.as_bytes(), 0o644)?;
    stage.symlink(&at(&format!("bin/{versioned}")), &chosen.program)?;
    stage.symlink(&at("bin/python3"), &versioned)?;
    stage.symlink(&at("bin/python"), &versioned)?;
    let Some(pip) = &chosen.pip else {
        return Ok(());
    };
    // The image's pip stands last on the module path and has no metadata here, so that a pip that
    // the job installs takes its place without a word.
    let fallback = if pip.ends_with(".whl") {
        pip.clone()
    } else {
        stage.folder(&at("lib/pip-of-image"), 0o755)?;
        stage.symlink(&at("lib/pip-of-image/pip"), pip)?;
        format!("{prefix}/lib/pip-of-image")
    };
    stage.file(
        &at(&format!("{packages}/pip-of-image.pth")),
        format!("{fallback}\n").as_bytes(),
        0o644,
    )?;
    let script = format!(
        "#!{prefix}/bin/python\nimport sys\nfrom pip._internal.cli.main import main\n\
         if __name__ == '__main__':\n    sys.exit(main())\n"
    );
    for name in ["pip", "pip3", &format!("pip{major}.{minor}")] {
        stage.file(&at(&format!("bin/{name}")), script.as_bytes(), 0o755)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = "noise\n\
        \tinterpreter\t/usr/bin/python3.11\t3.11.2\t/usr\tmanaged\t/usr/lib/python3/dist-packages/pip\tfinal\t\n\
        \tinterpreter\t/usr/bin/python3.11\t3.11.2\t/usr\tmanaged\t/x\tfinal\t\n\
        \tinterpreter\t/opt/hostedtoolcache/Python/3.12.1/x64/bin/python3.12\t3.12.1\t/opt/hostedtoolcache/Python/3.12.1/x64\tfree\t\tfinal\t\n\
        \tinterpreter\t/usr/local/bin/python3.13\t3.13.0\t/usr/local\tfree\t\tbeta\t\n";

    fn found() -> Vec<Interpreter> {
        read_search(OUT, "/opt/hostedtoolcache")
    }

    #[test]
    fn interpreters_are_listed_once_newest_first_without_betas() {
        let versions: Vec<String> = found().iter().map(|i| i.version.to_string()).collect();
        assert_eq!(versions, ["3.12.1", "3.11.2"]);
        assert!(found()[0].cached && !found()[1].cached);
        assert_eq!(
            found()[1].pip.as_deref(),
            Some("/usr/lib/python3/dist-packages/pip")
        );
    }

    #[test]
    fn the_newest_that_fits_is_chosen() {
        let choose = |text: &str| choose(&found(), &Wanted::parse(text).unwrap());
        assert_eq!(choose("3.x").unwrap().version, Version::new(3, 12, 1));
        assert_eq!(choose("3.11").unwrap().version, Version::new(3, 11, 2));
        assert_eq!(choose("<3.12").unwrap().version, Version::new(3, 11, 2));
    }

    #[test]
    fn without_a_match_the_error_lists_what_is_there() {
        let error = choose(&found(), &Wanted::parse("3.9").unwrap()).unwrap_err();
        assert!(
            error.contains("Python 3.9") && error.contains("3.12.1 (/opt"),
            "{error}"
        );
        assert!(error.contains("3.11.2 (/usr/bin/python3.11)"), "{error}");
        assert!(
            choose(&[], &Wanted::parse("3.9").unwrap())
                .unwrap_err()
                .contains("there is: none")
        );
    }

    #[test]
    fn version_files_are_read_by_their_kind() {
        let texts = |name: &str, text: &str| {
            in_file(name, text).map(|w| w.into_iter().map(|w| w.text).collect::<Vec<_>>())
        };
        assert_eq!(
            texts(".python-version", "# x\n3.11\n3.12.1\n").unwrap(),
            ["3.11", "3.12.1"]
        );
        assert_eq!(
            texts(".tool-versions", "nodejs 20\npython 3.11.2 3.10\n").unwrap(),
            ["3.11.2"]
        );
        let toml = "[project]\nrequires-python = \">=3.9\"\n";
        assert_eq!(texts("pyproject.toml", toml).unwrap(), [">=3.9"]);
        assert!(texts(".python-version", "\n").is_err());
        assert!(texts("pyproject.toml", "[project]\n").is_err());
    }
}
