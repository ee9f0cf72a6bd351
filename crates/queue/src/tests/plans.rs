//! That the queries which must be quick use their indices, and list what they should.

use rusqlite::types::Value as SqlValue;
use serde_json::json;
use vocab::{Outcome, PushId, RunNumber};

use super::*;
use crate::{RunFilter, sql};

fn plan(bench: &Bench, query: &str) -> String {
    bench.read(|db| {
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
        let nothing = vec![SqlValue::Integer(1); statement.parameter_count()];
        let rows = statement.query_map(rusqlite::params_from_iter(nothing), |row| {
            row.get::<_, String>(3)
        })?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.join("\n"))
    })
}

#[test]
fn claiming_probes_indices_and_scans_no_table() {
    let bench = Bench::new();
    for query in [sql::WAITING_SETS, sql::FIRST_OF_SET] {
        let plan = plan(&bench, query);
        assert!(plan.contains("INDEX job_claim"), "{plan}");
        for line in plan.lines() {
            assert!(
                !line.contains("SCAN job") || line.contains("job_claim"),
                "{plan}"
            );
            assert!(!line.contains("TEMP B-TREE"), "{plan}");
        }
    }
}

#[test]
fn pages_probe_indices_and_sort_nothing() {
    let bench = Bench::new();
    let filters = [
        RunFilter::default(),
        RunFilter {
            sha: Some("x".into()),
            ..RunFilter::default()
        },
        RunFilter {
            git_ref: Some("x".into()),
            open: true,
            ..RunFilter::default()
        },
        RunFilter {
            git_ref: Some("x".into()),
            ..RunFilter::default()
        },
        RunFilter {
            workflow_path: Some("x".into()),
            ..RunFilter::default()
        },
    ];
    for filter in filters {
        let plan = plan(&bench, &sql::runs_of_query(&filter));
        assert!(plan.contains("SEARCH r USING INDEX"), "{filter:?}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
    }
    let expired = plan(&bench, &format!("SELECT id FROM job {}", sql::EXPIRED));
    assert!(expired.contains("SEARCH job USING"), "{expired}");
    let queue = plan(
        &bench,
        &format!("SELECT j.id FROM job j {}", sql::WAITING_ORDER),
    );
    assert!(queue.contains("INDEX job_order"), "{queue}");
    assert!(!queue.contains("TEMP B-TREE"), "{queue}");
}

#[test]
fn runs_are_listed_newest_first_page_by_page_and_filtered() {
    let bench = Bench::new();
    for n in 0..5 {
        let branch = if n % 2 == 0 {
            "refs/heads/main"
        } else {
            "refs/heads/dev"
        };
        let new = NewRun {
            git_ref: branch.into(),
            push: Some(PushId(n)),
            ..new_run(1)
        };
        bench.open(&new, json!([{ "id": "a" }]));
    }
    bench.open(&new_run(2), json!([{ "id": "a" }]));
    bench.run_job("a", Outcome::Success);
    let list = |filter: RunFilter| -> Vec<i64> {
        let rows = bench.read(|db| crate::runs_of(db, RepoId(1), &filter));
        rows.iter().map(|run| run.number.0).collect()
    };
    let none = RunFilter::default;
    assert_eq!(list(none()), [5, 4, 3, 2, 1]);
    assert_eq!(list(RunFilter { limit: 2, ..none() }), [5, 4]);
    assert_eq!(
        list(RunFilter {
            before: Some(RunNumber(4)),
            limit: 2,
            ..none()
        }),
        [3, 2]
    );
    let dev = Some("refs/heads/dev".to_owned());
    assert_eq!(
        list(RunFilter {
            git_ref: dev.clone(),
            ..none()
        }),
        [4, 2]
    );
    assert_eq!(
        list(RunFilter {
            open: true,
            ..none()
        }),
        [5, 4, 3, 2]
    );
    assert_eq!(
        list(RunFilter {
            open: true,
            git_ref: dev,
            ..none()
        }),
        [4, 2]
    );
    assert_eq!(
        list(RunFilter {
            sha: Some("no".into()),
            ..none()
        }),
        Vec::<i64>::new()
    );
    let workflow = Some(".github/workflows/ci.yml".to_owned());
    assert_eq!(
        list(RunFilter {
            workflow_path: workflow,
            ..none()
        })
        .len(),
        5
    );
    assert_eq!(bench.read(|db| crate::runs_of_push(db, PushId(3))).len(), 1);
}

#[test]
fn the_newest_runs_of_few_or_many_repos_are_the_same() {
    let bench = Bench::new();
    for repo in [1, 2, 3, 1, 2, 1] {
        bench.open(&new_run(repo), json!([{ "id": "a" }]));
    }
    let list = |repos: &[RepoId]| -> Vec<i64> {
        let rows = bench.read(|db| crate::recent_runs(db, repos, 3));
        rows.iter().map(|run| run.repo.0).collect()
    };
    assert_eq!(list(&[RepoId(1), RepoId(3)]), [1, 1, 3]);
    let many: Vec<RepoId> = (1..100).filter(|n| *n != 2).map(RepoId).collect();
    assert_eq!(list(&many), [1, 1, 3]);
    assert!(list(&[]).is_empty());
}
