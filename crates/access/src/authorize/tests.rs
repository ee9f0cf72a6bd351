//! The whole table: every action by every kind of caller on every kind of thing.

use audit::Via;
use vocab::{Attempt, Fence, JobId, SessionId, Sight, SshKeyId, TokenId};

use super::*;
use crate::testing::{Bed, operator, repo};
use crate::{Level, Scopes, User, add_collaborator, forget_repo, remove_collaborator, sight};

/// Callers, in the order of the table's columns: anonymous, a stranger, reader, writer and
/// admin of the repo, its owner, an instance admin; the owner's tokens with repo:read,
/// repo:write, repo:admin, run:read, run:write, admin; the instance admin's token with admin;
/// a job of the repo, a job of another; the operator; an SSH key of the owner, a deploy key of the
/// repo that reads, one that writes, one of another repo.
const COLUMNS: usize = 21;

/// What each action comes to on a private repo, on the caller's own account (the owner's, for
/// those without one), in the owner's namespace, or on the instance. `+` allowed, `-` denied.
const TABLE: &str = "
    health.read             +++++++ ++++++ + -- + ----
    sign_in                 +++++++ ++++++ + -- + ----
    sign_out                -++++++ ------ - -- + ----
    account.read            -++++++ +++--+ + -- + ----
    password.change         -----++ ------ - -- + ----
    token.list              -----++ ------ - -- + ----
    token.create            -----++ ------ - -- + ----
    token.revoke            -----++ ------ - -- + ----
    sshkey.list             -----++ ------ - -- + ----
    sshkey.add              -----++ ------ - -- + ----
    sshkey.remove           -----++ ------ - -- + ----
    session.list            -----++ ------ - -- + ----
    session.revoke          -----++ ------ - -- + ----
    user.list               ------+ ------ + -- + ----
    user.create             ------+ ------ + -- + ----
    user.suspend            ------+ ------ + -- + ----
    user.restore            ------+ ------ + -- + ----
    role.set                ------+ ------ + -- + ----
    password.reset          ------+ ------ + -- + ----
    lockout.clear           ------+ ------ + -- + ----
    repo.list               +++++++ +++--+ + -- + ----
    repo.create             -----++ --+--+ + -- + ----
    repo.read               --+++++ +++--+ + +- + ----
    repo.rename             ----+++ --+--+ + -- + ----
    repo.visibility         ----+++ --+--+ + -- + ----
    repo.delete             ----+++ --+--+ + -- + ----
    repo.import             ----+++ --+--+ + -- + ----
    repo.check              ----+++ --+--+ + -- + ----
    repo.collect            ----+++ --+--+ + -- + ----
    collaborator.list       ----+++ --+--+ + -- + ----
    collaborator.add        ----+++ --+--+ + -- + ----
    collaborator.remove     ----+++ --+--+ + -- + ----
    deploykey.list          ----+++ --+--+ + -- + ----
    deploykey.add           ----+++ --+--+ + -- + ----
    deploykey.remove        ----+++ --+--+ + -- + ----
    secret.list             ----+++ --+--+ + -- + ----
    secret.set              ----+++ --+--+ + -- + ----
    secret.remove           ----+++ --+--+ + -- + ----
    variable.list           ---++++ -++--+ + -- + ----
    variable.set            ----+++ --+--+ + -- + ----
    variable.remove         ----+++ --+--+ + -- + ----
    instance_secret.list    ------+ ------ + -- + ----
    instance_secret.set     ------+ ------ + -- + ----
    instance_secret.remove  ------+ ------ + -- + ----
    instance_variable.list  ------+ ------ + -- + ----
    instance_variable.set   ------+ ------ + -- + ----
    instance_variable.remove ------+ ------ + -- + ----
    git.fetch               --+++++ +++--+ + +- + +++-
    git.push                ---++++ -++--+ + -- + +-+-
    run.read                --+++++ ---+++ + -- + ----
    log.read                --+++++ ---+++ + -- + ----
    run.dispatch            ---++++ ----++ + -- + ----
    run.cancel              ---++++ ----++ + -- + ----
    run.rerun               ---++++ ----++ + -- + ----
    queue.read              -++++++ ---+++ + -- + ----
    runner.read             -++++++ ---+++ + -- + ----
    metrics.read            -++++++ ---+++ + -- + ----
    image.list              -++++++ ---+++ + -- + ----
    image.import            ------+ ------ + -- + ----
    image.remove            ------+ ------ + -- + ----
    bundle.read             ------+ ------ + -- + ----
    bundle.import           ------+ ------ + -- + ----
    bundle.undo             ------+ ------ + -- + ----
    bundle.collect          ------+ ------ + -- + ----
    bundle.scrub            ------+ ------ + -- + ----
    slip.export             ------+ ------ + -- + ----
    trust.pin               ------- ------ - -- + ----
    catalogue.read          -++++++ ---+++ + -- + ----
    registry.pull           -++++++ +++--+ + ++ + ----
    audit.read              ------+ ------ + -- + ----
    audit.cosign            ------+ ------ + -- + ----
    audit.redact            ------+ ------ + -- + ----
    server.status           ------+ ------ + -- + ----
    server.check            ------- ------ - -- + ----
    server.drain            ------- ------ - -- + ----
    update.record           ------- ------ - -- + ----
";

struct Cast {
    bed: Bed,
    owner: User,
    callers: Vec<Principal>,
}

fn person(user: &User) -> Principal {
    Principal::User {
        user: user.id,
        name: user.name.clone(),
        role: user.role,
        session: SessionId(1),
    }
}

fn token(user: &User, scopes: &[Scope]) -> Principal {
    Principal::Token {
        user: user.id,
        name: user.name.clone(),
        role: user.role,
        token: TokenId(1),
        scopes: scopes.iter().copied().collect::<Scopes>(),
    }
}

fn job(repo: i64) -> Principal {
    Principal::Job {
        fence: Fence {
            job: JobId(1),
            attempt: Attempt(1),
            epoch: 1,
        },
        repo: RepoId(repo),
    }
}

fn deploy_key(repo: i64, writes: bool) -> Principal {
    Principal::DeployKey {
        key: SshKeyId(1),
        fingerprint: "SHA256:x".into(),
        repo: RepoId(repo),
        writes,
    }
}

fn cast() -> Cast {
    let bed = Bed::new();
    let member = |name| bed.user(name, Role::Member, false);
    let owner = member("owner");
    let admin = bed.user("root", Role::Admin, false);
    let shared = repo(1, Some(owner.id), Visibility::Private);
    let mut callers = vec![Principal::Anonymous, person(&member("stranger"))];
    for (name, level) in [
        ("reader", Level::Read),
        ("writer", Level::Write),
        ("keeper", Level::Admin),
    ] {
        let user = member(name);
        bed.write(|tx| {
            Ok(add_collaborator(
                tx,
                &bed.log,
                &operator(),
                &shared,
                user.id,
                level,
            )?)
        });
        callers.push(person(&user));
    }
    callers.extend([person(&owner), person(&admin)]);
    callers.extend(Scope::ALL.map(|scope| token(&owner, &[scope])));
    callers.push(token(&admin, &[Scope::Admin]));
    callers.extend([job(1), job(2), Principal::Operator { uid: 0 }]);
    callers.push(Principal::SshKey {
        user: owner.id,
        name: owner.name.clone(),
        role: owner.role,
        fingerprint: "SHA256:x".into(),
    });
    callers.extend([
        deploy_key(1, false),
        deploy_key(1, true),
        deploy_key(2, true),
    ]);
    assert_eq!(callers.len(), COLUMNS);
    Cast {
        bed,
        owner,
        callers,
    }
}

impl Cast {
    fn thing(&self, action: Action) -> Resource {
        match action.requirement().need {
            Need::Repo(_) => Resource::Repo(repo(1, Some(self.owner.id), Visibility::Private)),
            Need::Own => Resource::User(self.owner.id),
            Need::Namespace => Resource::Namespace {
                name: "lab".parse().unwrap(),
                owner: Some(Some(self.owner.id)),
            },
            Need::Supply => Resource::Supply { open: false },
            _ => Resource::Instance,
        }
    }

    fn judge(&self, who: &Principal, action: Action, what: &Resource) -> Result<Grant, Denied> {
        let judged = self
            .bed
            .store
            .read::<_, store::StoreError>(|db| Ok(authorize(db, who, action, what)));
        judged.unwrap()
    }
}

#[test]
fn every_action_by_every_caller_is_as_the_table_says() {
    let cast = cast();
    let rows: Vec<(&str, String)> = TABLE
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(action, marks)| (action, marks.replace(' ', "")))
        .collect();
    assert_eq!(rows.len(), Action::ALL.len(), "every action has a row");
    for (action, (name, marks)) in Action::ALL.iter().zip(rows) {
        assert_eq!(action.as_str(), name, "in the same order");
        let what = cast.thing(*action);
        let judged: String = cast
            .callers
            .iter()
            .map(|who| match cast.judge(who, *action, &what) {
                Ok(_) => '+',
                Err(_) => '-',
            })
            .collect();
        assert_eq!(judged, marks, "{action}");
    }
}

#[test]
fn an_action_on_the_wrong_kind_of_thing_is_denied_even_to_the_operator() {
    let cast = cast();
    let things = [
        Resource::Instance,
        Resource::User(cast.owner.id),
        cast.thing(Action::RepoCreate),
        cast.thing(Action::RepoRead),
        cast.thing(Action::RegistryPull),
    ];
    for action in Action::ALL {
        let right = things
            .iter()
            .filter(|what| {
                cast.judge(&Principal::Operator { uid: 0 }, *action, what)
                    .is_ok()
            })
            .count();
        let expected = if action.requirement().need == Need::Admin {
            2
        } else {
            1
        };
        assert_eq!(right, expected, "{action}");
    }
}

#[test]
fn the_supply_is_for_people_and_jobs_and_for_anybody_only_where_it_is_open() {
    let cast = cast();
    let may = |who: &Principal, open| {
        cast.judge(who, Action::RegistryPull, &Resource::Supply { open })
            .is_ok()
    };
    assert!(!may(&Principal::Anonymous, false) && may(&Principal::Anonymous, true));
    assert!(may(&job(2), false));
    // A job gets nothing else of the instance by that.
    assert!(
        cast.judge(&job(1), Action::ImageList, &Resource::Instance)
            .is_err()
    );
}

#[test]
fn visibility_opens_reading_and_nothing_else() {
    let cast = cast();
    let judge = |who: usize, action, visibility| {
        let what = Resource::Repo(repo(5, Some(cast.owner.id), visibility));
        cast.judge(&cast.callers[who], action, &what)
    };
    let (anonymous, stranger) = (0, 1);
    for action in Action::ALL {
        let Need::Repo(level) = action.requirement().need else {
            continue;
        };
        let reads = level == Level::Read;
        let public = judge(anonymous, *action, Visibility::Public);
        assert_eq!(public.is_ok(), reads, "{action}");
        let signed_in = judge(stranger, *action, Visibility::Instance);
        assert_eq!(signed_in.is_ok(), reads, "{action}");
        let hidden = judge(anonymous, *action, Visibility::Instance);
        assert_eq!(hidden.unwrap_err().status(), 401, "{action}");
        let private = judge(stranger, *action, Visibility::Private);
        assert_eq!(private.unwrap_err().status(), 404, "{action}");
    }
}

#[test]
fn each_denial_says_what_is_lacking() {
    let cast = cast();
    let code = |who: usize, action| {
        let denied = cast.judge(&cast.callers[who], action, &cast.thing(action));
        let denied = denied.unwrap_err();
        (denied.code(), denied.to_string())
    };
    assert_eq!(code(0, Action::GitPush).0, "E_NOT_SIGNED_IN");
    let (code_of_scope, text) = code(7, Action::GitPush);
    assert_eq!(code_of_scope, "E_SCOPE");
    assert!(text.contains("repo:write"), "{text}");
    assert_eq!(code(12, Action::TokenCreate).0, "E_NO_TOKEN");
    let (code_of_level, text) = code(2, Action::GitPush);
    assert_eq!(code_of_level, "E_LEVEL");
    assert!(text.contains("write access"), "{text}");
    assert_eq!(code(5, Action::UserCreate).0, "E_FORBIDDEN");
    let none = cast.judge(&cast.callers[6], Action::RepoRead, &Resource::NoRepo);
    assert_eq!(none.unwrap_err().code(), "E_NO_REPO");
}

#[test]
fn a_namespace_is_its_owners_and_a_new_one_is_not_another_users_name() {
    let cast = cast();
    let stranger = &cast.callers[1];
    let judge = |name: &str, owner| {
        let name = name.parse().unwrap();
        let what = Resource::Namespace { name, owner };
        cast.judge(stranger, Action::RepoCreate, &what).is_ok()
    };
    assert!(judge("stranger", None));
    assert!(judge("new-group", None));
    assert!(!judge("Owner", None), "another user's name");
    assert!(!judge("group", Some(None)), "the administrators'");
    assert!(!judge("group", Some(Some(cast.owner.id))));
    assert!(judge("group", stranger.user().map(Some)));
}

#[test]
fn a_share_ends_when_it_is_removed_or_its_repo_is_forgotten() {
    let cast = cast();
    let facts = repo(1, Some(cast.owner.id), Visibility::Private);
    let reads = |who: usize| {
        cast.judge(
            &cast.callers[who],
            Action::RepoRead,
            &Resource::Repo(facts.clone()),
        )
        .is_ok()
    };
    let sees = |who: usize| cast.bed.read(|db| sight(db, &cast.callers[who]));
    let user = cast.callers[2].user().unwrap();
    let shared = |shared: &[RepoId]| Sight::SignedIn {
        user,
        shared: shared.to_vec(),
    };
    assert!(reads(2));
    assert_eq!(sees(2), shared(&[RepoId(1)]));
    assert_eq!(sees(0), Sight::Public);
    assert_eq!(sees(6), Sight::Everything);
    assert_eq!(sees(14), Sight::One(RepoId(1)));
    let removed = |user| {
        cast.bed.write(|tx| {
            Ok(remove_collaborator(
                tx,
                &cast.bed.log,
                &operator(),
                &facts,
                user,
            )?)
        })
    };
    assert!(removed(user));
    assert!(!removed(user));
    assert!(!reads(2));
    assert_eq!(sees(2), shared(&[]));
    assert!(reads(3));
    cast.bed.write(|tx| Ok(forget_repo(tx, RepoId(1))?));
    assert!(!reads(3));
    assert_eq!(cast.bed.read(|db| crate::collaborators(db, RepoId(1))), []);
}

#[test]
fn denials_are_in_the_log_save_those_that_would_flood_it() {
    let cast = cast();
    let before = cast.bed.entries().len();
    let deny = |who: usize, action| {
        let what = cast.thing(action);
        let caller = &cast.callers[who];
        let denied = cast.judge(caller, action, &what).unwrap_err();
        let who = caller.who(Via::Http);
        cast.bed.write(|tx| {
            Ok(record_denial(
                tx,
                &cast.bed.log,
                &who,
                action,
                &what,
                &denied,
            )?)
        })
    };
    assert!(deny(0, Action::RepoDelete).is_none(), "nobody known");
    assert!(deny(1, Action::RepoRead).is_none(), "only looks");
    assert!(deny(1, Action::RepoDelete).is_some());
    assert!(deny(2, Action::GitPush).is_some());
    assert!(deny(7, Action::RunRead).is_some(), "a token out of scope");
    assert_eq!(
        cast.bed.kinds(before),
        [
            "repo.delete denied",
            "git.push_rejected denied",
            "token.use_denied denied"
        ]
    );
    let last = cast.bed.entries().pop().unwrap();
    assert_eq!(last["why"], "E_SCOPE");
    assert_eq!(last["obj"]["id"], "r:1");
    assert_eq!(last["who"]["cred"], "t:1");
}

#[test]
fn what_cannot_be_decided_is_denied() {
    let empty = rusqlite::Connection::open_in_memory().unwrap();
    let user = Principal::User {
        user: UserId(1),
        name: "dev".parse().unwrap(),
        role: Role::Member,
        session: SessionId(1),
    };
    let what = Resource::Repo(repo(1, None, Visibility::Public));
    let denied = authorize(&empty, &user, Action::RepoRead, &what).unwrap_err();
    assert_eq!((denied.code(), denied.status()), ("E_UNAVAILABLE", 503));
}

#[test]
fn a_deploy_key_sees_no_other_repo_however_public_and_says_why_it_cannot_push() {
    let cast = cast();
    let public = Resource::Repo(repo(5, None, Visibility::Public));
    let key = deploy_key(1, true);
    assert!(matches!(
        cast.judge(&key, Action::GitFetch, &public),
        Err(Denied::NoRepo)
    ));
    let own = cast.thing(Action::GitPush);
    let said = cast.judge(&deploy_key(1, false), Action::GitPush, &own);
    assert_eq!(said.unwrap_err().code(), "E_READ_ONLY_KEY");
}

#[test]
fn a_token_that_lacks_the_scope_learns_of_no_repo_that_is_not_shared() {
    let cast = cast();
    let stranger = cast.bed.user("newcomer", Role::Member, false);
    let none = token(&stranger, &[Scope::RunRead]);
    let private = Resource::Repo(repo(1, Some(cast.owner.id), Visibility::Private));
    let open = Resource::Repo(repo(1, Some(cast.owner.id), Visibility::Instance));
    let denied = |what: &Resource| cast.judge(&none, Action::RepoDelete, what).unwrap_err();
    assert!(matches!(denied(&private), Denied::NoRepo));
    assert!(matches!(denied(&Resource::NoRepo), Denied::NoRepo));
    // Control: of a repo that all may see, it hears what it lacks.
    assert!(matches!(denied(&open), Denied::Scope { .. }));
}
