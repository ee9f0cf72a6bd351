//! Writers in one transaction: what each is told is so.

use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::thread;

use crate::{Migrations, Store, StoreError, StoreOptions, Tx};

const T: Migrations = Migrations {
    owner: "t",
    files: &[("0001_t", "CREATE TABLE t (x INT NOT NULL) STRICT")],
};

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), &[T], StoreOptions::default()).unwrap()
}

fn rows(store: &Store) -> Vec<i64> {
    store
        .read::<_, StoreError>(|db| {
            let mut all = db.prepare("SELECT x FROM t ORDER BY x")?;
            let rows = all.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .unwrap()
}

fn put(tx: &Tx<'_>, x: i64) -> Result<(), StoreError> {
    tx.execute("INSERT INTO t VALUES (?1)", [x])?;
    Ok(())
}

/// Writes 1, and `second` right after it in the same transaction.
fn both<T: Send>(
    store: &Store,
    second: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send,
) -> (
    Result<(), StoreError>,
    thread::Result<Result<T, StoreError>>,
) {
    let begun = Barrier::new(2);
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            store.write::<_, StoreError>(|tx| {
                begun.wait();
                put(tx, 1)?;
                while store.waiting.load(Ordering::Acquire) == 0 {
                    thread::yield_now();
                }
                Ok(())
            })
        });
        begun.wait();
        let second = scope.spawn(|| store.write(second)).join();
        (first.join().unwrap(), second)
    })
}

#[test]
fn who_waits_shares_the_transaction_and_nobody_returns_before_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (first, second) = both(&store, |tx| {
        let seen: i64 = tx.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
        assert_eq!(seen, 1, "it sees what the one before wrote");
        assert_eq!(rows(&store), [0; 0], "which is not committed yet");
        put(tx, 2)
    });
    first.unwrap();
    second.unwrap().unwrap();
    assert_eq!(rows(&store), [1, 2]);
}

#[test]
fn an_error_or_panic_takes_back_the_work_of_its_own_writer_alone() {
    for panics in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let (first, second) = both(&store, |tx| {
            put(tx, 2)?;
            assert!(!panics, "on purpose");
            Err::<(), _>(StoreError::Full)
        });
        first.unwrap();
        match second {
            Ok(result) => assert!(!panics && matches!(result, Err(StoreError::Full))),
            Err(_) => assert!(panics),
        }
        assert_eq!(rows(&store), [1]);
        store.write(|tx| put(tx, 3)).unwrap();
        assert_eq!(rows(&store), [1, 3]);
    }
}

#[test]
fn a_disk_that_fills_up_undoes_all_of_the_transaction_and_all_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (first, second) = both(&store, |tx| {
        tx.execute_batch("PRAGMA max_page_count = 1")?;
        for x in 2.. {
            tx.execute("INSERT INTO t SELECT ?1 FROM t, t, t", [x])?;
        }
        Ok(())
    });
    assert!(second.unwrap().is_err());
    match first {
        Ok(()) => assert_eq!(rows(&store), [1]),
        Err(StoreError::Undone) => assert_eq!(rows(&store), [0; 0]),
        Err(other) => panic!("{other}"),
    }
    let grow =
        |tx: &mut Tx<'_>| Ok::<_, StoreError>(tx.execute_batch("PRAGMA max_page_count = 1000000")?);
    store.write(grow).unwrap();
    store.write(|tx| put(tx, 3)).unwrap();
    assert!(rows(&store).contains(&3));
    assert!(!store.is_stopped());
}

#[test]
fn many_writers_lose_nothing_and_see_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    thread::scope(|scope| {
        for writer in 0..16 {
            let store = &store;
            scope.spawn(move || {
                for turn in 0..25 {
                    let x = writer * 100 + turn;
                    let done = store.write(|tx| {
                        put(tx, x)?;
                        match turn % 5 {
                            4 => Err(StoreError::Full),
                            _ => Ok(()),
                        }
                    });
                    assert_eq!(done.is_ok(), turn % 5 != 4);
                    assert_eq!(rows(store).contains(&x), done.is_ok(), "{x}");
                }
            });
        }
    });
    assert_eq!(rows(&store).len(), 16 * 20);
}
