//! Serves pages over invented content, to be looked at: `cargo run -p web --example seeded`.
//!
//! Prints the address, then a line for each page. User `dev`, password `cofferdam demo`.

mod stock;

use std::error::Error;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use access::{NewUser, PasswordHash, Role};
use audit::{Auditor, Origin, Who};
use forge::{Disk, Founder, NewRepo, Repo};
use queue::logs::{Kind, Logs};
use serde_json::json;
use store::{Store, StoreOptions};
use vocab::{Clock, Entropy, Outcome, Visibility, unix_ms};
use web::{App, AppParts, Facilities, Fact, Slot, SlotState, WebConfig};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Invented;

impl Facilities for Invented {
    fn capacity(&self) -> Vec<queue::Capacity> {
        vec![queue::Capacity {
            runner: "appliance-0001".into(),
            labels: supply::COMMON_LABELS
                .iter()
                .map(|l| (*l).to_owned())
                .collect(),
            pending: Vec::new(),
            slots: 2,
            paused: None,
        }]
    }

    fn slots(&self) -> Vec<Slot> {
        let slot = |name: &str, state, job, note: &str| Slot {
            name: name.into(),
            state,
            job,
            note: note.into(),
        };
        vec![
            slot(
                "appliance-0001/1",
                SlotState::Busy,
                Some(vocab::JobId(11)),
                "",
            ),
            slot(
                "appliance-0001/2",
                SlotState::Warm,
                None,
                "a sandbox stands ready",
            ),
        ]
    }

    fn isolation(&self) -> Vec<Fact> {
        [
            "user namespace",
            "mount namespace",
            "pid namespace",
            "network namespace",
            "seccomp",
            "Landlock",
            "cgroup",
        ]
        .iter()
        .map(|name| Fact {
            name: (*name).into(),
            value: "in force (read from /proc)".into(),
            good: Some(*name != "Landlock"),
        })
        .collect()
    }

    fn doctor(&self) -> serde_json::Value {
        json!({ "findings": [] })
    }
}

struct NoUnpack;

impl supply::Unpack for NoUnpack {
    fn unpack(
        &self,
        _: &Path,
        _: &str,
        _: &mut (dyn Read + Send),
    ) -> std::result::Result<Vec<String>, String> {
        Err("not here".into())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let media = dir.path().join("media");
    std::fs::create_dir(&media)?;
    let app = open(dir.path(), &address, &media)?;
    seed(&app, dir.path())?;
    stock::stock(&app, &media)?;
    println!("{address}");
    std::io::stdout().flush()?;
    let shutdown = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            eprintln!("{error}");
        }
    };
    Ok(web::serve(listener, app, shutdown).await?)
}

fn open(dir: &Path, address: &str, media: &Path) -> Result<App> {
    let migrations = [
        audit::MIGRATIONS,
        access::MIGRATIONS,
        forge::MIGRATIONS,
        queue::MIGRATIONS,
        supply::MIGRATIONS,
    ];
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let origin = Origin {
        host: "appliance-0001".into(),
        boot: "boot".into(),
    };
    let store = Arc::new(Store::open(dir, &migrations, StoreOptions::default())?);
    let auditor = Auditor::new(clock.clone(), entropy.clone(), origin);
    Ok(App::new(AppParts {
        intake: supply::testing::intake(&store, &auditor),
        store,
        logs: Logs::open(&dir.join("logs"))?,
        auditor,
        seal: Some(Arc::new(audit::Seal::open(
            dir,
            "appliance-0001",
            &entropy,
        )?)),
        attester: None,
        keys: Arc::new(access::Keys::open_or_create(dir, &entropy)?),
        leases: supply::Leases::default(),
        wants: supply::Wants::default(),
        given: supply::Given::default(),
        unpack: Arc::new(NoUnpack),
        clock,
        entropy,
        durability: git::Durability::Full,
        facilities: Arc::new(Invented),
        config: WebConfig {
            public_url: address.to_owned(),
            media: vec![media.to_owned()],
            ..WebConfig::default()
        },
    }))
}

fn seed(app: &App, dir: &Path) -> Result<()> {
    let who = Who::system();
    let password = Some(PasswordHash::of("cofferdam demo", &app.entropy)?);
    let new = NewUser {
        name: "dev".parse()?,
        password,
        role: Role::Admin,
    };
    let dev = app
        .store
        .write(|tx| access::create_user(tx, &app.auditor, &who, &new))?;
    let founder = Founder {
        id: dev.id,
        name: dev.name.clone(),
    };
    let mut repos = Vec::new();
    for (path, visibility) in [
        ("lab/tasks-app", Visibility::Private),
        ("lab/firmware-tools", Visibility::Instance),
        (
            "dev/notes-with-a-rather-long-name-to-see-how-it-wraps",
            Visibility::Public,
        ),
    ] {
        let init = |at: &Path, branch: &str| -> Result<()> {
            git::Repository::init_bare(at, branch, git::Durability::Full)?;
            Ok(())
        };
        let disk = Disk {
            data: dir,
            init: &init,
        };
        let new = NewRepo {
            path: path.parse()?,
            founder: Some(founder.clone()),
            visibility,
            default_branch: "main".into(),
            description: String::new(),
        };
        repos.push(
            app.store
                .write(|tx| forge::create_repo(tx, &app.auditor, &who, &disk, &new))?,
        );
    }
    let shas = history(dir, &repos[0])?;
    for (n, sha) in shas.iter().enumerate() {
        run(app, &repos[0], &dev, sha, n)?;
    }
    Ok(())
}

const WORKFLOW: &str = "name: CI\non: [push, workflow_dispatch]\njobs:\n  lint:\n    runs-on: ubuntu-latest\n    steps: [{run: ruff check}]\n  test:\n    needs: lint\n    strategy: {matrix: {python: ['3.11', '3.12', '3.13']}}\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - uses: actions/setup-node@v4\n        with: {node-version: '18'}\n      - run: python -m unittest\n  report:\n    needs: test\n    if: always()\n    runs-on: [self-hosted, gpu]\n    steps: [{run: echo done}]\n";

fn history(dir: &Path, repo: &Repo) -> Result<Vec<String>> {
    let tree = dir.join("tree");
    let git = |args: &[&str]| -> Result<String> {
        let out = Command::new("git")
            .args([
                "-c",
                "user.name=Dana Ewing",
                "-c",
                "user.email=dev@lab",
                "-c",
                "safe.directory=*",
            ])
            .args(args)
            .current_dir(&tree)
            .output()?;
        if !out.status.success() {
            return Err(String::from_utf8_lossy(&out.stderr).into_owned().into());
        }
        Ok(String::from_utf8(out.stdout)?.trim().to_owned())
    };
    let write = |path: &str, text: &str| -> Result<()> {
        let path: PathBuf = tree.join(path);
        std::fs::create_dir_all(path.parent().ok_or("no parent")?)?;
        Ok(std::fs::write(path, text)?)
    };
    std::fs::create_dir_all(&tree)?;
    git(&["init", "-q", "-b", "main"])?;
    write(".github/workflows/ci.yml", WORKFLOW)?;
    write(
        "README.md",
        "# Tasks\n\nA small task list for the lab, in *two* Python files.\n\n- [x] add and finish tasks\n- [ ] due dates\n\n## Run it\n\n```sh\npython3 -m tasks\n```\n\n| file | job |\n|--|--|\n| `tasks/store.py` | keeps tasks |\n| `tasks/web.py` | shows them |\n\nSee [the guide](docs/guide.md).\n",
    )?;
    write("docs/guide.md", "# Guide\n\nText.\n")?;
    write(
        "tasks/store.py",
        "\"\"\"Keeps tasks.\"\"\"\n\n\nclass Store:\n    def __init__(self):\n        self.tasks = []\n\n    def pending(self):\n        return sum(1 for t in self.tasks if not t.done)\n",
    )?;
    write("tasks/web.py", "\"\"\"Shows tasks.\"\"\"\n")?;
    git(&["add", "-A"])?;
    git(&["commit", "-q", "-m", "Keep tasks in memory"])?;
    let mut shas = vec![git(&["rev-parse", "HEAD"])?];
    for (n, message) in [
        "Count pending tasks only once",
        "Show overdue tasks in the list, with a title that is long enough to wrap on a phone",
        "Break a test",
    ]
    .iter()
    .enumerate()
    {
        write(
            "tasks/web.py",
            &format!("\"\"\"Shows tasks, version {n}.\"\"\"\n"),
        )?;
        git(&["commit", "-qam", message])?;
        shas.push(git(&["rev-parse", "HEAD"])?);
    }
    git(&["tag", "v0.1"])?;
    let to = forge::repo_dir(dir, repo.id);
    git(&["push", "-q", "--all", to.to_str().ok_or("odd path")?])?;
    git(&["push", "-q", "--tags", to.to_str().ok_or("odd path")?])?;
    Ok(shas)
}

fn run(app: &App, repo: &Repo, dev: &access::User, sha: &str, nth: usize) -> Result<()> {
    let who = Who::system();
    let path = ".github/workflows/ci.yml";
    let titles = [
        "Keep tasks in memory",
        "Count pending tasks only once",
        "Show overdue tasks in the list, with a title that is long enough to wrap on a phone",
        "Break a test",
    ];
    let new = queue::NewRun {
        repo: repo.id,
        push: None,
        workflow_path: path.into(),
        workflow_name: "CI".into(),
        title: titles[nth].into(),
        event: "push".into(),
        git_ref: "refs/heads/main".into(),
        sha: sha.to_owned(),
        actor: dev.id,
        actor_name: "dev".into(),
        github: json!({}),
        inputs: json!({}),
        vars: json!({}),
        held: false,
        untrusted: false,
    };
    let now = app.clock.now();
    if nth == 0 {
        let problems = [
            format!("{path}:7:5: unknown key 'stepz'; did you mean 'steps'?"),
            format!("{path}:9:9: action acme/deploy@v2 is not in the active generation"),
        ];
        app.store
            .write(|tx| queue::open_failed_run(tx, now, &app.auditor, &who, &new, &problems))?;
        return Ok(());
    }
    let workflow = workflow::parse(path, WORKFLOW.as_bytes(), &workflow::Limits::default())
        .map_err(|problems| format!("{problems:?}"))?;
    app.store
        .write(|tx| queue::open_run(tx, now, &app.auditor, &who, &new, &workflow))?;
    let ends = match nth {
        1 => vec![Outcome::Success; 4],
        2 => vec![
            Outcome::Success,
            Outcome::Success,
            Outcome::Failure,
            Outcome::Success,
        ],
        _ => vec![Outcome::Success],
    };
    for outcome in ends {
        work(app, Some(outcome))?;
    }
    if nth == 3 {
        work(app, None)?;
    }
    Ok(())
}

/// Takes the next job, prints a little, ends it unless it is to stay running.
fn work(app: &App, end: Option<Outcome>) -> Result<()> {
    let now = app.clock.now();
    let offer = queue::Offer {
        runner: "appliance-0001".into(),
        labels: supply::COMMON_LABELS
            .iter()
            .map(|l| (*l).to_owned())
            .collect(),
        lease: Duration::from_secs(600),
    };
    let claimed = app
        .store
        .write(|tx| queue::claim(tx, now, &app.auditor, &offer))?;
    let Some(claimed) = claimed else {
        return Ok(());
    };
    let fence = claimed.fence;
    let mut log = app.logs.writer(fence.job, fence.attempt)?;
    done(
        app.store
            .write(|tx| queue::started(tx, now, &app.auditor, fence))?,
    )?;
    let steps = [
        "Set up the job",
        "Check out the code",
        "Set up Python 3.12",
        "Test",
        "Where did this run?",
    ];
    for (number, name) in (0u32..).zip(steps) {
        let offset = log.offset();
        done(app.store.write(|tx| {
            queue::step_started(tx, now, &app.auditor, fence, number, name, offset)
        })?)?;
        lines(&mut log, number, now, end)?;
        if end.is_none() && number == 3 {
            log.flush()?;
            return Ok(());
        }
        let outcome = if number == 3 {
            end.unwrap_or(Outcome::Success)
        } else {
            Outcome::Success
        };
        let ended = queue::StepEnded {
            number,
            name: name.into(),
            outcome,
            conclusion: outcome,
            exit_code: Some(if outcome == Outcome::Success { 0 } else { 1 }),
            reason: String::new(),
        };
        done(
            app.store
                .write(|tx| queue::step_finished(tx, now, &app.auditor, fence, &ended))?,
        )?;
    }
    log.finish(now)?;
    let outcome = end.unwrap_or(Outcome::Success);
    let ended = queue::Ended {
        outcome,
        reason: if outcome == Outcome::Success {
            String::new()
        } else {
            "step 'Test' failed with exit code 1".into()
        },
        outputs: Vec::new(),
        summary: "### Coverage\n\n| file | lines |\n|--|--|\n| `store.py` | 98 % |\n".into(),
        annotations: json!([{ "level": "warning", "message": "ResourceWarning: unclosed file", "file": "tasks/store.py", "line": 7 }]),
        receipt: Some(receipt(fence, now)),
    };
    done(
        app.store
            .write(|tx| queue::finish(tx, now, &app.auditor, fence, &ended))?,
    )?;
    Ok(())
}

fn done<T>(fenced: queue::Fenced<T>) -> Result<T> {
    match fenced {
        queue::Fenced::Done(value) => Ok(value),
        queue::Fenced::Lost(_) => Err("the job is not held any more".into()),
    }
}

fn lines(
    log: &mut queue::logs::LogWriter,
    step: u32,
    at: SystemTime,
    end: Option<Outcome>,
) -> Result<()> {
    let mut put = |kind, text: &str| log.append(at, step, kind, text);
    match step {
        0 => put(
            Kind::Info,
            "image debian-python sha256:81c3a9, sandbox was warm",
        )?,
        1 => put(
            Kind::Info,
            "checked out 3f2a91c8 of lab/tasks-app from the local store, depth 1",
        )?,
        2 => {
            put(Kind::Group, "Interpreters")?;
            put(Kind::Out, "3.11.2 /usr/bin/python3.11")?;
            put(Kind::Out, "3.12.1 /opt/python/3.12")?;
            put(Kind::Endgroup, "")?;
        }
        3 => {
            put(Kind::Command, "python -m unittest -v")?;
            for n in 0..36 {
                put(
                    Kind::Out,
                    &format!("test_{n:02} (tests.test_store.Pending) ... \u{1b}[32mok\u{1b}[0m"),
                )?;
            }
            put(Kind::Warning, "ResourceWarning: unclosed file")?;
            if end == Some(Outcome::Failure) {
                put(
                    Kind::Out,
                    "\u{1b}[1;31mFAIL\u{1b}[0m: test_due (tests.test_store.Due)",
                )?;
                put(Kind::Out, "AssertionError: 3 != 2")?;
                put(Kind::Error, "1 test failed")?;
            }
        }
        _ => put(Kind::Receipt, "machine  appliance-0001, kernel 6.1.0")?,
    }
    Ok(())
}

fn receipt(fence: vocab::Fence, now: SystemTime) -> serde_json::Value {
    let ms = unix_ms(now);
    let layer = |name: &str, source: &str| json!({ "name": name, "in_force": true, "detail": "", "source": source });
    json!({
        "version": 1,
        "fence": fence,
        "runner": { "name": "appliance-0001", "version": "0.1.0", "binary_sha256": "9bb5", "labels": [] },
        "machine": { "host": "appliance-0001", "kernel": "6.1.0-18-amd64", "boot_id": "2b7e" },
        "executor": "embedded",
        "layers": [layer("user namespace", "/proc/1/ns/user"), layer("seccomp", "/proc/1/status"), layer("Landlock", "landlock_restrict_self")],
        "root": { "image": "debian-python", "digest": format!("sha256:{}", "81c3".repeat(16)), "mounts": "overlay", "warm": true },
        "uid_map": [[0, 100_000, 65_536]],
        "limits": [{ "name": "memory", "value": "2 GiB", "source": "memory.max" }],
        "usage": { "memory_peak_bytes": 88_080_384, "pids_peak": 7, "cpu_ms": 812, "disk_bytes": 1_048_576, "oom_kills": 0, "pids_refused": 0, "no_route_packets": 0, "sources": ["memory.peak"] },
        "network": { "policy": "loopback", "interfaces": ["lo"], "refused_packets": 0 },
        "secrets": [],
        "timings": { "queued_ms": ms - 6_300, "claimed_ms": ms - 6_298, "prepared_ms": ms - 6_280, "first_output_ms": ms - 6_262, "finished_ms": ms },
        "background": [],
        "residue": { "searched": ["processes", "mounts", "cgroup", "files"], "found": [], "not_searched": [], "removed": true },
        "log": { "lines": 40, "bytes": 2_000 },
        "unread": []
    })
}
