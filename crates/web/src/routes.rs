//! The table of routes: every address there is, what it asks for, and who answers.
//!
//! The router is built from this table and from nothing else, so that a route without an action
//! cannot exist, nor one that changes something and has no kind of audit entry.

use access::Action;
use audit::Kind as Told;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post, put};

use crate::identify::Door;
use crate::registry::{self, Seat};
use crate::state::App;
use crate::{api, assets, events, git_http, guard, metrics, pages, respond};

/// Who talks: that decides how a refusal is worded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A browser.
    Page,
    /// A program.
    Api,
    /// Git.
    Git,
    /// A client of packages, files and tools: no browser, but one that may keep cookies.
    Package,
    /// A client of container images, which has errors of its own.
    Oci,
}

impl Kind {
    /// Whether who is not known is asked for a name and a password.
    pub(crate) fn challenges(self) -> bool {
        matches!(self, Self::Git | Self::Package | Self::Oci)
    }

    /// Whether a session's cookie counts.
    pub(crate) fn takes_cookies(self) -> bool {
        !matches!(self, Self::Git | Self::Oci)
    }
}

/// What an address names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// The instance.
    Instance,
    /// The account of whoever asks.
    Own,
    /// The account `{user}`.
    User,
    /// The owner of the token `{id}`.
    Token,
    /// The owner of the person's SSH key `{id}`.
    SshKey,
    /// The repo `{owner}/{repo}`.
    Repo,
    /// The repo of the job `{id}`.
    Job,
    /// What a generation serves.
    Supply,
    /// Only the body tells; the handler asks again with it.
    InBody,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    pub(crate) action: Action,
    pub(crate) target: Target,
    /// The kinds of audit entries that tell of what it does, at least one of which it makes each
    /// time; none for what changes nothing.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "read by the test that takes each route once")
    )]
    pub(crate) tells: &'static [Told],
}

/// What a route that changes something must say: the kinds that tell of it. Without that it is not
/// compiled; `looks` is for a POST that changes nothing that is kept.
macro_rules! tells {
    (get) => {
        &[]
    };
    ($method:ident looks) => {
        &[]
    };
    ($method:ident [$($told:ident)+]) => {
        &[$(Told::$told),+]
    };
    ($method:ident) => {
        compile_error!(concat!(
            "a ",
            stringify!($method),
            " must say which audit entries tell of it: `=> [GitPush]`, or `=> looks`"
        ))
    };
}

macro_rules! routes {
    ($(
        $method:ident $path:literal $kind:ident $action:ident $target:ident $handler:expr
        $(=> $tells:tt)?;
    )*) => {
        /// All of them.
        pub(crate) static ROUTES: &[Entry] = &[$(Entry {
            method: stringify!($method),
            path: $path,
            kind: Kind::$kind,
            action: Action::$action,
            target: Target::$target,
            tells: tells!($method $($tells)?),
        },)*];

        fn build(app: &App, wanted: impl Fn(&Entry) -> bool) -> Router<App> {
            let mut entries = ROUTES.iter();
            let mut router = Router::new();
            $(
                let entry = entries.next().expect("there is one entry per route");
                if wanted(entry) {
                    let handler: MethodRouter<App> = $method($handler);
                    let guarded =
                        middleware::from_fn_with_state((app.clone(), entry), guard::guard);
                    router = router.route($path, handler.layer(guarded));
                }
            )*
            router
        }
    };
}

routes! {
    get "/healthz" Api HealthRead Instance metrics::healthz;
    get "/readyz" Api HealthRead Instance metrics::readyz;
    get "/metrics" Api MetricsRead Instance metrics::metrics;
    get "/assets/{*path}" Page HealthRead Instance assets::serve;
    get "/ca.crt" Page HealthRead Instance assets::authority;
    get "/docs/api" Page HealthRead Instance pages::account::api_docs;

    get "/sign-in" Page SignIn Instance pages::account::sign_in_form;
    post "/sign-in" Page SignIn Instance pages::account::sign_in => [LoginOk];
    post "/sign-out" Page SignOut Instance pages::account::sign_out => [Logout];
    get "/tokens" Page TokenList Own pages::account::tokens;
    post "/tokens" Page TokenCreate Own pages::account::make_token => [TokenCreate];
    post "/tokens/{id}/revoke" Page TokenRevoke Token pages::account::revoke_token => [TokenRevoke];

    post "/ssh-keys" Page SshKeyAdd Own pages::account::add_key => [SshkeyAdd];
    post "/ssh-keys/{id}/remove" Page SshKeyRemove SshKey pages::account::remove_key => [SshkeyRemove];

    get "/" Page RepoList Instance pages::repos::list;
    get "/new" Page AccountRead Instance pages::repos::new_form;
    post "/new" Page RepoCreate InBody pages::repos::make => [RepoCreate];
    get "/runs" Page RepoList Instance pages::runs::everywhere;
    get "/queue" Page QueueRead Instance pages::pool::queue;
    get "/runners" Page RunnerRead Instance pages::pool::runners;

    get "/catalogue" Page CatalogueRead Instance pages::catalogue::page;
    get "/catalogue/documents/{*name}" Page CatalogueRead Instance pages::catalogue::document;
    get "/bundles" Page BundleRead Instance pages::bundles::page;
    get "/bundles/look" Page BundleRead Instance pages::bundle_look::page;
    get "/bundles/import" Page BundleRead Instance pages::bundle_import::page;
    post "/bundles/import" Page BundleImport Instance pages::bundle_import::begin => [BundleStaged BundleRejected];
    post "/bundles/import/cancel" Page BundleImport Instance pages::bundle_import::cancel => [BundleAborted];
    get "/bundles/undo" Page BundleUndo Instance pages::bundle_upkeep::ask_undo;
    post "/bundles/undo" Page BundleUndo Instance pages::bundle_upkeep::undo => [BundleUndone];
    get "/bundles/collect" Page BundleCollect Instance pages::bundle_upkeep::ask_collect;
    post "/bundles/collect" Page BundleCollect Instance pages::bundle_upkeep::collect => [GcRun];
    post "/bundles/scrub" Page BundleScrub Instance pages::bundle_upkeep::scrub => [BlobScrubbed];
    post "/bundles/scrub/stop" Page BundleScrub Instance pages::bundle_upkeep::stop_scrub => [BlobScrubbed];
    post "/bundles/have" Page SlipExport Instance pages::bundle_upkeep::have => [SlipExported];
    post "/bundles/need" Page SlipExport Instance pages::bundle_upkeep::need => [SlipExported];
    get "/bundles/{id}" Page BundleRead Instance pages::bundle_one::page;
    get "/bundles/{id}/custody" Page BundleRead Instance pages::bundle_custody::page;
    get "/keys" Page BundleRead Instance pages::keys::page;
    get "/audit" Page AuditRead Instance pages::audit::page;
    get "/audit/controls" Page AuditRead Instance pages::audit_controls::page;
    get "/audit/export" Page AuditRead Instance pages::audit_export::form;
    post "/audit/export" Page AuditRead Instance pages::audit_export::begin => [AuditExport];
    get "/audit/export/{id}" Page AuditRead Instance pages::audit_export::progress;
    get "/audit/export/{id}/file" Page AuditRead Instance pages::audit_export::file;
    post "/audit/export/{id}/cancel" Page AuditRead Instance pages::audit_export::cancel => looks;
    get "/audit/{id}" Page AuditRead Instance pages::audit_entry::page;
    get "/audit/{id}/line" Page AuditRead Instance pages::audit_entry::line;
    get "/audit/{id}/tlog-proof" Page AuditRead Instance pages::audit_entry::tlog_proof;

    get "/{owner}/{repo}" Page RepoRead Repo pages::code::home;
    get "/{owner}/{repo}/tree/{*rest}" Page RepoRead Repo pages::code::tree;
    get "/{owner}/{repo}/blob/{*rest}" Page RepoRead Repo pages::code::blob;
    get "/{owner}/{repo}/raw/{*rest}" Page RepoRead Repo pages::code::raw;
    get "/{owner}/{repo}/commits" Page RepoRead Repo pages::commits::list;
    get "/{owner}/{repo}/commits/{*rest}" Page RepoRead Repo pages::commits::list;
    get "/{owner}/{repo}/commit/{id}" Page RepoRead Repo pages::commits::one;
    get "/{owner}/{repo}/runs" Page RunRead Repo pages::runs::of_repo;
    get "/{owner}/{repo}/runs/{number}" Page RunRead Repo pages::run::page;
    get "/{owner}/{repo}/runs/{number}/jobs/{job}" Page LogRead Repo pages::run::page;
    get "/{owner}/{repo}/runs/{number}/jobs/{job}/log" Page LogRead Repo pages::run::raw_log;
    post "/{owner}/{repo}/runs/{number}/cancel" Page RunCancel Repo pages::run::cancel => [JobCancelled];
    post "/{owner}/{repo}/runs/{number}/rerun" Page RunRerun Repo pages::run::rerun => [JobRetried];
    post "/{owner}/{repo}/dispatch" Page RunDispatch Repo pages::runs::dispatch => [WorkflowDispatch];
    get "/{owner}/{repo}/settings" Page SecretList Repo pages::settings::show;
    post "/{owner}/{repo}/settings/secrets" Page SecretSet Repo pages::settings::secret => [SecretCreate SecretUpdate SecretDelete];
    post "/{owner}/{repo}/settings/variables" Page VariableSet Repo pages::settings::variable => [VariableChange];
    post "/{owner}/{repo}/settings/deploy-keys" Page DeployKeyAdd Repo pages::settings::deploy_key => [DeploykeyAdd DeploykeyRemove];

    get "/{owner}/{repo}/info/refs" Git GitFetch Repo git_http::info_refs;
    post "/{owner}/{repo}/git-upload-pack" Git GitFetch Repo git_http::upload_pack => [GitClone GitFetch];
    post "/{owner}/{repo}/git-receive-pack" Git GitPush Repo git_http::receive_pack => [GitPush GitPushRejected];
    get "/{owner}/{repo}/HEAD" Git GitFetch Repo git_http::dumb;
    get "/{owner}/{repo}/objects/{*rest}" Git GitFetch Repo git_http::dumb;

    get "/v2/" Oci RegistryPull Supply registry::oci::version;
    get "/v2/token" Oci RegistryPull Supply registry::oci::token;
    get "/v2/{*rest}" Oci RegistryPull Supply registry::oci::get;
    get "/simple/" Package RegistryPull Supply registry::pypi::index;
    get "/simple/{project}" Package RegistryPull Supply registry::pypi::to_project;
    get "/simple/{project}/" Package RegistryPull Supply registry::pypi::project;
    get "/simple/files/{sha256}/{filename}" Package RegistryPull Supply registry::pypi::file;
    get "/actions/{owner}/{name}/info/refs" Git RegistryPull Supply registry::actions::info_refs;
    post "/actions/{owner}/{name}/git-upload-pack" Git RegistryPull Supply registry::actions::upload_pack => looks;
    get "/toolcache/versions-manifest.json" Package RegistryPull Supply registry::toolcache::all;
    get "/toolcache/{name}/versions-manifest.json" Package RegistryPull Supply registry::toolcache::one;
    get "/toolcache/{name}/{version}/{filename}" Package RegistryPull Supply registry::toolcache::archive;
    get "/files/{*name}" Package RegistryPull Supply registry::files::one;

    get "/api/v1/version" Api HealthRead Instance api::people::version;
    post "/api/v1/session" Api SignIn Instance api::people::sign_in => [LoginOk];
    delete "/api/v1/session" Api SignOut Instance api::people::sign_out => [Logout];
    get "/api/v1/user" Api AccountRead Instance api::people::me;
    get "/api/v1/users" Api UserList Instance api::people::users;
    post "/api/v1/users" Api UserCreate Instance api::people::make_user => [UserCreate];
    get "/api/v1/users/{user}/tokens" Api TokenList User api::people::tokens;
    post "/api/v1/users/{user}/tokens" Api TokenCreate User api::people::make_token => [TokenCreate];
    delete "/api/v1/tokens/{id}" Api TokenRevoke Token api::people::revoke_token => [TokenRevoke];
    get "/api/v1/users/{user}/ssh-keys" Api SshKeyList User api::keys::list;
    post "/api/v1/users/{user}/ssh-keys" Api SshKeyAdd User api::keys::add => [SshkeyAdd];
    delete "/api/v1/ssh-keys/{id}" Api SshKeyRemove SshKey api::keys::remove => [SshkeyRemove];

    get "/api/v1/repos" Api RepoList Instance api::repos::list;
    post "/api/v1/repos" Api RepoCreate InBody api::repos::make => [RepoCreate];
    get "/api/v1/repos/{owner}/{repo}" Api RepoRead Repo api::repos::show;
    delete "/api/v1/repos/{owner}/{repo}" Api RepoDelete Repo api::repos::remove => [RepoDelete];
    get "/api/v1/repos/{owner}/{repo}/bundle" Api GitFetch Repo api::repo_files::export;
    post "/api/v1/repos/{owner}/{repo}/import" Api RepoImport Repo api::repo_files::take_in => [GitPush];
    post "/api/v1/repos/{owner}/{repo}/check" Api RepoCheck Repo api::repo_files::check => looks;
    post "/api/v1/repos/{owner}/{repo}/gc" Api RepoCollect Repo api::repo_files::collect => [GcRun];
    get "/api/v1/repos/{owner}/{repo}/secrets" Api SecretList Repo api::repos::secrets;
    put "/api/v1/repos/{owner}/{repo}/secrets/{name}" Api SecretSet Repo api::repos::set_secret => [SecretCreate SecretUpdate];
    delete "/api/v1/repos/{owner}/{repo}/secrets/{name}" Api SecretRemove Repo api::repos::remove_secret => [SecretDelete];
    get "/api/v1/repos/{owner}/{repo}/variables" Api VariableList Repo api::repos::variables;
    put "/api/v1/repos/{owner}/{repo}/variables/{name}" Api VariableSet Repo api::repos::set_variable => [VariableChange];
    delete "/api/v1/repos/{owner}/{repo}/variables/{name}" Api VariableRemove Repo api::repos::remove_variable => [VariableChange];
    get "/api/v1/repos/{owner}/{repo}/deploy-keys" Api DeployKeyList Repo api::keys::of_repo;
    post "/api/v1/repos/{owner}/{repo}/deploy-keys" Api DeployKeyAdd Repo api::keys::add_to_repo => [DeploykeyAdd];
    delete "/api/v1/repos/{owner}/{repo}/deploy-keys/{id}" Api DeployKeyRemove Repo api::keys::remove_from_repo => [DeploykeyRemove];

    get "/api/v1/repos/{owner}/{repo}/runs" Api RunRead Repo api::runs::list;
    get "/api/v1/repos/{owner}/{repo}/runs/{number}" Api RunRead Repo api::runs::show;
    get "/api/v1/repos/{owner}/{repo}/runs/{number}/jobs" Api RunRead Repo api::runs::jobs;
    get "/api/v1/repos/{owner}/{repo}/runs/{number}/events" Api RunRead Repo events::run;
    post "/api/v1/repos/{owner}/{repo}/runs/{number}/cancel" Api RunCancel Repo api::runs::cancel => [JobCancelled];
    post "/api/v1/repos/{owner}/{repo}/runs/{number}/rerun" Api RunRerun Repo api::runs::rerun => [JobRetried];
    post "/api/v1/repos/{owner}/{repo}/dispatches" Api RunDispatch Repo api::runs::dispatch => [WorkflowDispatch];
    get "/api/v1/jobs/{id}" Api RunRead Job api::runs::job;
    get "/api/v1/jobs/{id}/log" Api LogRead Job api::runs::log;
    get "/api/v1/jobs/{id}/log/stream" Api LogRead Job events::log;
    get "/api/v1/jobs/{id}/log/file" Api LogRead Job api::attest::log_file;
    get "/api/v1/jobs/{id}/receipt" Api RunRead Job api::runs::receipt;
    get "/api/v1/jobs/{id}/attestation" Api RunRead Job api::attest::show;
    get "/api/v1/jobs/{id}/provenance" Api RunRead Job api::attest::provenance;
    get "/api/v1/jobs/{id}/where-it-ran" Api RunRead Job api::attest::where_it_ran;

    get "/api/v1/queue" Api QueueRead Instance api::pool::queue;
    get "/api/v1/runners" Api RunnerRead Instance api::pool::runners;
    get "/api/v1/doctor" Api ServerStatus Instance api::pool::doctor;
    get "/api/v1/images" Api ImageList Instance api::pool::images;
    get "/api/v1/images/{*name}" Api AuditRead Instance api::explain::image;
    put "/api/v1/images/{*name}" Api ImageImport Instance api::pool::import => [ImageAdded];
    delete "/api/v1/images/{*name}" Api ImageRemove Instance api::pool::remove_image => [ImageRemoved];
    get "/api/v1/bundles" Api BundleRead Instance api::bundles::history;
    post "/api/v1/bundles/verify" Api BundleRead Instance api::bundles::verify => looks;
    post "/api/v1/bundles/diff" Api BundleRead Instance api::bundles::diff => looks;
    get "/api/v1/bundles/import" Api BundleRead Instance api::bundles::progress;
    post "/api/v1/bundles/import" Api BundleImport Instance api::bundles::import => [BundleStaged BundleRejected];
    delete "/api/v1/bundles/import" Api BundleImport Instance api::bundles::cancel => [BundleAborted];
    post "/api/v1/bundles/undo" Api BundleUndo Instance api::bundles::undo => [BundleUndone];
    post "/api/v1/bundles/gc" Api BundleCollect Instance api::bundles::collect => [GcRun];
    get "/api/v1/bundles/scrub" Api BundleRead Instance api::bundles::scrub_state;
    post "/api/v1/bundles/scrub" Api BundleScrub Instance api::bundles::scrub => [BlobScrubbed];
    delete "/api/v1/bundles/scrub" Api BundleScrub Instance api::bundles::cancel_scrub => [BlobScrubbed];
    post "/api/v1/bundles/have" Api SlipExport Instance api::bundles::have => [SlipExported];
    post "/api/v1/bundles/need" Api SlipExport Instance api::bundles::need => [SlipExported];
    get "/api/v1/bundles/trust" Api BundleRead Instance api::bundles::trust;
    put "/api/v1/bundles/trust" Api TrustPin Instance api::bundles::pin => [KeyRootRotated];
    get "/api/v1/bundles/{number}/custody" Api BundleRead Instance api::chains::custody;
    get "/api/v1/inventory/sbom" Api ServerStatus Instance api::inventory::sbom;
    get "/api/v1/catalogue" Api CatalogueRead Instance api::bundles::catalogue;
    get "/api/v1/audit" Api AuditRead Instance api::audit::list;
    get "/api/v1/audit/state" Api ServerStatus Instance api::audit::state;
    get "/api/v1/audit/checkpoint" Api AuditRead Instance api::audit::checkpoint;
    get "/api/v1/audit/entries/{id}" Api AuditRead Instance api::audit::entry;
    get "/api/v1/audit/status" Api AuditRead Instance api::witnesses::status;
    post "/api/v1/audit/cosigs" Api AuditCosign Instance api::witnesses::cosign => [AuditCosigned];
    post "/api/v1/audit/redactions" Api AuditRedact Instance api::redactions::redact => [AuditRedacted];
    get "/api/v1/audit/export" Api AuditRead Instance api::audit::export;
    get "/api/v1/audit/exports/{id}" Api AuditRead Instance api::audit::progress;

    get "/api/v1/update" Api ServerStatus Instance api::update::show;
    post "/api/v1/update/hold" Api ServerDrain Instance api::update::hold => [PoolDrain];
    delete "/api/v1/update/hold" Api ServerDrain Instance api::update::let_go => [PoolDrain];
    post "/api/v1/update/self-test" Api ServerCheck Instance api::update::self_test => looks;
    post "/api/v1/update/events" Api UpdateRecord Instance api::update::record => [SelfupdateStaged SelfupdateSwitched SelfupdateHealthy SelfupdateRolledBack];
}

/// First halves of addresses that are the server's own, so that no owner can be called so.
pub(crate) const RESERVED: [&str; 23] = [
    "actions",
    "api",
    "assets",
    "audit",
    "bundles",
    "catalogue",
    "docs",
    "files",
    "healthz",
    "keys",
    "metrics",
    "new",
    "queue",
    "readyz",
    "runners",
    "runs",
    "sign-in",
    "sign-out",
    "simple",
    "ssh-keys",
    "tokens",
    "toolcache",
    "v2",
];

/// Everything that is served on the web listener.
pub fn router(app: App) -> Router {
    through(app, Door::Web)
}

/// The same for the control socket, where the peer is the operator.
pub fn control_router(app: App) -> Router {
    through(app, Door::Control)
}

/// What a running job may have, on its own loopback.
pub(crate) fn job_router(app: App, seat: Seat) -> Router {
    through(app, Door::Job(seat))
}

fn through(app: App, door: Door) -> Router {
    let limit = app.config.limits.body_bytes;
    let wanted = |entry: &Entry| match door {
        Door::Web | Door::Control => true,
        Door::Job(_) => entry.action == Action::RegistryPull,
    };
    let routes = build(&app, wanted)
        .fallback(respond::nothing_here)
        .method_not_allowed_fallback(respond::wrong_method)
        .layer(DefaultBodyLimit::max(limit))
        .with_state(app.clone());
    respond::around(routes, app, door)
}
