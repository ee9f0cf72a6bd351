//! The one way from a request to a handler: who asks, for what, and whether they may.
//!
//! Every route passes here with its entry of the table in `routes`. Unknown means denied; a
//! handler gets a [`Ctx`] only after [`access::authorize`] has granted the entry's action.

use std::sync::Arc;

use access::{Action, Denied, Principal, RepoFacts, Resource};
use audit::{Entry as Told, Via, Who};
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use forge::Repo;
use queue::{JobRow, RunRow};
use serde::Deserialize;
use store::Db;
use vocab::{JobId, RepoPath, RunNumber, SshKeyId, TokenId, UserId, UserName};

use crate::api::audit::Noted;
use crate::fault::Fault;
use crate::git_service::Caller;
use crate::identify::{self, Door};
use crate::routes::{Entry, Kind, Target};
use crate::serve;
use crate::state::App;

/// What pages ask beforehand, to show only buttons that work.
const ASKED_AHEAD: [Action; 6] = [
    Action::SecretList,
    Action::VariableList,
    Action::RunCancel,
    Action::RunRerun,
    Action::RunDispatch,
    Action::GitPush,
];

/// A request that may go on: who asks, and what for.
#[derive(Clone)]
pub(crate) struct Ctx {
    pub(crate) app: App,
    pub(crate) who: Who,
    pub(crate) principal: Principal,
    repo: Option<Arc<Repo>>,
    allowed: Vec<Action>,
    entry: &'static Entry,
}

impl<S: Send + Sync> FromRequestParts<S> for Ctx {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            // Only a route that was built around the table could come here.
            Fault::denied("this address has no entry in the table of routes")
        })
    }
}

impl Ctx {
    /// What the request was let through for.
    pub(crate) fn action(&self) -> Action {
        self.entry.action
    }

    /// The repo that the address names.
    pub(crate) fn repo(&self) -> Result<&Repo, Fault> {
        self.repo
            .as_deref()
            .ok_or_else(|| Fault::missing("the repo"))
    }

    /// What the repo is to `access`.
    pub(crate) fn facts(&self) -> Result<RepoFacts, Fault> {
        self.repo().map(facts)
    }

    /// Whether a button for `action` on this repo would work.
    pub(crate) fn may(&self, action: Action) -> bool {
        self.allowed.contains(&action)
    }

    /// Whether somebody is signed in.
    pub(crate) fn signed_in(&self) -> bool {
        self.principal.user().is_some()
    }

    /// The name in the bar.
    pub(crate) fn shown_name(&self) -> Option<String> {
        shown_name(&self.principal)
    }

    /// Asks for a further action on the repo that the address names.
    pub(crate) async fn require(&self, action: Action) -> Result<(), Fault> {
        let resource = Resource::Repo(self.facts()?);
        self.require_on(action, resource).await
    }

    /// Asks for an action on something that only the body names.
    pub(crate) async fn require_on(&self, action: Action, on: Resource) -> Result<(), Fault> {
        let ctx = self.clone();
        self.app
            .off(move || {
                judge(&ctx.app, &ctx.who, &ctx.principal, action, &on)
                    .map_err(|denied| ctx.told(denied))
            })
            .await
    }

    /// Who asks git for something of the repo that the address names.
    pub(crate) fn caller(&self) -> Result<Caller, Fault> {
        let repo = self.repo.clone();
        Ok(Caller {
            app: self.app.clone(),
            who: self.who.clone(),
            principal: self.principal.clone(),
            repo: repo.ok_or_else(|| Fault::missing("the repo"))?,
        })
    }

    /// Notes in the audit log what no table tells of: a hold, a stop.
    pub(crate) async fn note(&self, entry: Told) -> Result<(), Fault> {
        let who = self.who.clone();
        self.app
            .write(move |app, tx| -> Result<(), Noted> {
                app.auditor.append(tx, &who, entry)?;
                Ok(())
            })
            .await
    }

    fn told(&self, denied: Denied) -> Fault {
        told(&self.principal, self.entry.kind, denied)
    }

    /// The run that the address names.
    pub(crate) async fn run(&self, path: &RunPath) -> Result<RunRow, Fault> {
        let repo = self.repo()?.id;
        let number = path.number.clone();
        self.app.read(move |db| find_run(db, repo, &number)).await
    }

    /// The job that the address names; the guard has judged its repo.
    pub(crate) async fn job(&self, path: &JobPath) -> Result<JobRow, Fault> {
        let id = path.id;
        self.app
            .read(move |db| {
                queue::job(db, JobId(id))
                    .map_err(Fault::internal)?
                    .ok_or_else(|| Fault::missing(format!("job {id}")))
            })
            .await
    }
}

/// `…/runs/{number}`; `latest` is the newest.
#[derive(Clone, Deserialize)]
pub(crate) struct RunPath {
    pub(crate) number: String,
}

/// `…/jobs/{id}`
#[derive(Clone, Deserialize)]
pub(crate) struct JobPath {
    pub(crate) id: i64,
}

/// The run of that number in `repo`.
pub(crate) fn find_run(db: &Db, repo: vocab::RepoId, number: &str) -> Result<RunRow, Fault> {
    let found = if number == "latest" {
        let newest = queue::RunFilter {
            limit: 1,
            ..queue::RunFilter::default()
        };
        queue::runs_of(db, repo, &newest)
            .map_err(Fault::internal)?
            .into_iter()
            .next()
    } else {
        match number.parse() {
            Ok(n) => queue::run_by_number(db, repo, RunNumber(n)).map_err(Fault::internal)?,
            Err(_) => None,
        }
    };
    found.ok_or_else(|| Fault::missing(format!("run {number}")))
}

/// What a repo is to `access`.
pub(crate) fn facts(repo: &Repo) -> RepoFacts {
    RepoFacts {
        id: repo.id,
        path: repo.path.clone(),
        owner_user: repo.owner_user,
        visibility: repo.visibility,
    }
}

fn shown_name(principal: &Principal) -> Option<String> {
    match principal {
        Principal::User { name, .. }
        | Principal::Token { name, .. }
        | Principal::SshKey { name, .. } => Some(name.to_string()),
        Principal::Operator { .. } => Some("operator".to_owned()),
        Principal::Anonymous | Principal::DeployKey { .. } | Principal::Job { .. } => None,
    }
}

/// Lets a request through to its handler, or not.
pub(crate) async fn guard(
    State((app, entry)): State<(App, &'static Entry)>,
    mut request: Request,
    next: Next,
) -> Response {
    use axum::response::IntoResponse as _;
    let (mut parts, body) = request.into_parts();
    let params = Params::read(&mut parts).await;
    let ctx = match admit(app, entry, params, &parts).await {
        Ok(ctx) => ctx,
        Err(fault) => return fault.into_response(),
    };
    let span = tracing::Span::current();
    span.record("actor", ctx.principal.actor().tagged());
    span.record(
        "route",
        format_args!("{} {}", entry.method, entry.path).to_string(),
    );
    let name = ctx.shown_name();
    parts.extensions.insert(ctx);
    request = Request::from_parts(parts, body);
    let mut response = next.run(request).await;
    if let Some(fault) = response.extensions_mut().get_mut::<Fault>() {
        fault.user = name;
    }
    response
}

/// The parts of the address that name something.
#[derive(Default)]
struct Params {
    owner: Option<String>,
    repo: Option<String>,
    user: Option<String>,
    id: Option<String>,
}

impl Params {
    async fn read(parts: &mut Parts) -> Self {
        let mut found = Self::default();
        if let Ok(raw) = RawPathParams::from_request_parts(parts, &()).await {
            for (name, value) in &raw {
                let slot = match name {
                    "owner" => &mut found.owner,
                    "repo" => &mut found.repo,
                    "user" => &mut found.user,
                    "id" => &mut found.id,
                    _ => continue,
                };
                *slot = Some(value.to_owned());
            }
        }
        found
    }
}

async fn admit(
    app: App,
    entry: &'static Entry,
    params: Params,
    parts: &Parts,
) -> Result<Ctx, Fault> {
    let door = parts.extensions.get::<Door>().copied().unwrap_or(Door::Web);
    let who = nobody(&app, door, &parts.extensions);
    let claim = identify::claim(door, entry.kind, &parts.headers, &parts.extensions)?;
    let by_cookie = matches!(claim, identify::Claim::Cookie(_));
    same_origin(&app, entry, by_cookie, &parts.method, &parts.headers)?;
    let worker = app.clone();
    app.off(move || {
        let principal = identify::principal(&worker, &who, &claim)?;
        let who = who.acting_as(principal.actor());
        let open = worker.config.open_supply;
        let found = worker
            .store
            .read(|db| find(db, entry, &params, &principal, open))?;
        let (repo, resource) = match found {
            Some(found) => found,
            // The body says on what; the handler asks again with it.
            None => (None, Resource::Instance),
        };
        let action = match entry.target {
            // At least somebody: the handler asks for the action itself once it knows on what.
            Target::InBody => Action::AccountRead,
            _ => entry.action,
        };
        judge(&worker, &who, &principal, action, &resource)
            .map_err(|denied| told(&principal, entry.kind, denied))?;
        let allowed = ahead(&worker, &principal, &resource)?;
        Ok(Ctx {
            app: worker.clone(),
            who,
            principal,
            repo: repo.map(Arc::new),
            allowed,
            entry,
        })
    })
    .await
}

fn nobody(app: &App, door: Door, extensions: &Extensions) -> Who {
    let via = match door {
        Door::Web => Via::Http,
        Door::Control => Via::Control,
        Door::Job(_) => Via::Internal,
    };
    let who = Principal::Anonymous.who(via).in_request(app.entropy.hex(8));
    match serve::address(extensions) {
        Some(peer) => who.from_peer(peer),
        None => who,
    }
}

/// The decision, and its audit entry when it is no.
pub(crate) fn judge(
    app: &App,
    who: &Who,
    principal: &Principal,
    action: Action,
    resource: &Resource,
) -> Result<(), Denied> {
    let decided = app.store.read(|db| -> Result<_, store::StoreError> {
        Ok(access::authorize(db, principal, action, resource))
    });
    let unavailable = |_| Denied::NotSignedIn { action };
    let denied = match decided.map_err(unavailable)? {
        Ok(_grant) => return Ok(()),
        Err(denied) => denied,
    };
    let by_token = matches!(
        principal,
        Principal::Token { .. } | Principal::SshKey { .. } | Principal::DeployKey { .. }
    );
    if by_token || (action.requirement().kind.is_some() && *principal != Principal::Anonymous) {
        let noted = app.store.write(|tx| -> Result<(), access::AccessError> {
            access::record_denial(tx, &app.auditor, who, action, resource, &denied)?;
            Ok(())
        });
        if let Err(error) = noted {
            tracing::error!(%error, %action, "a denial could not be noted");
        }
    }
    Err(denied)
}

fn ahead(app: &App, principal: &Principal, resource: &Resource) -> Result<Vec<Action>, Fault> {
    if !matches!(resource, Resource::Repo(_)) {
        return Ok(Vec::new());
    }
    app.store.read(|db| {
        Ok(ASKED_AHEAD
            .into_iter()
            .filter(|action| access::authorize(db, principal, *action, resource).is_ok())
            .collect())
    })
}

/// What somebody who may not is told. Who is not signed in is asked to, whether it exists or not.
fn told(principal: &Principal, kind: Kind, denied: Denied) -> Fault {
    if let Denied::Unavailable { .. } = denied {
        return Fault::internal(denied);
    }
    let unknown = *principal == Principal::Anonymous;
    if unknown && matches!(denied, Denied::NoRepo | Denied::NotSignedIn { .. }) {
        let mut fault = Fault::unknown_caller();
        fault.challenge = kind.challenges();
        if kind.challenges() {
            fault = fault.todo("give an access token as the password");
        }
        return fault;
    }
    if matches!(denied, Denied::NoRepo) {
        return Fault::missing("the repo");
    }
    let status = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::FORBIDDEN);
    let text = denied.to_string();
    match text.split_once("; ") {
        Some((error, todo)) => Fault::new(status, error).todo(todo),
        None => Fault::new(status, text),
    }
}

type Found = Option<(Option<Repo>, Resource)>;

/// What the address names, as far as `authorize` must know it.
fn find(
    db: &Db,
    entry: &Entry,
    params: &Params,
    principal: &Principal,
    open_supply: bool,
) -> Result<Found, Fault> {
    Ok(Some(match entry.target {
        Target::InBody => return Ok(None),
        Target::Instance => (None, Resource::Instance),
        Target::Supply => (None, Resource::Supply { open: open_supply }),
        Target::Own => match principal.user() {
            Some(user) => (None, Resource::User(user)),
            // Nobody owns it; authorize says so.
            None => (None, Resource::User(UserId(0))),
        },
        Target::User => (None, Resource::User(user_of(db, params)?)),
        Target::Token => (None, Resource::User(token_owner(db, params)?)),
        Target::SshKey => (None, Resource::User(key_owner(db, params)?)),
        Target::Repo => of_repo(find_repo(db, params)?),
        Target::Job => of_repo(find_job_repo(db, params)?),
    }))
}

fn of_repo(repo: Option<Repo>) -> (Option<Repo>, Resource) {
    match repo {
        Some(repo) => {
            let resource = Resource::Repo(facts(&repo));
            (Some(repo), resource)
        }
        None => (None, Resource::NoRepo),
    }
}

fn find_repo(db: &Db, params: &Params) -> Result<Option<Repo>, Fault> {
    let owner = params.owner.as_deref().unwrap_or_default();
    let name = params.repo.as_deref().unwrap_or_default();
    let name = name.strip_suffix(".git").unwrap_or(name);
    match format!("{owner}/{name}").parse::<RepoPath>() {
        Ok(path) => forge::by_path(db, &path).map_err(Fault::internal),
        Err(_) => Ok(None),
    }
}

fn find_job_repo(db: &Db, params: &Params) -> Result<Option<Repo>, Fault> {
    let Some(id) = params.id.as_deref().and_then(|id| id.parse().ok()) else {
        return Ok(None);
    };
    let Some(job) = queue::job(db, JobId(id)).map_err(Fault::internal)? else {
        return Ok(None);
    };
    forge::by_id(db, job.repo).map_err(Fault::internal)
}

fn user_of(db: &Db, params: &Params) -> Result<UserId, Fault> {
    let name = params.user.as_deref().unwrap_or_default();
    let found = match name.parse::<UserName>() {
        Ok(name) => access::user_by_name(db, &name).map_err(Fault::internal)?,
        Err(_) => None,
    };
    // Nobody has this id: whoever may not know who exists is denied, others hear that it is not.
    Ok(found.map_or(UserId(0), |user| user.id))
}

fn token_owner(db: &Db, params: &Params) -> Result<UserId, Fault> {
    let Some(id) = params.id.as_deref().and_then(|id| id.parse().ok()) else {
        return Ok(UserId(0));
    };
    let found = access::token(db, TokenId(id)).map_err(Fault::internal)?;
    Ok(found.map_or(UserId(0), |token| token.user))
}

/// A repo's key is nobody's account: its repo's own address leads to it.
fn key_owner(db: &Db, params: &Params) -> Result<UserId, Fault> {
    let Some(id) = params.id.as_deref().and_then(|id| id.parse().ok()) else {
        return Ok(UserId(0));
    };
    let found = access::ssh_key(db, SshKeyId(id)).map_err(Fault::internal)?;
    Ok(match found.map(|key| key.home) {
        Some(access::KeyHome::User(user)) => user,
        Some(access::KeyHome::Repo { .. }) | None => UserId(0),
    })
}

/// Refuses changes that another site makes a browser ask for.
fn same_origin(
    app: &App,
    entry: &Entry,
    by_cookie: bool,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Fault> {
    if matches!(*method, Method::GET | Method::HEAD) || !(by_cookie || entry.kind == Kind::Page) {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let fine = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let own = app.config.public_url.trim_end_matches('/');
            let host = text("host").unwrap_or_default();
            origin == own || origin.split_once("://").is_some_and(|(_, at)| at == host)
        }
        // A program that keeps cookies must say where it comes from; a browser always does.
        (None, None) => false,
    };
    if fine {
        Ok(())
    } else {
        Err(Fault::denied("this change was asked for by another site")
            .todo("use the pages of this one"))
    }
}
