//! Git over SSH: who has which key, and each command as the same service that HTTP has.

use std::io::{BufReader, BufWriter, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use access::{Action, Denied, KeyRefused, Principal};
use audit::{Via, Who};
use git::{Protocol, Service, Transport, UploadLimits};
use ssh::{Door, Ended, GitCommand, GitVerb, Guest, Offered, Streams, Work};
use tokio_util::io::SyncIoBridge;

use crate::git_http::turn;
use crate::git_service::{self, Caller};
use crate::push::{self, Client};
use crate::state::App;

/// The exit status of what was refused, as git's own.
const REFUSED: u32 = 128;
/// How often a sign-in without a known key is noted at most.
const NOTED: Duration = Duration::from_secs(10);

/// Who may come in by SSH.
pub struct SshDoor {
    app: App,
    untold: Mutex<Untold>,
}

/// Refused sign-ins since the last that was noted: nobody can fill the log.
#[derive(Default)]
struct Untold {
    noted: Option<SystemTime>,
    since: u64,
}

impl SshDoor {
    /// A door to everything that `app` serves.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self {
            app,
            untold: Mutex::default(),
        }
    }

    fn nobody(&self, peer: SocketAddr) -> Who {
        Principal::Anonymous
            .who(Via::Ssh)
            .in_request(self.app.entropy.hex(8))
            .from_peer(peer)
    }

    /// How many went unnoted before this one; none where this one is not noted either.
    fn untold(&self) -> Option<u64> {
        let now = self.app.clock.now();
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        let due = untold
            .noted
            .is_none_or(|at| now.duration_since(at).is_ok_and(|age| age >= NOTED));
        if !due {
            untold.since += 1;
            return None;
        }
        untold.noted = Some(now);
        Some(std::mem::take(&mut untold.since))
    }
}

impl Door for SshDoor {
    fn knows(&self, fingerprint: &str) -> bool {
        let known = self
            .app
            .store
            .read(|db| access::knows_key(db, fingerprint).map_err(store::StoreError::from));
        known.unwrap_or_else(|error| {
            tracing::error!(%error, "a key cannot be looked up");
            false
        })
    }

    fn enter(&self, peer: SocketAddr, key: &Offered) -> Option<Arc<dyn Guest>> {
        let app = &self.app;
        let who = self.nobody(peer);
        let found = access::authenticate_key(
            &app.store,
            &app.auditor,
            &who,
            &key.fingerprint,
            &key.algorithm,
        );
        match found {
            Ok(principal) => Some(Arc::new(SshGuest {
                app: app.clone(),
                who: who.acting_as(principal.actor()),
                principal,
            })),
            Err(KeyRefused::Unknown | KeyRefused::Suspended) => None,
            Err(error) => {
                tracing::error!(error = %push::chain(&error), "nobody can come in by SSH");
                None
            }
        }
    }

    fn turned_away(&self, peer: SocketAddr, fingerprints: &[String], why: &'static str) {
        let Some(untold) = self.untold() else {
            return;
        };
        let who = self.nobody(peer);
        let noted = self
            .app
            .store
            .write(|tx| -> Result<(), access::AccessError> {
                access::record_unknown_keys(
                    tx,
                    &self.app.auditor,
                    &who,
                    fingerprints,
                    why,
                    untold,
                )?;
                Ok(())
            });
        if let Err(error) = noted {
            tracing::error!(error = %push::chain(&error), "a refused sign-in could not be noted");
        }
    }
}

struct SshGuest {
    app: App,
    who: Who,
    principal: Principal,
}

impl Guest for SshGuest {
    fn greeting(&self) -> String {
        let name = match self.principal.actor().name() {
            Some(name) => format!("Hi {name}!"),
            None => "Hi! This is a deploy key.".to_owned(),
        };
        format!(
            "{name} You came in, and there is no shell here. Use git:\n  \
             git clone {}/OWNER/REPO.git",
            self.app.ssh_address().unwrap_or_default()
        )
    }

    fn serve(&self, command: GitCommand, protocol: Option<String>, streams: Streams) -> Work {
        let (app, who) = (self.app.clone(), self.who.clone());
        let who = who.in_request(app.entropy.hex(8));
        let principal = self.principal.clone();
        Box::pin(async move {
            let Ok(turn) = turn(&app).await else {
                return refused("the server is stopping; try again");
            };
            let protocol = Protocol::from_header(protocol.as_deref());
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let caller = match find(&app, who, principal, &command) {
                    Ok(caller) => caller,
                    Err(denied) => return refused(&denied.to_string()),
                };
                serve(&caller, command.verb, protocol, streams)
            });
            work.await.unwrap_or_else(|error| {
                tracing::error!(%error, "a command ended by a panic");
                refused("the server failed; tell its operator")
            })
        })
    }
}

fn refused(words: &str) -> Ended {
    Ended {
        status: REFUSED,
        words: format!("cofferdam: {words}"),
    }
}

/// The repo, if whoever asks may do to it what they ask.
fn find(app: &App, who: Who, principal: Principal, command: &GitCommand) -> Result<Caller, Denied> {
    let action = match command.verb {
        GitVerb::UploadPack => Action::GitFetch,
        GitVerb::ReceivePack => Action::GitPush,
    };
    let found = app
        .store
        .read(|db| forge::by_path(db, &command.repo).map_err(store::StoreError::from));
    let repo = match found {
        Ok(found) => found.ok_or(Denied::NoRepo)?,
        Err(error) => {
            tracing::error!(%error, "a repo cannot be looked up");
            return Err(Denied::NotSignedIn { action });
        }
    };
    let caller = Caller {
        app: app.clone(),
        who,
        principal,
        repo: Arc::new(repo),
    };
    caller.may(action)?;
    Ok(caller)
}

/// One command, from its advertisement to its end. Blocking.
fn serve(caller: &Caller, verb: GitVerb, protocol: Protocol, streams: Streams) -> Ended {
    let Streams { input, output } = streams;
    let mut input = BufReader::with_capacity(64 << 10, SyncIoBridge::new(input));
    let mut out = BufWriter::with_capacity(64 << 10, SyncIoBridge::new(output));
    let repo = caller.repo.id;
    let (name, service) = match verb {
        GitVerb::UploadPack => ("fetch", Service::UploadPack),
        GitVerb::ReceivePack => ("push", Service::ReceivePack),
    };
    let span = tracing::info_span!("ssh", verb = name, repo.id = %repo);
    let _in = span.enter();
    let served = converse(caller, service, protocol, &mut input, &mut out);
    match served.and_then(|status| Ok(out.flush().map(|()| status)?)) {
        Ok(status) => Ended {
            status,
            words: String::new(),
        },
        Err(error) => {
            tracing::error!(error = %push::chain(&error), "a command could not be served");
            refused("the server could not do this; tell its operator")
        }
    }
}

fn converse(
    caller: &Caller,
    service: Service,
    protocol: Protocol,
    input: &mut (dyn Read + Send),
    out: &mut (dyn Write + Send),
) -> Result<u32, push::PushFault> {
    let repository = caller.app.repository(caller.repo.id)?;
    let limits = UploadLimits::default();
    git::advertise(
        &repository,
        service,
        protocol,
        Transport::Stream,
        &limits,
        out,
    )?;
    match service {
        Service::UploadPack => git_service::fetch(caller, &repository, protocol, input, out),
        Service::ReceivePack => push::receive(caller, Client::Listens, input, out)?,
    }
    Ok(0)
}
