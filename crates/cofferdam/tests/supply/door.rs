//! The loopback of a job: what it sees, who reaches it, and that it ends with the job.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use audit::{Auditor, Origin as Host, Who};
use bundle::Item;
use bundle::manifest::{FileItem, Origin};
use queue::logs::Logs;
use queue::{NewRun, Offer};
use sandbox::{DefenceOff, ExecSpec, ExitStatus, Jail, JailSpec, Launcher, LauncherConfig, Root};
use serde_json::json;
use store::Store;
use supply::GenerationId;
use supply::testing::Draft;
use testkit::Result;
use testkit::http::{Response, get};
use tokio::runtime::Runtime;
use vocab::{Clock, Entropy, Fence, Outcome, RepoId, UserId};
use web::{App, AppParts, JobDoor, NoFacilities, Seat, WebConfig};

use crate::site::open;

/// A port that nobody else uses on the host: the control run shares the host's network.
const PORT: u16 = 18_471;

/// A server in this process, so that a test sees both sides of a job's loopback.
struct Bench {
    app: App,
    door: JobDoor,
    clock: Clock,
    _runtime: Runtime,
    _dir: tempfile::TempDir,
}

/// Unpacks nothing: no image is imported here.
struct NoUnpack;

impl supply::Unpack for NoUnpack {
    fn unpack(
        &self,
        _: &std::path::Path,
        _: &str,
        _: &mut (dyn Read + Send),
    ) -> std::result::Result<Vec<String>, String> {
        Err("layers are not unpacked here".to_owned())
    }
}

impl Bench {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let host = Host {
            host: "test".into(),
            boot: "boot".into(),
        };
        let store = Arc::new(open(dir.path())?);
        let auditor = Auditor::new(clock.clone(), entropy.clone(), host);
        let app = App::new(AppParts {
            intake: supply::testing::intake(&store, &auditor),
            store,
            logs: Logs::open(&dir.path().join("logs"))?,
            auditor,
            seal: None,
            attester: None,
            keys: Arc::new(access::Keys::open_or_create(dir.path(), &entropy)?),
            leases: supply::Leases::default(),
            wants: supply::Wants::default(),
            given: supply::Given::default(),
            unpack: Arc::new(NoUnpack),
            clock: clock.clone(),
            entropy,
            durability: git::Durability::SkipForTest,
            facilities: Arc::new(NoFacilities),
            config: WebConfig::default(),
        });
        let runtime = Runtime::new()?;
        let door = JobDoor::new(app.clone(), runtime.handle().clone());
        Ok(Self {
            app,
            door,
            clock,
            _runtime: runtime,
            _dir: dir,
        })
    }

    /// Makes a generation active whose file `word` holds `word`.
    fn generation(&self, seq: u64, word: &str) -> Result<GenerationId> {
        let store: &Store = &self.app.store;
        let mut draft = Draft::default();
        let item = Item::File(FileItem {
            name: "word".to_owned(),
            d: draft.blob(store, word.as_bytes()),
            source: Origin::default(),
        });
        draft.item(item);
        Ok(draft.activate(store, seq)?)
    }

    /// A job that is handed out and runs.
    fn job(&self) -> Result<Fence> {
        let text = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: 'true'\n";
        let workflow = workflow::parse("w.yml", text.as_bytes(), &workflow::Limits::default())
            .map_err(|e| format!("{e:?}"))?;
        let new = NewRun {
            repo: RepoId(1),
            push: None,
            workflow_path: "w.yml".into(),
            workflow_name: "w".into(),
            title: "t".into(),
            event: "push".into(),
            git_ref: "refs/heads/main".into(),
            sha: "0".repeat(40),
            actor: UserId(1),
            actor_name: "dev".into(),
            github: json!({}),
            inputs: json!({}),
            vars: json!({}),
            held: false,
            untrusted: false,
        };
        let offer = Offer {
            runner: "r".into(),
            labels: vec!["x".into()],
            lease: Duration::from_secs(600),
        };
        let (app, now) = (&self.app, self.clock.now());
        let claimed = app.store.write(|tx| {
            queue::open_run(tx, now, &app.auditor, &Who::system(), &new, &workflow)?;
            queue::claim(tx, now, &app.auditor, &offer)
        })?;
        Ok(claimed.ok_or("the job was not claimed")?.fence)
    }

    fn seat(&self, generation: Option<GenerationId>) -> Result<Seat> {
        Ok(Seat {
            fence: self.job()?,
            repo: RepoId(1),
            generation,
        })
    }
}

/// What a job that can listen on the host's loopback would be asked.
fn on_host(bench: &Bench, seat: Seat) -> Result<(web::Serving, String)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    Ok((bench.door.serve(seat, listener)?, address))
}

fn word(address: &str) -> Result<Response> {
    get(address, "/files/word", &[])
}

#[test]
fn a_job_sees_the_generation_that_it_started_with_and_a_later_one_sees_the_next() -> Result {
    let bench = Bench::new()?;
    let (_none, before) = on_host(&bench, bench.seat(None)?)?;
    let first = bench.generation(1, "first")?;
    let (_one, one) = on_host(&bench, bench.seat(Some(first))?)?;
    assert_eq!(word(&one)?.text(), "first");
    let second = bench.generation(2, "second")?;
    let (_two, two) = on_host(&bench, bench.seat(Some(second))?)?;
    assert_eq!(word(&one)?.text(), "first");
    assert_eq!(word(&two)?.text(), "second");
    // What came after it is nothing to the job, not even by digest.
    let early = word(&before)?;
    assert_eq!(early.status, 404);
    assert!(
        early.text().contains("no bundle has been imported"),
        "{}",
        early.text()
    );
    Ok(())
}

#[test]
fn only_the_supply_is_served_on_a_loopback_and_only_while_the_fence_holds() -> Result {
    let bench = Bench::new()?;
    let generation = bench.generation(1, "first")?;
    let seat = bench.seat(Some(generation))?;
    let (_serving, address) = on_host(&bench, seat)?;
    assert_eq!(word(&address)?.status, 200);
    for path in ["/", "/api/v1/version", "/runs", "/metrics", "/sign-in"] {
        assert_eq!(get(&address, path, &[])?.status, 404, "{path}");
    }
    let gone = get(&address, "/files/left-pad", &[])?;
    assert_eq!(gone.status, 404);
    assert!(
        gone.text().contains("with which this job started"),
        "{}",
        gone.text()
    );
    let now_ms = vocab::unix_ms(bench.clock.now());
    bench.app.wants.flush(&bench.app.store, now_ms)?;
    let wants = bench.app.store.read(supply::generation::wants)?;
    assert_eq!(wants[0].first_job, Some(seat.fence.job));

    let ended = queue::Ended {
        outcome: Outcome::Success,
        reason: String::new(),
        outputs: Vec::new(),
        summary: String::new(),
        annotations: json!([]),
        receipt: None,
    };
    let app = &bench.app;
    let now = bench.clock.now();
    let done = app
        .store
        .write(|tx| queue::finish(tx, now, &app.auditor, seat.fence, &ended))?;
    assert!(matches!(done, queue::Fenced::Done(())));
    let late = word(&address)?;
    assert_eq!(late.status, 403, "{}", late.text());
    Ok(())
}

#[test]
fn connections_that_a_job_leaves_open_end_with_it() -> Result {
    let bench = Bench::new()?;
    let generation = bench.generation(1, &"x".repeat(64 << 20))?;
    let (serving, address) = on_host(&bench, bench.seat(Some(generation))?)?;
    let mut silent = TcpStream::connect(&address)?;
    let mut half = TcpStream::connect(&address)?;
    half.write_all(b"GET /files/word HTTP/1.1\r\nHost: x\r\n")?;
    let mut reading = TcpStream::connect(&address)?;
    reading.write_all(b"GET /files/word HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut first = [0; 16];
    reading.read_exact(&mut first)?;
    drop(serving);
    for stream in [&mut silent, &mut half, &mut reading] {
        let mut rest = Vec::new();
        // An orderly end or a reset; either way there is an end before the whole file.
        let ended = stream.read_to_end(&mut rest);
        assert!(rest.len() < 64 << 20, "{ended:?}");
    }
    assert!(
        TcpStream::connect(&address).is_err(),
        "nobody listens any more"
    );
    Ok(())
}

/// A launcher, where there may be one.
fn launcher() -> Result<Option<Launcher>> {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "jobs are tested as root");
        eprintln!("not root: sandboxes are not tested");
        return Ok(None);
    }
    let config = LauncherConfig {
        exe: PathBuf::from(env!("CARGO_BIN_EXE_cofferdam")),
        allow_controls: true,
        ..LauncherConfig::new()
    };
    Ok(Some(Launcher::start(&config)?))
}

fn jail(launcher: &Launcher, port: Option<u16>, off: DefenceOff) -> Result<Jail> {
    Ok(launcher.create(&JailSpec {
        service_port: port,
        off,
        ..JailSpec::new(Root::HostUsr)
    })?)
}

/// Asks for the file of the generation from inside `jail`.
fn ask(jail: &Jail) -> Result<(bool, String)> {
    let url = format!("http://127.0.0.1:{PORT}/files/word");
    let (mut said, out) = std::io::pipe()?;
    let exec = jail.exec(ExecSpec {
        argv: ["curl", "-sS", "--max-time", "20", &url]
            .map(str::to_owned)
            .to_vec(),
        env: vec![("PATH".into(), "/usr/bin".into())],
        stdout: Some(out.try_clone()?.into()),
        stderr: Some(out.into()),
        ..ExecSpec::default()
    })?;
    let mut text = String::new();
    said.read_to_string(&mut text)?;
    Ok((exec.wait(None) == Some(ExitStatus::Code(0)), text))
}

/// A job with its loopback served, and another job that asks at the same address.
fn attack(off: DefenceOff) -> Result<Option<(bool, String)>> {
    let Some(launcher) = launcher()? else {
        return Ok(None);
    };
    let bench = Bench::new()?;
    let generation = bench.generation(1, "of the first job")?;
    let first = jail(&launcher, Some(PORT), off)?;
    let listener = first.listener()?.ok_or("no listener")?;
    let serving = bench.door.serve(bench.seat(Some(generation))?, listener)?;
    assert_eq!(ask(&first)?, (true, "of the first job".to_owned()));
    let second = jail(&launcher, None, off)?;
    let got = ask(&second)?;
    drop(serving);
    first.destroy()?;
    second.destroy()?;
    Ok(Some(got))
}

#[test]
fn another_job_does_not_reach_a_jobs_loopback() -> Result {
    if let Some((reached, said)) = attack(DefenceOff::default())? {
        assert!(!reached, "{said}");
        assert!(
            said.contains("Failed to connect") || said.contains("refused"),
            "{said}"
        );
    }
    // The control: without network namespaces of their own the same attack works.
    let off = DefenceOff {
        network_namespace: true,
        ..DefenceOff::default()
    };
    if let Some(got) = attack(off)? {
        assert_eq!(got, (true, "of the first job".to_owned()));
    }
    Ok(())
}
