//! `cofferdam serve`: the whole appliance in one process, and its launcher beside it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use pool::{Appliance, Embedded, LayerUnpacker, Parts, Pool};
use runner::executor::Executor;
use runner::receipt::RunnerIdentity;
use sandbox::{Launcher, LauncherConfig, StartError};
use store::StoreOptions;
use tokio::signal::unix::{SignalKind, signal};
use web::{App, AppParts, Inventory, JobDoor, ProgramFacts, WebConfig, WebLimits};

use crate::cli::{Global, Serve};
use crate::config::Config;
use crate::facilities::Host;
use crate::notify::Manager;
use crate::privileges::drop_privileges;
use crate::site::Site;
use crate::{
    attesting, housekeeping, identity, intake, output, program, scrubbing, sealing, sshd,
    supplying, tls, update, upkeep,
};

/// How long running jobs may take to end after a request to stop.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(global: &Global, args: &Serve) -> anyhow::Result<ExitCode> {
    init_tracing();
    start(global, args).inspect_err(|error| update::say_why(&global.data, error))
}

fn start(global: &Global, args: &Serve) -> anyhow::Result<ExitCode> {
    if args.own_session {
        rustix::process::setsid().context("cannot leave the terminal's session")?;
    }
    // Layers are named to the launcher, which works in another directory.
    let data = &global
        .data
        .canonicalize()
        .unwrap_or_else(|_| global.data.clone());
    let config = Config::load(data)?;
    let address = args.listen.unwrap_or(config.web.listen);
    let listener = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address}; is another program using it? --listen takes another")
    })?;
    let ssh = sshd::bind(args.ssh_listen.or(config.ssh.listen))?;
    let sha256 = identity::hash_in_background();
    let on_trial = update::at_start();
    // The launcher keeps root's powers, this process gives them up; both before any thread of
    // tokio starts.
    let launching = match &args.launcher {
        Some(socket) => Launching::connect(socket),
        None => Launching::start(data, &config),
    };
    if rustix::process::geteuid().is_root() && data.exists() {
        drop_privileges(data)?;
    }
    let options = StoreOptions {
        skip_fsync: args.lose_data_on_power_cut,
    };
    let before = on_trial.as_ref().map(|trial| &trial.before);
    let site = Site::open_after(data, options, before)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(serve(site, (listener, ssh), launching, sha256, args));
    runtime.shutdown_timeout(Duration::from_secs(5));
    served.map(|()| ExitCode::SUCCESS)
}

/// The launcher, or why there is none.
struct Launching {
    launcher: Result<Arc<Launcher>, String>,
    findings: Vec<sandbox::Finding>,
}

/// What the launcher of an appliance is told, by whoever starts it.
pub(super) fn launcher_settings(data: &Path, config: &Config) -> LauncherConfig {
    let usual = LauncherConfig::new();
    let own = u32::try_from(config.runner.slots() + config.runner.warm + 2);
    LauncherConfig {
        // All launchers of a host draw from the same ids: what others hold is passed over.
        slots: own.map_or(usual.slots, |own| own.max(usual.slots)),
        id_base: config.runner.first_id.unwrap_or(usual.id_base),
        warm: u32::try_from(config.runner.warm).unwrap_or(0),
        source_roots: vec![data.to_owned()],
        ..usual
    }
}

impl Launching {
    /// A launcher of this process's own, which must be root.
    fn start(data: &Path, config: &Config) -> Self {
        let settings = launcher_settings(data, config);
        let findings = sandbox::probe(&settings);
        Self::of(Launcher::start(&settings), findings)
    }

    /// The launcher that serves at `socket`; it has looked at the host.
    fn connect(socket: &Path) -> Self {
        let path = socket.with_file_name(super::launcher::FINDINGS);
        let told = std::fs::read(path).ok();
        let findings = told.and_then(|told| serde_json::from_slice(&told).ok());
        Self::of(Launcher::connect(socket), findings.unwrap_or_default())
    }

    fn of(launcher: Result<Launcher, StartError>, findings: Vec<sandbox::Finding>) -> Self {
        let launcher = launcher.map(Arc::new).map_err(|error| {
            let reason = format!("no job can run here: {error:#}");
            tracing::error!("{reason}");
            reason
        });
        Self { launcher, findings }
    }
}

async fn serve(
    site: Site,
    (listener, ssh): (TcpListener, Option<TcpListener>),
    launching: Launching,
    sha256: JoinHandle<String>,
    args: &Serve,
) -> anyhow::Result<()> {
    let sha256 = sha256.join().unwrap_or_default();
    let bound = listener
        .local_addr()
        .context("cannot tell the bound address")?;
    let secure = secure(&site, bound)?;
    let scheme = if secure.is_some() { "https" } else { "http" };
    let public_url = site.config.web.public_url.clone().map_or_else(
        || format!("{scheme}://{bound}"),
        |url| url.trim_end_matches('/').to_owned(),
    );
    let ssh = sshd::prepare(&site, ssh, &public_url)?;
    let host = Arc::new(Host {
        pool: OnceLock::new(),
        findings: launching.findings,
        layers: OnceLock::new(),
        trouble: launching.launcher.as_ref().err().cloned(),
        name: site.name.clone(),
        program: ProgramFacts {
            version: program::this().version.to_owned(),
            sha256: sha256.clone(),
            pid: std::process::id(),
            address: bound.to_string(),
            any_port: args.listen.unwrap_or(site.config.web.listen).port() == 0,
            secure: secure.is_some(),
        },
        health: update::Health {
            store: site.store.clone(),
            auditor: site.auditor.clone(),
        },
    });
    let launcher = launching.launcher;
    let seal = sealing::open(&site);
    let attester = attesting::open(&site, seal.as_ref(), &public_url);
    let authority = secure
        .as_ref()
        .and_then(|_| tls::authority(site.store.dir()));
    let app = build_app(
        &site,
        WebConfig {
            authority,
            ssh: ssh.as_ref().map(|ssh| ssh.facts.clone()),
            ..web_config(&site, &public_url)
        },
        host.clone(),
        launcher.clone(),
        seal.clone(),
        attester.clone(),
        args,
    )?;
    settle(&site, &app)?;
    if let Some(attester) = &attester {
        attesting::start(&app, attester).context("cannot start attesting jobs")?;
    }
    if let Some(seal) = &seal {
        sealing::start(&site, seal).context("cannot start sealing the audit log")?;
    }
    housekeeping::start(&app, &site.store, &site.clock).context("cannot start housekeeping")?;
    scrubbing::start(&app.intake, site.config.bundles.scrub_days)
        .context("cannot start what reads blobs again")?;
    supplying::start(&app, &site.clock).context("cannot start what looks after the supply")?;
    let pool = match launcher {
        Ok(launcher) => Some(start_pool(
            &site,
            &app,
            &public_url,
            launcher,
            sha256,
            &host,
        )?),
        Err(_) => None,
    };

    listener
        .set_nonblocking(true)
        .context("cannot use the listener")?;
    let listener =
        tokio::net::TcpListener::from_std(listener).context("cannot use the listener")?;
    let control = control_socket(site.store.dir())?;
    let stop = Stop::new()?;
    let (web_stop, control_stop) = (stop.wait(), stop.wait());
    let serving = match &secure {
        Some(secure) => {
            let config = secure.server_config()?;
            tokio::spawn(web::serve_tls(listener, config, app.clone(), web_stop))
        }
        None => tokio::spawn(web::serve(listener, app.clone(), web_stop)),
    };
    let controlling = tokio::spawn(web::serve_control(control, app.clone(), control_stop));
    let ssh = ssh.map(|ssh| ssh.start(&app, stop.wait())).transpose()?;
    output::line(&format!("{scheme}://{bound}"));
    if let Some(ssh) = &ssh {
        output::line(&ssh.line);
    }
    tracing::info!(%bound, scheme, data = %site.store.dir().display(), "ready");
    let manager = Manager::of_environment();
    manager.ready();
    upkeep::start(&site, secure);

    stop.wait().await;
    manager.stopping();
    tracing::info!("stopping: running jobs may end, nothing new starts");
    if let Some(pool) = pool {
        tokio::task::spawn_blocking(move || pool.drain(PATIENCE))
            .await
            .context("the pool ended by a panic")?;
    }
    serving
        .await
        .context("the server ended by a panic")?
        .context("the server failed")?;
    controlling
        .await
        .context("the control server ended by a panic")?
        .context("it failed")?;
    if let Some(ssh) = ssh {
        ssh.end().await?;
    }
    let last = seal.filter(|_| site.auditor.refusing().is_none());
    if let Some(Err(error)) = last.map(|seal| seal.seal(&site.store)) {
        tracing::warn!(%error, "the last entries are sealed at the next start");
    }
    if let Err(error) = std::fs::remove_file(site.store.dir().join("control.sock")) {
        tracing::debug!(%error, "control.sock stays");
    }
    Ok(())
}

fn build_app(
    site: &Site,
    config: WebConfig,
    host: Arc<Host>,
    launcher: Result<Arc<Launcher>, String>,
    seal: Option<Arc<audit::Seal>>,
    attester: Option<Arc<attest::Attester>>,
    args: &Serve,
) -> anyhow::Result<App> {
    let leases = supply::Leases::default();
    let unpack = Arc::new(LayerUnpacker::new(launcher));
    let intake = intake::open(site, unpack.clone(), leases.clone())
        .context("cannot open the place where bundles come in")?;
    Ok(App::new(AppParts {
        intake: Arc::new(intake),
        store: site.store.clone(),
        logs: site.logs.clone(),
        auditor: site.auditor.clone(),
        seal,
        attester,
        keys: site.keys.clone(),
        clock: site.clock.clone(),
        entropy: site.entropy.clone(),
        durability: if args.lose_data_on_power_cut {
            git::Durability::SkipForTest
        } else {
            git::Durability::Full
        },
        facilities: host,
        leases,
        wants: supply::Wants::default(),
        given: supply::Given::default(),
        unpack,
        config,
    }))
}

fn web_config(site: &Site, public_url: &str) -> WebConfig {
    let web = &site.config.web;
    WebConfig {
        public_url: public_url.to_owned(),
        session_length: Duration::from_secs(web.session_hours * 3600),
        labels: site.config.labels.clone(),
        media: site.config.bundles.media.clone(),
        witnesses: site.config.audit.keys(),
        inventory: Inventory {
            program: evidence::sbom::of_cargo_lock(program::LOCK, "cofferdam"),
            settings: serde_json::to_value(&site.config).unwrap_or_default(),
        },
        open_supply: web.open_supply,
        authority: None,
        ssh: None,
        limits: WebLimits {
            push_bytes: web.push_max_mib << 20,
            object_bytes: web.object_max_mib << 20,
            ..WebLimits::default()
        },
    }
}

/// The certificate to serve with; none where plain HTTP is right: on loopback without one, or
/// where the settings say so.
fn secure(site: &Site, bound: SocketAddr) -> anyhow::Result<Option<Arc<tls::Serving>>> {
    let data = site.store.dir();
    let wanted = match site.config.web.tls {
        Some(wanted) => wanted,
        None if tls::exists(data) => true,
        None if bound.ip().is_loopback() => false,
        None => bail!(
            "{bound} can be reached from other hosts and there is no certificate; make one with \
             `cofferdam tls init --data {}`, or write `tls = false` under [web] in config.toml",
            data.display()
        ),
    };
    if !wanted {
        return Ok(None);
    }
    tls::ensure(data, &[], site.clock.now()).or_else(|error| match tls::exists(data) {
        // What is there may still be good, and a started appliance can say so.
        true => {
            tracing::error!("the certificate was not renewed: {error:#}");
            Ok(false)
        }
        false => Err(error),
    })?;
    tls::Serving::load(data).map(Some)
}

/// Puts right what a crash left: files first, then pushes, then jobs.
fn settle(site: &Site, app: &App) -> anyhow::Result<()> {
    let swept = forge::sweep(&site.store).context("cannot sweep the repos")?;
    tracing::debug!(?swept, "repos swept");
    sweep_repos(&site.store.dir().join("repos")).context("cannot sweep what pushes left")?;
    let images = supply::sweep(&site.store).context("cannot sweep the images")?;
    tracing::debug!(?images, "images swept");
    let pushes = web::recover(app).context("cannot settle the pushes of the last run")?;
    tracing::debug!(?pushes, "pushes settled");
    let now = site.clock.now();
    let jobs = site
        .store
        .write(|tx| queue::recover(tx, now, &site.auditor, &|_| false))
        .context("cannot settle the jobs of the last run")?;
    update::tell_the_end(site)?;
    for fence in &jobs.lost {
        let reason = "the appliance was restarted while this job ran";
        if let Err(error) = site.logs.seal(fence.job, fence.attempt, now, reason) {
            tracing::warn!(job = %fence.job, %error, "its log was not closed");
        }
    }
    Ok(())
}

/// Removes what an interrupted push left in each repo: no other process works in them.
fn sweep_repos(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        for removed in git::sweep(&entry?.path())? {
            tracing::info!(path = %removed.display(), "left by an interrupted write, removed");
        }
    }
    Ok(())
}

fn start_pool(
    site: &Site,
    app: &App,
    public_url: &str,
    launcher: Arc<Launcher>,
    sha256: String,
    host: &Arc<Host>,
) -> anyhow::Result<Arc<Pool>> {
    let executor = Arc::new(Embedded::new(launcher));
    match executor.probe() {
        Ok(layers) => {
            if host.layers.set(layers).is_err() {
                bail!("the pool was started twice");
            }
        }
        Err(error) => tracing::error!(%error, "a first sandbox could not be made"),
    }
    let repos = app.clone();
    let provider = Appliance {
        store: site.store.clone(),
        auditor: site.auditor.clone(),
        keys: site.keys.clone(),
        labels: site.config.labels.clone(),
        open: Box::new(move |id| {
            repos
                .repository(id)
                .map_err(|e| format!("{:#}", anyhow::Error::from(e)))
        }),
        leases: app.leases.clone(),
        actions: app.actions(),
        wants: app.wants.clone(),
        given: app.given.clone(),
        aliases: Arc::new(site.config.toolcache.aliases.clone()),
    };
    let door = JobDoor::new(app.clone(), tokio::runtime::Handle::current());
    let identity = RunnerIdentity {
        name: site.name.clone(),
        version: program::this().version.to_owned(),
        binary_sha256: sha256,
        labels: Vec::new(),
    };
    let pool = Arc::new(
        Pool::start(Parts {
            config: site.config.pool(identity, public_url),
            store: site.store.clone(),
            auditor: site.auditor.clone(),
            logs: Arc::new(site.logs.clone()),
            executor,
            provider: Arc::new(provider),
            endpoint: Some(Arc::new(supplying::Loopbacks(door))),
            clock: site.clock.clone(),
        })
        .context("cannot start the pool")?,
    );
    if host.pool.set(pool.clone()).is_err() {
        bail!("the pool was started twice");
    }
    Ok(pool)
}

fn control_socket(data: &Path) -> anyhow::Result<tokio::net::UnixListener> {
    let path = data.join("control.sock");
    if let Err(e) = std::fs::remove_file(&path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(e).with_context(|| format!("cannot replace {}", path.display()));
    }
    tokio::net::UnixListener::bind(&path).with_context(|| format!("cannot make {}", path.display()))
}

/// The wish to stop, by SIGTERM or SIGINT; a second one ends the process at once.
struct Stop(tokio::sync::watch::Receiver<bool>);

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let mut term = signal(SignalKind::terminate()).context("cannot hear SIGTERM")?;
        let mut int = signal(SignalKind::interrupt()).context("cannot hear SIGINT")?;
        let (tell, told) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            for _ in 0..2 {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                if *tell.borrow() {
                    std::process::exit(130);
                }
                tell.send_replace(true);
            }
        });
        Ok(Self(told))
    }

    fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut told = self.0.clone();
        async move {
            if told.wait_for(|stop| *stop).await.is_err() {
                tracing::debug!("the signal task ended");
            }
        }
    }
}

pub(super) fn init_tracing() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("COFFERDAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if format.try_init().is_err() {
        tracing::debug!("tracing was set up already");
    }
}
