//! Repos on temporary stores.

use std::path::Path;

use audit::{Actor, Filter, Origin, Via};
use store::{Store, StoreError, StoreOptions};
use vocab::{Clock, Entropy, Sight, from_unix_ms};

use super::*;
use crate::{Cursor, MIGRATIONS, Query, remove_files, repo_dir, sweep};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Push(#[from] crate::PushError),
    #[error(transparent)]
    Recover(#[from] crate::RecoverError),
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) log: Auditor,
    pub(crate) clock: Clock,
    _dir: tempfile::TempDir,
}

pub(crate) const DEV: UserId = UserId(1);

pub(crate) fn dev() -> Who {
    let name = "dev".parse().unwrap();
    Who::new(Actor::User { id: DEV, name }, Via::Http)
}

impl Bed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let all = [audit::MIGRATIONS, MIGRATIONS];
        let store = Store::open(dir.path(), &all, StoreOptions::default()).unwrap();
        let clock = Clock::scripted(from_unix_ms(1_790_000_000_000));
        let origin = Origin {
            host: "a".into(),
            boot: "b".into(),
        };
        let log = Auditor::new(clock.clone(), Entropy::scripted(1), origin);
        Self {
            store,
            log,
            clock,
            _dir: dir,
        }
    }

    pub(crate) fn write<T>(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<T, Error>) -> T {
        self.store.write(work).unwrap()
    }

    pub(crate) fn read<T>(&self, work: impl FnOnce(&Db) -> rusqlite::Result<T>) -> T {
        self.store.read::<_, Error>(|db| Ok(work(db)?)).unwrap()
    }

    pub(crate) fn try_create(&self, path: &str, visibility: Visibility) -> Result<Repo, Error> {
        let new = NewRepo {
            path: path.parse().unwrap(),
            founder: Some(Founder {
                id: DEV,
                name: "dev".parse().unwrap(),
            }),
            visibility,
            default_branch: "main".into(),
            description: String::new(),
        };
        let data = self.store.dir().to_owned();
        let disk = Disk {
            data: &data,
            init: &|dir, branch| {
                std::fs::create_dir_all(dir.join("objects/pack"))?;
                std::fs::write(dir.join("HEAD"), format!("ref: refs/heads/{branch}\n"))?;
                Ok(())
            },
        };
        self.store
            .write(|tx| Ok(create_repo(tx, &self.log, &dev(), &disk, &new)?))
    }

    pub(crate) fn create(&self, path: &str) -> Repo {
        self.try_create(path, Visibility::Instance).unwrap()
    }

    /// The kinds in the audit log, oldest first.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let lines = self.read(|db| audit::list(db, &Filter::default(), 1_000));
        let kind = |line: &audit::Line| {
            let value: serde_json::Value = serde_json::from_str(&line.text).unwrap();
            value["act"].as_str().unwrap().to_owned()
        };
        lines.iter().rev().map(kind).collect()
    }
}

#[test]
fn a_new_repo_has_its_directory_row_and_entry() {
    let bed = Bed::new();
    let repo = bed.create("lab/tasks-app");
    assert!(repo_dir(bed.store.dir(), repo.id).join("HEAD").is_file());
    let found = bed.read(|db| by_path(db, &"LAB/Tasks-App".parse().unwrap()));
    assert_eq!(found, Some(repo.clone()));
    assert_eq!(bed.read(|db| by_id(db, repo.id)), Some(repo));
    assert_eq!(bed.kinds(), ["repo.create"]);
    let lab = bed
        .read(|db| namespace(db, &"lab".parse().unwrap()))
        .unwrap();
    assert_eq!((lab.kind, lab.user), (NamespaceKind::Group, Some(DEV)));
    bed.create("Dev/x");
    let own = bed
        .read(|db| namespace(db, &"dev".parse().unwrap()))
        .unwrap();
    assert_eq!((own.kind, own.user), (NamespaceKind::Person, Some(DEV)));
}

#[test]
fn names_that_differ_only_by_case_conflict() {
    let bed = Bed::new();
    bed.create("lab/App");
    let refused = bed.try_create("LAB/aPP", Visibility::Public).unwrap_err();
    assert!(refused.to_string().contains("lab/App exists already"));
    let other = bed.create("lab/other");
    let taken = bed.store.write::<_, Error>(|tx| {
        Ok(rename_repo(
            tx,
            &bed.log,
            &dev(),
            other.id,
            &"APP".parse().unwrap(),
        )?)
    });
    assert!(matches!(
        taken,
        Err(Error::Change(ChangeError::Taken { .. }))
    ));
    let own_case = bed.write(|tx| {
        Ok(rename_repo(
            tx,
            &bed.log,
            &dev(),
            other.id,
            &"OTHER".parse().unwrap(),
        )?)
    });
    assert_eq!(own_case.path.to_string(), "lab/OTHER");
    assert_eq!(bed.kinds(), ["repo.create", "repo.create", "repo.rename"]);
}

#[test]
fn a_repo_that_cannot_be_made_on_disk_leaves_no_row() {
    let bed = Bed::new();
    let new = NewRepo {
        path: "lab/x".parse().unwrap(),
        founder: None,
        visibility: Visibility::Private,
        default_branch: "main".into(),
        description: String::new(),
    };
    let disk = Disk {
        data: bed.store.dir(),
        init: &|_, _| Err("no space".into()),
    };
    let failed = bed
        .store
        .write::<_, Error>(|tx| Ok(create_repo(tx, &bed.log, &dev(), &disk, &new)?));
    assert!(matches!(failed, Err(Error::Create(CreateError::Disk(_)))));
    assert_eq!(bed.read(|db| by_path(db, &new.path)), None);
    assert!(bed.kinds().is_empty());
}

#[test]
fn a_deleted_repo_frees_its_name_and_then_its_files() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    bed.write(|tx| Ok(delete_repo(tx, &bed.log, &dev(), repo.id)?));
    assert_eq!(bed.read(|db| by_id(db, repo.id)), None);
    assert!(repo_dir(bed.store.dir(), repo.id).exists());
    remove_files(bed.store.dir(), repo.id).unwrap();
    remove_files(bed.store.dir(), repo.id).unwrap();
    assert!(!repo_dir(bed.store.dir(), repo.id).exists());
    let again = bed.create("lab/x");
    assert_ne!(again.id, repo.id);
    assert_eq!(bed.kinds(), ["repo.create", "repo.delete", "repo.create"]);
}

#[test]
fn a_sweep_removes_leftovers_and_never_objects_it_does_not_know() {
    let bed = Bed::new();
    let live = bed.create("lab/live");
    let deleted = bed.create("lab/deleted");
    let lost = bed.create("lab/lost");
    bed.write(|tx| Ok(delete_repo(tx, &bed.log, &dev(), deleted.id)?));
    let data = bed.store.dir();
    let at = |id| repo_dir(data, RepoId(id));
    std::fs::remove_dir_all(repo_dir(data, lost.id)).unwrap();
    std::fs::create_dir_all(at(70).join("objects/pack")).unwrap();
    std::fs::create_dir_all(at(71).join("objects/pack")).unwrap();
    std::fs::write(at(71).join("objects/pack/pack-1.pack"), "x").unwrap();
    std::fs::create_dir_all(at(72)).unwrap();
    let swept = sweep(&bed.store).unwrap();
    assert_eq!(swept.removed, [deleted.id, RepoId(70), RepoId(72)]);
    assert_eq!(swept.unknown, [at(71)]);
    assert_eq!(swept.missing, [lost.id]);
    let still = |path: &Path| path.exists();
    assert!(still(&repo_dir(data, live.id)) && still(&at(71)));
    assert!(!still(&repo_dir(data, deleted.id)) && !still(&at(70)));
    assert_eq!(sweep(&bed.store).unwrap().removed, []);
}

#[test]
fn a_creation_after_a_rollback_finds_a_clean_directory() {
    let bed = Bed::new();
    let left = repo_dir(bed.store.dir(), RepoId(1));
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("stray"), "x").unwrap();
    let repo = bed.create("lab/x");
    assert_eq!(repo.id, RepoId(1));
    assert!(!left.join("stray").exists());
}

fn names(bed: &Bed, query: &Query, limit: u32) -> Vec<String> {
    let repos = bed.read(|db| crate::list(db, query, limit));
    repos.iter().map(|r| r.path.to_string()).collect()
}

#[test]
fn lists_show_what_the_sight_reaches_and_page_on() {
    let bed = Bed::new();
    for (path, visibility) in [
        ("lab/private", Visibility::Private),
        ("lab/instance", Visibility::Instance),
        ("lab/public", Visibility::Public),
    ] {
        bed.try_create(path, visibility).unwrap();
        bed.clock.advance(std::time::Duration::from_secs(1));
    }
    let all = ["lab/public", "lab/instance", "lab/private"];
    let seen = |sight| names(&bed, &Query::all(sight), 10);
    let user = |id, shared: &[i64]| Sight::SignedIn {
        user: UserId(id),
        shared: shared.iter().copied().map(RepoId).collect(),
    };
    assert_eq!(seen(Sight::Everything), all);
    assert_eq!(seen(user(DEV.get(), &[])), all, "the owner");
    assert_eq!(seen(user(9, &[])), all[..2]);
    assert_eq!(seen(user(9, &[1])), all, "a collaborator");
    assert_eq!(seen(Sight::Public), all[..1]);
    assert_eq!(seen(Sight::One(RepoId(1))), ["lab/public", "lab/private"]);
    let mut query = Query::all(Sight::Everything);
    let mut paged = Vec::new();
    loop {
        let page = bed.read(|db| crate::list(db, &query, 1));
        let Some(last) = page.last() else { break };
        paged.push(last.path.to_string());
        query.after = Some(Cursor::of(last).to_string().parse().unwrap());
    }
    assert_eq!(paged, all);
    assert_eq!(bed.read(|db| crate::count(db, &query)), 3);
    let found = Query {
        search: Some("B/PUB".into()),
        ..Query::all(Sight::Everything)
    };
    assert_eq!(names(&bed, &found, 10), ["lab/public"]);
}

#[test]
fn a_list_of_ten_thousand_repos_walks_an_index() {
    let bed = Bed::new();
    bed.create("lab/first");
    bed.write(|tx| Ok(crate::sql::fill(tx, 10_000)?));
    for query in [
        Query::all(Sight::Everything),
        Query::all(Sight::SignedIn {
            user: UserId(9),
            shared: vec![RepoId(3)],
        }),
        Query {
            after: Some(Cursor {
                active_ms: 5_000,
                id: RepoId(5_000),
            }),
            ..Query::all(Sight::Public)
        },
    ] {
        let plan = bed.read(|db| crate::sql::plan_of_list(db, &query));
        assert!(plan.contains("USING INDEX repo_active"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
    let page = names(&bed, &Query::all(Sight::Everything), 50);
    assert_eq!(page.len(), 50);
    assert_eq!(page[0], "lab/first");
    assert_eq!(page[1], "lab/r9999");
}

#[test]
fn changes_of_a_missing_repo_are_refused() {
    let bed = Bed::new();
    let refused = bed.store.write::<_, Error>(|tx| {
        Ok(set_visibility(
            tx,
            &bed.log,
            &dev(),
            RepoId(9),
            Visibility::Public,
        )?)
    });
    assert!(matches!(
        refused,
        Err(Error::Change(ChangeError::Unknown { id: RepoId(9) }))
    ));
    let repo = bed.create("lab/x");
    bed.write(|tx| {
        Ok(set_visibility(
            tx,
            &bed.log,
            &dev(),
            repo.id,
            Visibility::Public,
        )?)
    });
    bed.write(|tx| Ok(set_size(tx, repo.id, 77)?));
    let repo = bed.read(|db| by_id(db, repo.id)).unwrap();
    assert_eq!((repo.visibility, repo.size_bytes), (Visibility::Public, 77));
    assert_eq!(bed.kinds(), ["repo.create", "repo.visibility"]);
}
