//! Brings a database forward, crate by crate, and refuses one from the future.
//!
//! Expand, then contract: a migration whose first line is `-- additive` only adds, so that every
//! older program may go on using the database; one that begins with `-- needs N` takes away what
//! programs that know N of its crate's migrations no longer use. Any other asks to be known.

use rusqlite::Connection;
use vocab::Digest;

use crate::sql::{self, Row};

/// One crate's schema: numbered files that never change once shipped.
#[derive(Clone, Copy, Debug)]
pub struct Migrations {
    /// The crate's name.
    pub owner: &'static str,
    /// `(file name, SQL)`, applied in this order; position counts from 1.
    pub files: &'static [(&'static str, &'static str)],
}

impl Migrations {
    /// For each file, how many of them a program must know to use the database after it.
    #[must_use]
    pub fn needs(&self) -> Vec<i64> {
        (1i64..)
            .zip(self.files)
            .map(|(number, (_, text))| needs(text, number))
            .collect()
    }
}

/// What a migration asks of older programs, by its first line.
fn needs(text: &str, number: i64) -> i64 {
    let first = text.lines().next().unwrap_or_default();
    let Some(words) = first.strip_prefix("-- ") else {
        return number;
    };
    if words == "additive" || words.starts_with("additive:") {
        return 0;
    }
    words
        .strip_prefix("needs ")
        .and_then(|rest| rest.split([':', ' ']).next()?.parse().ok())
        .map_or(number, |needed: i64| needed.clamp(0, number))
}

/// How many migrations of each crate some program knows.
pub type Schema = std::collections::BTreeMap<String, i64>;

/// One migration that was applied to a database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The crate.
    pub owner: String,
    /// Its number, from 1.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// How many of the crate's migrations a program must know to use the database after it.
    pub needs: i64,
    /// The version that applied it; empty where that was not noted.
    pub version: String,
}

/// Why a database cannot be brought to this version.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer program has written here.
    #[error(
        "the data directory was written by a newer version{}: it has {owner} migration {number} \
         ('{name}'), this program knows {known}; start the newer version, or restore a backup \
         made before it",
        spaced(version)
    )]
    FromTheFuture {
        /// The crate.
        owner: String,
        /// Its unknown migration.
        number: i64,
        /// That migration's name.
        name: String,
        /// The version that applied it; empty when that was not noted.
        version: String,
        /// How many this program knows.
        known: usize,
    },
    /// A shipped file differs from what was applied.
    #[error("{owner} migration '{name}' is not the one that was applied to this data directory")]
    Altered {
        /// The crate.
        owner: String,
        /// The file.
        name: String,
    },
    /// The program before this one could not use the database any more.
    #[error(
        "{owner} migration '{name}' would keep the version before this one from using the \
         database: it knows {known} migrations of {owner}, {needs} would be needed; update to a \
         version between the two first"
    )]
    NoWayBack {
        /// The crate.
        owner: &'static str,
        /// The file.
        name: &'static str,
        /// How many must be known.
        needs: i64,
        /// How many the version before knows.
        known: i64,
    },
    /// SQLite refused.
    #[error("migration of {owner} to '{name}' failed; nothing of it was kept")]
    Failed {
        /// The crate.
        owner: &'static str,
        /// The file.
        name: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The list of applied migrations cannot be read.
    #[error("cannot read which migrations were applied")]
    Unreadable(#[source] rusqlite::Error),
}

fn spaced(version: &str) -> String {
    if version.is_empty() {
        String::new()
    } else {
        format!(" ({version})")
    }
}

/// Applies what is missing, all in one transaction, so that a crash leaves the old schema.
///
/// Where `before` is given, that program must be able to use the database afterwards.
pub(crate) fn migrate(
    db: &mut Connection,
    all: &[Migrations],
    before: Option<&Schema>,
) -> Result<(), MigrateError> {
    db.execute_batch(sql::MIGRATION_TABLE)
        .map_err(MigrateError::Unreadable)?;
    let tx = db
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(MigrateError::Unreadable)?;
    sql::add_columns(&tx).map_err(MigrateError::Unreadable)?;
    for applied in sql::applied(&tx).map_err(MigrateError::Unreadable)? {
        check(all, applied)?;
    }
    for one in all {
        let Migrations { owner, files } = *one;
        let done = sql::count(&tx, owner).map_err(MigrateError::Unreadable)?;
        let needed = one.needs();
        let fresh = (1i64..).zip(files).zip(needed);
        for ((number, (name, text)), needs) in fresh.filter(|((n, _), _)| *n > done) {
            if let Some(before) = before {
                let known = before.get(owner).copied().unwrap_or(0);
                if known < needs {
                    return Err(MigrateError::NoWayBack {
                        owner,
                        name,
                        needs,
                        known,
                    });
                }
            }
            let failed = |source| MigrateError::Failed {
                owner,
                name,
                source,
            };
            tx.execute_batch(text).map_err(failed)?;
            let row = Row {
                owner: owner.to_owned(),
                number,
                name: (*name).to_owned(),
                sha256: Digest::of(text.as_bytes()).hex(),
                needs,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            sql::record(&tx, &row).map_err(failed)?;
        }
    }
    tx.commit().map_err(MigrateError::Unreadable)
}

/// Whether a program with `all` may use a database to which `applied` was done.
fn check(all: &[Migrations], applied: Row) -> Result<(), MigrateError> {
    let known = all
        .iter()
        .find(|m| m.owner == applied.owner)
        .map_or(&[][..], |m| m.files);
    let position = usize::try_from(applied.number - 1).unwrap_or(usize::MAX);
    let Some((name, text)) = known.get(position) else {
        if i64::try_from(known.len()).is_ok_and(|known| known >= applied.needs) {
            return Ok(());
        }
        return Err(MigrateError::FromTheFuture {
            owner: applied.owner,
            number: applied.number,
            name: applied.name,
            version: applied.version,
            known: known.len(),
        });
    };
    if Digest::of(text.as_bytes()).hex() != applied.sha256 {
        return Err(MigrateError::Altered {
            owner: applied.owner,
            name: (*name).to_owned(),
        });
    }
    Ok(())
}

/// What was applied to the database of `db`, by crate and number; nothing where there is no list.
pub(crate) fn list(db: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let rows = sql::applied(db)?;
    Ok(rows
        .into_iter()
        .map(|row| Applied {
            owner: row.owner,
            number: row.number,
            name: row.name,
            needs: row.needs,
            version: row.version,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: (&str, &str) = ("0001_a", "CREATE TABLE a (x INT) STRICT");

    const fn of(files: &'static [(&'static str, &'static str)]) -> Migrations {
        Migrations { owner: "t", files }
    }

    const B_DROPS: (&str, &str) = ("0002_b", "DROP TABLE a");
    const B_ADDS: (&str, &str) = (
        "0002_b",
        "-- additive\nALTER TABLE a ADD COLUMN y INT NOT NULL DEFAULT 0",
    );
    const C_TAKES: (&str, &str) = (
        "0003_c",
        "-- needs 2: the column x is not used any more\nALTER TABLE a DROP COLUMN x",
    );

    const ONE: Migrations = of(&[A]);
    const BREAKING: Migrations = of(&[A, B_DROPS]);
    const ADDING: Migrations = of(&[A, B_ADDS]);
    const TAKING: Migrations = of(&[A, B_ADDS, C_TAKES]);
    const ALTERED: Migrations = of(&[("0001_a", "CREATE TABLE a (x) STRICT"), B_DROPS]);

    #[test]
    fn a_broken_migration_keeps_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        let bad = of(&[A, ("0002_b", "CREATE NONSENSE")]);
        assert!(migrate(&mut db, &[bad], None).is_err());
        assert!(db.execute("INSERT INTO a VALUES (1)", []).is_err());
    }

    #[test]
    fn a_future_or_altered_schema_is_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, &[BREAKING], None).unwrap();
        migrate(&mut db, &[BREAKING], None).unwrap();
        let refused = migrate(&mut db, &[ONE], None).unwrap_err();
        assert!(matches!(
            refused,
            MigrateError::FromTheFuture { number: 2, .. }
        ));
        assert!(refused.to_string().contains(env!("CARGO_PKG_VERSION")));
        assert!(matches!(
            migrate(&mut db, &[ALTERED], None),
            Err(MigrateError::Altered { .. })
        ));
    }

    #[test]
    fn an_older_program_goes_on_after_what_only_adds() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, &[ADDING], None).unwrap();
        migrate(&mut db, &[ONE], None).unwrap();
        db.execute("INSERT INTO a (x) VALUES (1)", []).unwrap();
        // The newer program finds its own migration done.
        migrate(&mut db, &[ADDING], None).unwrap();
        assert_eq!(list(&db).unwrap()[1].needs, 0);
    }

    #[test]
    fn what_takes_away_asks_for_the_version_that_stopped_using_it() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, &[TAKING], None).unwrap();
        migrate(&mut db, &[ADDING], None).unwrap();
        assert!(matches!(
            migrate(&mut db, &[ONE], None),
            Err(MigrateError::FromTheFuture { number: 3, .. })
        ));
    }

    #[test]
    fn nothing_is_done_that_the_version_before_could_not_use() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, &[ONE], None).unwrap();
        let before = Schema::from([("t".to_owned(), 1)]);
        for bad in [BREAKING, TAKING] {
            assert!(matches!(
                migrate(&mut db, &[bad], Some(&before)),
                Err(MigrateError::NoWayBack { .. })
            ));
            assert_eq!(list(&db).unwrap().len(), 1);
        }
        migrate(&mut db, &[ADDING], Some(&before)).unwrap();
        let before = Schema::from([("t".to_owned(), 2)]);
        migrate(&mut db, &[TAKING], Some(&before)).unwrap();
    }

    #[test]
    fn a_list_that_version_0_1_0_made_gains_its_columns_and_stays_strict() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql::MIGRATION_TABLE).unwrap();
        db.execute_batch(A.1).unwrap();
        let sha256 = Digest::of(A.1.as_bytes()).hex();
        db.execute(
            "INSERT INTO migration VALUES ('t', 1, '0001_a', ?1)",
            [sha256],
        )
        .unwrap();
        assert_eq!(list(&db).unwrap()[0].needs, 1);
        migrate(&mut db, &[ADDING], None).unwrap();
        let list = list(&db).unwrap();
        assert_eq!((list[0].needs, list[0].version.as_str()), (1, ""));
        assert_eq!(
            (list[1].needs, list[1].version.as_str()),
            (0, env!("CARGO_PKG_VERSION"))
        );
    }
}
