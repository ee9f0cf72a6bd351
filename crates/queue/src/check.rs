//! Looks for what this crate promises never to leave behind.

use store::Db;

use crate::{QueueError, sql};

/// What is wrong with the rows of runs and jobs, in words; empty when all is well. Reads every
/// run and job: for a stopped appliance and for tests.
pub fn check(db: &Db) -> Result<Vec<String>, QueueError> {
    Ok(sql::broken_promises(db)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vocab::Outcome;

    use crate::tests::Bench;

    #[test]
    fn each_broken_promise_is_named() {
        for (sql, words) in [
            (
                "UPDATE run SET state = 'finished', outcome = 'success'",
                "has ended although",
            ),
            (
                "UPDATE job SET state = 'finished', outcome = 'success', turn = NULL,
                 lease_until_ms = NULL",
                "nothing of it can move",
            ),
            (
                "UPDATE run SET state = 'held'",
                "claimable although its run is held",
            ),
            (
                "UPDATE job SET state = 'held', turn = NULL WHERE state = 'queued'",
                "is held",
            ),
            ("DELETE FROM attempt", "attempt is not recorded"),
        ] {
            let bench = Bench::new();
            bench.open_jobs(json!([{ "id": "a" }, { "id": "b" }]));
            bench.start();
            assert!(bench.read(crate::check).is_empty());
            bench.sabotage(sql);
            let found = bench.read(crate::check);
            assert!(
                found.iter().any(|f| f.contains(words)),
                "{words}: {found:?}"
            );
        }
    }

    #[test]
    fn an_attempt_that_contradicts_its_job_is_named() {
        let bench = Bench::new();
        bench.open_jobs(json!([{ "id": "a" }]));
        bench.run_job("a", Outcome::Failure);
        assert!(bench.read(crate::check).is_empty());
        bench.sabotage("UPDATE job SET outcome = 'success'");
        assert!(bench.read(crate::check)[0].contains("differs from what the job says"));
    }
}
