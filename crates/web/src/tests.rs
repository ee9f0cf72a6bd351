//! The server as its callers meet it: a data directory, the router, real git.

mod audit_pages;
mod audited;
mod bundles;
mod guarded;
mod keyed;
mod pushed;
mod recovered;
mod redacted;
mod seen;
mod shelved;
mod stopped;
mod streamed;
mod supplied;
mod told;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use access::{NewToken, NewUser, PasswordHash, Role, Scope, User};
use audit::{Auditor, Origin, Who};
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use forge::{Disk, Founder, NewRepo, Repo};
use http_body_util::BodyExt as _;
use queue::logs::Logs;
use store::{Store, StoreOptions};
use tower::ServiceExt as _;
use vocab::{Clock, Entropy, Visibility, from_unix_ms};

use crate::{App, AppParts, NoFacilities, WebConfig};

/// A data directory with a server over it.
pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) app: App,
    pub(crate) clock: Clock,
}

/// Unpacks nothing: no test here imports an image.
struct NoUnpack;

impl supply::Unpack for NoUnpack {
    fn unpack(
        &self,
        _: &Path,
        _: &str,
        _: &mut (dyn std::io::Read + Send),
    ) -> Result<Vec<String>, String> {
        Err("layers are not unpacked here".to_owned())
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

/// A public key of nobody in particular.
pub(crate) const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBdk1epCe4N2xMDZa7bA5qG+0s0P878qrr6Us9PbV6vY dev\
    @lab";

fn open(dir: &Path, clock: &Clock, change: impl FnOnce(&mut WebConfig)) -> App {
    let migrations = [
        audit::MIGRATIONS,
        access::MIGRATIONS,
        forge::MIGRATIONS,
        queue::MIGRATIONS,
        supply::MIGRATIONS,
    ];
    let open = || Store::open(dir, &migrations, StoreOptions::default());
    // A child of another test holds a copy of the lock between its fork and its exec.
    let held = |r: &Result<Store, _>| matches!(r, Err(store::StoreError::Lock(_)));
    let store = (0..100_000)
        .map(|_| open())
        .inspect(|_| std::thread::yield_now())
        .find(|opened| !held(opened))
        .unwrap_or_else(open)
        .unwrap();
    let entropy = Entropy::system();
    let origin = Origin {
        host: "test".into(),
        boot: "boot".into(),
    };
    let store = Arc::new(store);
    let auditor = Auditor::new(clock.clone(), entropy.clone(), origin);
    let mut config = WebConfig {
        public_url: "http://forge.lab".into(),
        session_length: Duration::from_secs(3600),
        ..WebConfig::default()
    };
    change(&mut config);
    let seal = audit::Seal::open(dir, "test", &entropy).unwrap();
    let logs = Logs::open(&dir.join("logs")).unwrap();
    let appliance = attest::Appliance {
        name: "test".into(),
        log: seal.key().clone(),
        url: config.public_url.clone(),
        version: "0".into(),
    };
    let (shared, recorder) = (store.clone(), auditor.clone());
    let attester = attest::Attester::open(shared, recorder, logs.clone(), appliance).unwrap();
    App::new(AppParts {
        intake: supply::testing::intake(&store, &auditor),
        store,
        logs,
        auditor,
        seal: Some(Arc::new(seal)),
        attester: Some(Arc::new(attester)),
        keys: Arc::new(access::Keys::open_or_create(dir, &entropy).unwrap()),
        leases: supply::Leases::default(),
        wants: supply::Wants::default(),
        given: supply::Given::default(),
        unpack: Arc::new(NoUnpack),
        clock: clock.clone(),
        entropy,
        durability: git::Durability::Full,
        facilities: Arc::new(NoFacilities),
        config,
    })
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other settings.
    pub(crate) fn with(change: impl FnOnce(&mut WebConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::scripted(from_unix_ms(1_795_472_245_000));
        let app = open(dir.path(), &clock, change);
        Self { dir, app, clock }
    }

    /// What a kill and a start amount to: nothing in memory survives.
    pub(crate) fn killed(self) -> Self {
        let Self { dir, app, clock } = self;
        drop(app);
        let app = open(dir.path(), &clock, |_| {});
        Self { dir, app, clock }
    }

    /// Gives `user` an SSH key.
    pub(crate) fn ssh_key(&self, user: &User) -> access::SshKeyInfo {
        let key = access::KeyText::parse(KEY).unwrap();
        let new = access::NewKey {
            home: access::KeyHome::User(user.id),
            label: "laptop".into(),
        };
        let app = &self.app;
        app.store
            .write(|tx| access::add_ssh_key(tx, &app.auditor, &Who::system(), &new, &key))
            .unwrap()
    }

    pub(crate) fn user(&self, name: &str, role: Role, password: Option<&str>) -> User {
        let app = &self.app;
        let password = password.map(|text| PasswordHash::of(text, &app.entropy).unwrap());
        let new = NewUser {
            name: name.parse().unwrap(),
            password,
            role,
        };
        app.store
            .write(|tx| access::create_user(tx, &app.auditor, &Who::system(), &new))
            .unwrap()
    }

    pub(crate) fn token(&self, user: &User, scopes: &[Scope]) -> String {
        let app = &self.app;
        let new = NewToken {
            user: user.id,
            label: "test".into(),
            scopes: scopes.iter().copied().collect(),
            expires: None,
        };
        let made = app
            .store
            .write(|tx| access::create_token(tx, &app.auditor, &Who::system(), &new))
            .unwrap();
        made.text
    }

    pub(crate) fn repo(&self, path: &str, of: &User, visibility: Visibility) -> Repo {
        let app = self.app.clone();
        let maker = app.clone();
        let init = move |dir: &Path, branch: &str| maker.make_repository(dir, branch);
        let new = NewRepo {
            path: path.parse().unwrap(),
            founder: Some(Founder {
                id: of.id,
                name: of.name.clone(),
            }),
            visibility,
            default_branch: "main".into(),
            description: String::new(),
        };
        let disk = Disk {
            data: app.store.dir(),
            init: &init,
        };
        app.store
            .write(|tx| forge::create_repo(tx, &app.auditor, &Who::system(), &disk, &new))
            .unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = crate::router(self.app.clone())
            .oneshot(request)
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// A request by token, or by nobody.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        json: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !json.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.send(request.body(Body::from(json.to_owned())).unwrap())
            .await
    }

    /// A page, as a browser asks for it.
    pub(crate) async fn page(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::builder()
            .uri(path)
            .header(header::ACCEPT, "text/html")
            .header(header::COOKIE, cookie);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A form, as a browser of this site sends it.
    pub(crate) async fn form(&self, path: &str, cookie: &str, form: &str) -> Answer {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::ACCEPT, "text/html")
            .header(header::COOKIE, cookie)
            .header(header::ORIGIN, "http://forge.lab")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form.to_owned())).unwrap())
            .await
    }

    /// Signs in by the page; the cookie.
    pub(crate) async fn sign_in(&self, name: &str, password: &str) -> String {
        let form = format!("name={name}&password={password}&next=/");
        let answer = self.form("/sign-in", "", &form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let cookie = answer.header("set-cookie");
        cookie.split(';').next().unwrap().to_owned()
    }

    /// Serves on a port of loopback; its address.
    pub(crate) async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = self.app.clone();
        tokio::spawn(async move { crate::serve(listener, app, std::future::pending()).await });
        address.to_string()
    }
}

/// A working tree for real git.
pub(crate) struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let tree = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        tree.git(&["init", "-q", "-b", "main"]);
        tree
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new("git")
            .args([
                "-c",
                "user.name=Dev",
                "-c",
                "user.email=dev@lab",
                "-c",
                "protocol.version=2",
            ])
            .args(args)
            .current_dir(self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env_remove("GIT_DIR")
            .output()
            .unwrap()
    }

    /// Runs git, which must succeed; what it said.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let out = self.run(args);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(out.status.success(), "git {args:?}: {said}");
        said
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// The same, off the runtime that serves.
    pub(crate) async fn run_off(self: &Arc<Self>, args: &[&str]) -> Output {
        let (tree, args) = (
            Arc::clone(self),
            args.iter().map(ToString::to_string).collect::<Vec<_>>(),
        );
        tokio::task::spawn_blocking(move || {
            tree.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .await
        .unwrap()
    }
}

pub(crate) const WORKFLOW: &str = "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: echo hello\n";

/// What git said on standard error.
pub(crate) fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}
