//! Expand and contract: the version before opens the database that the next one brought forward.

use cofferdam::Program;
use serde_json::json;
use store::{Store, StoreError, StoreOptions};
use stories::installed::{Installed, Promise, build};
use testkit::Result;

use super::{REPO, push, said};

const ADDS: &str = "-- additive\nALTER TABLE run ADD COLUMN later TEXT NOT NULL DEFAULT '';\n\
    CREATE TABLE later (x INTEGER NOT NULL) STRICT;";

#[test]
fn the_version_before_works_on_after_the_next_one_added_to_the_database() -> Result {
    let mut site = Installed::with_image()?;
    let what = json!({ "version": "0.2.0", "migration": ADDS });
    site.offer(&build(&what)?, &Promise::default().with_migration())?;
    site.start()?;
    let (url, _) = site.repo()?;
    let applied = site.update(&["apply", "--trial", "6"])?;
    assert!(
        applied.status.success(),
        "{}\n{}",
        said(&applied),
        site.log()
    );
    push(&site, &url, "echo new")?;
    assert!(site.cli.run(&["run", "watch", REPO])?.status.success());

    let back = site.update(&["rollback", "--trial", "6"])?;
    assert!(back.status.success(), "{}\n{}", said(&back), site.log());
    assert_eq!(site.running()?["sha256"], site.first.as_str());
    site.cli.ok(&["run", "rerun", REPO])?;
    assert!(site.cli.run(&["run", "watch", REPO])?.status.success());
    site.stop()?;
    site.cli.ok(&["fsck"])?;
    Ok(())
}

#[test]
fn t43_a_database_that_a_later_version_changed_is_refused_by_name() -> Result {
    let mut site = Installed::bare()?;
    let known = Program::THIS.schema()["queue"];
    let migration = format!(
        "-- needs {}\nCREATE TABLE changed (x INTEGER) STRICT",
        known + 1
    );
    let what = json!({ "version": "0.2.0", "migration": migration });
    let next = site.install(&build(&what)?)?;
    site.start()?;
    let back = site.update(&["rollback"])?;
    let told = said(&back);
    assert!(
        told.contains("E_OLDER") && told.contains("9999_candidate"),
        "{told}"
    );
    assert_eq!(site.current()?, next);
    // The program before says the same where nobody asked beforehand.
    site.stop()?;
    let refused = site.cli.run(&["serve", "--listen", "127.0.0.1:0"])?;
    assert!(
        said(&refused).contains("written by a newer version"),
        "{}",
        said(&refused)
    );
    Ok(())
}

/// What this version does must go on when a later one has added a column to every table.
#[test]
fn every_query_survives_a_new_column_in_every_table() -> Result {
    let mut site = Installed::with_image()?;
    let options = StoreOptions::default();
    let store = Store::open(site.data(), Program::THIS.migrations, options)?;
    let tables = store.write::<_, StoreError>(|tx| {
        let tables: Vec<String> = tx
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<std::result::Result<_, _>>()?;
        for table in &tables {
            let add = format!("ALTER TABLE {table} ADD COLUMN later_note TEXT NOT NULL DEFAULT ''");
            tx.execute_batch(&add)?;
        }
        Ok(tables)
    })?;
    drop(store);
    assert!(tables.len() > 20, "{tables:?}");
    site.start()?;
    let (url, _) = site.repo()?;
    site.cli
        .ok_with_input(&["secret", "set", REPO, "KEY"], "a value to be hidden")?;
    push(&site, &url, "echo fine")?;
    let watched = site.cli.run(&["run", "watch", REPO])?;
    assert!(
        watched.status.success(),
        "{}\n{}",
        said(&watched),
        site.log()
    );
    site.cli.ok(&["run", "rerun", REPO])?;
    assert!(site.cli.run(&["run", "watch", REPO])?.status.success());
    for words in [
        &["image", "list"][..],
        &["user", "list"],
        &["audit"],
        &["queue"],
    ] {
        site.cli.ok(words)?;
    }
    site.stop()?;
    site.cli.ok(&["fsck"])?;
    Ok(())
}
