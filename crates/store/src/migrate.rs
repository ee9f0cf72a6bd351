//! Brings a database forward, crate by crate, and refuses one from the future.

use rusqlite::Connection;
use vocab::Digest;

use crate::sql;

/// One crate's schema: numbered files that never change once shipped.
#[derive(Clone, Copy, Debug)]
pub struct Migrations {
    /// The crate's name.
    pub owner: &'static str,
    /// `(file name, SQL)`, applied in this order; position counts from 1.
    pub files: &'static [(&'static str, &'static str)],
}

/// Why a database cannot be brought to this version.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer program has written here.
    #[error(
        "the data directory was written by a newer version: it has {owner} migration {number} \
         ('{name}'), this program knows {known}; start the newer version, or restore a backup \
         made before it"
    )]
    FromTheFuture {
        /// The crate.
        owner: String,
        /// Its unknown migration.
        number: i64,
        /// That migration's name.
        name: String,
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

/// Applies what is missing, all in one transaction, so that a crash leaves the old schema.
pub(crate) fn migrate(db: &mut Connection, all: &[Migrations]) -> Result<(), MigrateError> {
    db.execute_batch(sql::MIGRATION_TABLE)
        .map_err(MigrateError::Unreadable)?;
    let tx = db
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(MigrateError::Unreadable)?;
    for applied in sql::applied(&tx).map_err(MigrateError::Unreadable)? {
        let known = all
            .iter()
            .find(|m| m.owner == applied.owner)
            .map_or(&[][..], |m| m.files);
        let position = usize::try_from(applied.number - 1).unwrap_or(usize::MAX);
        let Some((name, text)) = known.get(position) else {
            return Err(MigrateError::FromTheFuture {
                owner: applied.owner,
                number: applied.number,
                name: applied.name,
                known: known.len(),
            });
        };
        if Digest::of(text.as_bytes()).hex() != applied.sha256 {
            return Err(MigrateError::Altered {
                owner: applied.owner,
                name: (*name).to_owned(),
            });
        }
    }
    for Migrations { owner, files } in all {
        let done = sql::count(&tx, owner).map_err(MigrateError::Unreadable)?;
        for (number, (name, text)) in (1i64..).zip(files.iter()).filter(|(n, _)| *n > done) {
            let failed = |source| MigrateError::Failed {
                owner,
                name,
                source,
            };
            tx.execute_batch(text).map_err(failed)?;
            sql::record(&tx, owner, number, name, &Digest::of(text.as_bytes()).hex())
                .map_err(failed)?;
        }
    }
    tx.commit().map_err(MigrateError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migrations = Migrations {
        owner: "t",
        files: &[("0001_a", "CREATE TABLE a (x) STRICT")],
    };

    #[test]
    fn a_broken_migration_keeps_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        let bad = Migrations {
            owner: "t",
            files: &[
                ("0001_a", "CREATE TABLE a (x INT) STRICT"),
                ("0002_b", "CREATE NONSENSE"),
            ],
        };
        assert!(migrate(&mut db, &[bad]).is_err());
        assert!(db.execute("INSERT INTO a VALUES (1)", []).is_err());
    }

    #[test]
    fn a_future_or_altered_schema_is_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        let two = Migrations {
            owner: "t",
            files: &[
                ("0001_a", "CREATE TABLE a (x INT) STRICT"),
                ("0002_b", "DROP TABLE a"),
            ],
        };
        migrate(&mut db, &[two]).unwrap();
        migrate(&mut db, &[two]).unwrap();
        let one = Migrations {
            owner: "t",
            files: &two.files[..1],
        };
        assert!(matches!(
            migrate(&mut db, &[one]),
            Err(MigrateError::FromTheFuture { number: 2, .. })
        ));
        assert!(matches!(
            migrate(&mut db, &[ONE]),
            Err(MigrateError::FromTheFuture { .. }) | Err(MigrateError::Altered { .. })
        ));
    }
}
