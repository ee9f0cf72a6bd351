//! Every kind of entry there is: its name, its family and how much it matters.

use std::fmt;
use std::str::FromStr;

/// A text that names no kind of entry.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not a kind of audit entry; kinds look like 'git.push'")]
pub struct UnknownKind {
    text: String,
}

macro_rules! kinds {
    ($($family:literal { $($variant:ident = $text:literal $severity:literal,)* })*) => {
        /// What an entry tells of. Source: design/audit-events.md.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Kind {
            $($(#[doc = concat!("`", $text, "`")] $variant,)*)*
        }

        impl Kind {
            /// All of them, in the catalogue's order.
            pub const ALL: &[Kind] = &[$($(Kind::$variant,)*)*];

            /// The dotted name, as stored and searched.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($(Self::$variant => $text,)*)* }
            }

            /// The family: `auth`, `git`, `job` and so on.
            #[must_use]
            pub fn family(self) -> &'static str {
                match self { $($(Self::$variant => $family,)*)* }
            }

            /// How much it matters when all went well: 1 routine, 2 change, 3 sensitive change,
            /// 4 alarming, 5 critical.
            #[must_use]
            pub fn severity(self) -> u8 {
                match self { $($(Self::$variant => $severity,)*)* }
            }
        }
    };
}

kinds! {
    "auth" {
        LoginOk = "login.ok" 1,
        LoginFail = "login.fail" 2,
        Logout = "logout" 1,
        SessionCreate = "session.create" 1,
        SessionRevoke = "session.revoke" 2,
        TokenCreate = "token.create" 3,
        TokenUseDenied = "token.use_denied" 3,
        TokenRevoke = "token.revoke" 2,
        SshkeyAdd = "sshkey.add" 3,
        SshkeyRemove = "sshkey.remove" 2,
        SshkeyAuthOk = "sshkey.auth_ok" 1,
        SshkeyAuthFail = "sshkey.auth_fail" 2,
        DeploykeyAdd = "deploykey.add" 3,
        DeploykeyRemove = "deploykey.remove" 2,
        PasswordChange = "password.change" 3,
        PasswordReset = "password.reset" 3,
        LockoutStart = "lockout.start" 4,
        LockoutClear = "lockout.clear" 2,
    }
    "identity" {
        UserCreate = "user.create" 3,
        UserUpdate = "user.update" 2,
        UserSuspend = "user.suspend" 3,
        UserRestore = "user.restore" 3,
        RoleGrant = "role.grant" 3,
        RoleRevoke = "role.revoke" 3,
    }
    "repo" {
        RepoCreate = "repo.create" 2,
        RepoRename = "repo.rename" 2,
        RepoVisibility = "repo.visibility" 3,
        RepoDelete = "repo.delete" 3,
        CollaboratorAdd = "collaborator.add" 3,
        CollaboratorRemove = "collaborator.remove" 3,
    }
    "git" {
        GitClone = "git.clone" 1,
        GitFetch = "git.fetch" 1,
        GitPush = "git.push" 1,
        GitPushRejected = "git.push_rejected" 2,
        GitForcePush = "git.force_push" 3,
        GitRefCreate = "git.ref_create" 1,
        GitRefDelete = "git.ref_delete" 2,
    }
    "workflow" {
        WorkflowParsed = "workflow.parsed" 1,
        WorkflowInvalid = "workflow.invalid" 2,
        WorkflowDispatch = "workflow.dispatch" 1,
    }
    "job" {
        JobQueued = "job.queued" 1,
        JobAssigned = "job.assigned" 1,
        JobStarted = "job.started" 1,
        JobStepFailed = "job.step_failed" 1,
        JobCompleted = "job.completed" 1,
        JobCancelled = "job.cancelled" 2,
        JobTimedOut = "job.timed_out" 2,
        JobLost = "job.lost" 3,
        JobRetried = "job.retried" 1,
        JobAttested = "job.attested" 1,
        JobLogRead = "job.log_read" 1,
        JobLogDeleted = "job.log_deleted" 3,
    }
    "runner" {
        RunnerCreate = "runner.create" 1,
        RunnerDestroy = "runner.destroy" 1,
        RunnerImageResolved = "runner.image_resolved" 1,
        RunnerPolicyApplied = "runner.policy_applied" 1,
        RunnerEgressAttempt = "runner.egress_attempt" 3,
        RunnerEgressDenied = "runner.egress_denied" 3,
        RunnerLimitHit = "runner.limit_hit" 2,
        RunnerEscapeSuspected = "runner.escape_suspected" 5,
        PoolResize = "pool.resize" 2,
        PoolDrain = "pool.drain" 1,
    }
    "secret" {
        SecretCreate = "secret.create" 3,
        SecretUpdate = "secret.update" 3,
        SecretDelete = "secret.delete" 3,
        SecretExposedToJob = "secret.exposed_to_job" 2,
        SecretMaskHit = "secret.mask_hit" 2,
        VariableChange = "variable.change" 2,
    }
    "bundle" {
        BundleVerified = "bundle.verified" 2,
        BundleRejected = "bundle.rejected" 3,
        BundleStaged = "bundle.staged" 2,
        BundleApproved = "bundle.approved" 3,
        BundleCommitted = "bundle.committed" 3,
        BundleResumed = "bundle.resumed" 2,
        BundleAborted = "bundle.aborted" 2,
        BundleUndone = "bundle.undone" 3,
        BundleRepairRequested = "bundle.repair_requested" 2,
        SlipExported = "slip.exported" 2,
        BlobQuarantined = "blob.quarantined" 4,
        BlobScrubbed = "blob.scrubbed" 1,
        GcRun = "gc.run" 2,
    }
    "trust" {
        KeyRootRotated = "key.root_rotated" 4,
        KeyReleaseAdded = "key.release_added" 3,
        KeyReleaseRevoked = "key.release_revoked" 4,
        KeyQuorumOverride = "key.quorum_override" 5,
        ClockRegressed = "clock.regressed" 4,
        EpochRaised = "epoch.raised" 3,
    }
    "item" {
        ImageAdded = "image.added" 3,
        ImageRemoved = "image.removed" 3,
        ActionAdded = "action.added" 3,
        ActionMoved = "action.moved" 3,
        ToolcacheAdded = "toolcache.added" 3,
        IndexAdded = "index.added" 3,
    }
    "system" {
        Boot = "boot" 1,
        Shutdown = "shutdown" 1,
        Crash = "crash" 4,
        MigrationApplied = "migration.applied" 2,
        ConfigChanged = "config.changed" 2,
        DiskLow = "disk.low" 3,
        DiskCritical = "disk.critical" 4,
        IntegrityCheckOk = "integrity.check_ok" 1,
        IntegrityCheckFailed = "integrity.check_failed" 5,
    }
    "selfupdate" {
        SelfupdateStaged = "selfupdate.staged" 3,
        SelfupdateSwitched = "selfupdate.switched" 3,
        SelfupdateHealthy = "selfupdate.healthy" 3,
        SelfupdateRolledBack = "selfupdate.rolled_back" 4,
    }
    "audit" {
        AuditCosigned = "audit.cosigned" 3,
        AuditExport = "audit.export" 3,
        AuditExportRead = "audit.export_read" 3,
        AuditSearch = "audit.search" 1,
        AuditRedacted = "audit.redacted" 3,
        AuditAppendBlocked = "audit.append_blocked" 5,
        AuditAppendResumed = "audit.append_resumed" 4,
        AuditGapDetected = "audit.gap_detected" 5,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind {
                text: text.chars().take(80).collect(),
            })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_come_back() {
        let names: HashSet<&str> = Kind::ALL.iter().map(|k| k.as_str()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse::<Kind>().unwrap(), *kind);
        }
        assert!("git.melt".parse::<Kind>().is_err());
    }

    #[test]
    fn every_kind_that_a_control_asks_for_exists() {
        for (framework, control, kinds) in evidence::report::Controls::own().mapped() {
            for wanted in kinds {
                let fits = |kind: &Kind| match wanted.strip_suffix('*') {
                    Some(start) => kind.as_str().starts_with(start),
                    None => kind.as_str() == wanted,
                };
                let named = Kind::ALL.iter().any(fits);
                assert!(named, "{framework} {control} asks for {wanted}");
            }
        }
    }
}
