//! Every operation there is, and what each asks of who wants it: one table.

use audit::Kind;

use crate::{Level, Scope};

/// What an action asks of a person. An operator at the control socket may do all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Nothing.
    Anyone,
    /// To be signed in.
    SignedIn,
    /// To be the user that it is done to, or an administrator.
    Own,
    /// To own the namespace, or to be the first in it.
    Namespace,
    /// This much of the repo that it is done to.
    Repo(Level),
    /// To be an administrator of the instance.
    Admin,
    /// To be at the control socket.
    Operator,
    /// To be signed in, or a running job; anybody where the site's settings open the supply.
    Supply,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Requirement {
    /// What it asks of a person.
    pub need: Need,
    /// What it asks of a token besides; none means that no token will do, unless anyone may.
    pub scope: Option<Scope>,
    /// Whether a running job may do it, to its own repo or to its own generation.
    pub job: bool,
    /// The kind of audit entry that a denial makes; none for what only reads.
    pub kind: Option<Kind>,
}

macro_rules! actions {
    ($($variant:ident $text:literal $need:expr, $scope:expr, $job:expr, $kind:expr;)*) => {
        /// Every operation of the API, of git, of the pages and of the command line.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Action {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The dotted name, as messages have it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Its row of the table.
            #[must_use]
            pub fn requirement(self) -> Requirement {
                match self {
                    $(Self::$variant => Requirement {
                        need: $need, scope: $scope, job: $job, kind: $kind,
                    },)*
                }
            }
        }
    };
}

use Level::{Admin as Adm, Read, Write};
use Need::{Admin, Anyone, Namespace, Operator, Own, Repo, SignedIn, Supply};
use Scope::{Admin as All, RepoAdmin, RepoRead, RepoWrite, RunRead, RunWrite};

actions! {
    HealthRead "health.read" Anyone, None, false, None;
    SignIn "sign_in" Anyone, None, false, None;
    SignOut "sign_out" SignedIn, None, false, Some(Kind::Logout);

    AccountRead "account.read" SignedIn, Some(RepoRead), false, None;
    PasswordChange "password.change" Own, None, false, Some(Kind::PasswordChange);
    TokenList "token.list" Own, None, false, None;
    TokenCreate "token.create" Own, None, false, Some(Kind::TokenCreate);
    TokenRevoke "token.revoke" Own, None, false, Some(Kind::TokenRevoke);
    SshKeyList "sshkey.list" Own, None, false, None;
    SshKeyAdd "sshkey.add" Own, None, false, Some(Kind::SshkeyAdd);
    SshKeyRemove "sshkey.remove" Own, None, false, Some(Kind::SshkeyRemove);
    SessionList "session.list" Own, None, false, None;
    SessionRevoke "session.revoke" Own, None, false, Some(Kind::SessionRevoke);

    UserList "user.list" Admin, Some(All), false, None;
    UserCreate "user.create" Admin, Some(All), false, Some(Kind::UserCreate);
    UserSuspend "user.suspend" Admin, Some(All), false, Some(Kind::UserSuspend);
    UserRestore "user.restore" Admin, Some(All), false, Some(Kind::UserRestore);
    RoleSet "role.set" Admin, Some(All), false, Some(Kind::RoleGrant);
    PasswordReset "password.reset" Admin, Some(All), false, Some(Kind::PasswordReset);
    LockoutClear "lockout.clear" Admin, Some(All), false, Some(Kind::LockoutClear);

    RepoList "repo.list" Anyone, Some(RepoRead), false, None;
    RepoCreate "repo.create" Namespace, Some(RepoAdmin), false, Some(Kind::RepoCreate);
    RepoRead "repo.read" Repo(Read), Some(RepoRead), true, None;
    RepoRename "repo.rename" Repo(Adm), Some(RepoAdmin), false, Some(Kind::RepoRename);
    RepoVisibility "repo.visibility" Repo(Adm), Some(RepoAdmin), false, Some(Kind::RepoVisibility);
    RepoDelete "repo.delete" Repo(Adm), Some(RepoAdmin), false, Some(Kind::RepoDelete);
    RepoImport "repo.import" Repo(Adm), Some(RepoAdmin), false, Some(Kind::GitPushRejected);
    RepoCheck "repo.check" Repo(Adm), Some(RepoAdmin), false, None;
    RepoCollect "repo.collect" Repo(Adm), Some(RepoAdmin), false, Some(Kind::GcRun);
    CollaboratorList "collaborator.list" Repo(Adm), Some(RepoAdmin), false, None;
    CollaboratorAdd "collaborator.add" Repo(Adm), Some(RepoAdmin), false, Some(Kind::CollaboratorAdd);
    CollaboratorRemove "collaborator.remove" Repo(Adm), Some(RepoAdmin), false, Some(Kind::CollaboratorRemove);
    DeployKeyList "deploykey.list" Repo(Adm), Some(RepoAdmin), false, None;
    DeployKeyAdd "deploykey.add" Repo(Adm), Some(RepoAdmin), false, Some(Kind::DeploykeyAdd);
    DeployKeyRemove "deploykey.remove" Repo(Adm), Some(RepoAdmin), false, Some(Kind::DeploykeyRemove);
    SecretList "secret.list" Repo(Adm), Some(RepoAdmin), false, None;
    SecretSet "secret.set" Repo(Adm), Some(RepoAdmin), false, Some(Kind::SecretUpdate);
    SecretRemove "secret.remove" Repo(Adm), Some(RepoAdmin), false, Some(Kind::SecretDelete);
    VariableList "variable.list" Repo(Write), Some(RepoWrite), false, None;
    VariableSet "variable.set" Repo(Adm), Some(RepoAdmin), false, Some(Kind::VariableChange);
    VariableRemove "variable.remove" Repo(Adm), Some(RepoAdmin), false, Some(Kind::VariableChange);

    InstanceSecretList "instance_secret.list" Admin, Some(All), false, None;
    InstanceSecretSet "instance_secret.set" Admin, Some(All), false, Some(Kind::SecretUpdate);
    InstanceSecretRemove "instance_secret.remove" Admin, Some(All), false, Some(Kind::SecretDelete);
    InstanceVariableList "instance_variable.list" Admin, Some(All), false, None;
    InstanceVariableSet "instance_variable.set" Admin, Some(All), false, Some(Kind::VariableChange);
    InstanceVariableRemove "instance_variable.remove" Admin, Some(All), false, Some(Kind::VariableChange);

    GitFetch "git.fetch" Repo(Read), Some(RepoRead), true, Some(Kind::GitFetch);
    GitPush "git.push" Repo(Write), Some(RepoWrite), false, Some(Kind::GitPushRejected);

    RunRead "run.read" Repo(Read), Some(RunRead), false, None;
    LogRead "log.read" Repo(Read), Some(RunRead), false, Some(Kind::JobLogRead);
    RunDispatch "run.dispatch" Repo(Write), Some(RunWrite), false, Some(Kind::WorkflowDispatch);
    RunCancel "run.cancel" Repo(Write), Some(RunWrite), false, Some(Kind::JobCancelled);
    RunRerun "run.rerun" Repo(Write), Some(RunWrite), false, Some(Kind::JobRetried);

    QueueRead "queue.read" SignedIn, Some(RunRead), false, None;
    RunnerRead "runner.read" SignedIn, Some(RunRead), false, None;
    MetricsRead "metrics.read" SignedIn, Some(RunRead), false, None;
    ImageList "image.list" SignedIn, Some(RunRead), false, None;
    ImageImport "image.import" Admin, Some(All), false, Some(Kind::ImageAdded);
    ImageRemove "image.remove" Admin, Some(All), false, Some(Kind::ImageRemoved);
    BundleRead "bundle.read" Admin, Some(All), false, None;
    BundleImport "bundle.import" Admin, Some(All), false, Some(Kind::BundleRejected);
    BundleUndo "bundle.undo" Admin, Some(All), false, Some(Kind::BundleUndone);
    BundleCollect "bundle.collect" Admin, Some(All), false, Some(Kind::GcRun);
    BundleScrub "bundle.scrub" Admin, Some(All), false, Some(Kind::BlobScrubbed);
    SlipExport "slip.export" Admin, Some(All), false, Some(Kind::SlipExported);
    TrustPin "trust.pin" Operator, None, false, Some(Kind::KeyRootRotated);
    CatalogueRead "catalogue.read" SignedIn, Some(RunRead), false, None;
    RegistryPull "registry.pull" Supply, Some(RepoRead), true, None;
    AuditRead "audit.read" Admin, Some(All), false, Some(Kind::AuditSearch);
    AuditCosign "audit.cosign" Admin, Some(All), false, Some(Kind::AuditCosigned);
    AuditRedact "audit.redact" Admin, Some(All), false, Some(Kind::AuditRedacted);
    ServerStatus "server.status" Admin, Some(All), false, None;
    ServerCheck "server.check" Operator, None, false, None;
    ServerDrain "server.drain" Operator, None, false, Some(Kind::PoolDrain);
    UpdateRecord "update.record" Operator, None, false, Some(Kind::SelfupdateSwitched);
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
