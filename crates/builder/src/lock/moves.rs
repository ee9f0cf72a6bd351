//! What a lock takes away and what it moves, since any earlier lock of its channel.
//!
//! An appliance may skip bundles, so these pile up: a name that moved once keeps what it stood
//! for before, one that moved more often takes any (`*`).

use std::collections::{BTreeMap, BTreeSet};

use bundle::Item;

/// Keys that went away, and names that moved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    pub(crate) removes: Vec<String>,
    pub(crate) replaces: BTreeMap<String, String>,
    /// Of the latter, those that this very lock moved.
    pub(crate) fresh: Vec<String>,
}

/// Compares the items `old`, with what had moved up to then, to the items `new`.
pub(crate) fn moves(
    old: &[Item],
    removed: &[String],
    replaced: &BTreeMap<String, String>,
    new: &[Item],
) -> Moves {
    let keys: BTreeSet<String> = new.iter().map(Item::key).collect();
    let gone = old.iter().map(Item::key).chain(removed.iter().cloned());
    let removes: BTreeSet<String> = gone.filter(|key| !keys.contains(key)).collect();
    let before: BTreeMap<String, String> = old.iter().flat_map(Item::pins).collect();
    let mut found = Moves {
        removes: removes.into_iter().collect(),
        ..Moves::default()
    };
    for item in new {
        let back = removed.contains(&item.key());
        for (name, value) in item.pins() {
            let known = replaced.get(&name);
            let moved = before.get(&name).filter(|was| **was != value);
            let said = match (moved, known) {
                (Some(was), None) if !back => was.clone(),
                (Some(_), _) => "*".to_owned(),
                // It was gone for a while; what it stood for then is not known any more.
                (None, _) if back => "*".to_owned(),
                (None, Some(known)) => known.clone(),
                (None, None) => continue,
            };
            if moved.is_some() {
                found.fresh.push(name.clone());
            }
            found.replaces.insert(name, said);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Lock;
    use super::super::tests::{file, lock, wheel};
    use super::*;

    /// The lock of these files after `before`.
    fn next(before: &Lock, files: &[(&str, &str)]) -> Lock {
        let pins = files.iter().map(|(n, c)| file(n, c.as_bytes())).collect();
        let mut after = lock(pins);
        let (old, new) = (before.items().unwrap(), after.items().unwrap());
        let found = moves(&old, &before.removes, &before.replaces, &new);
        (after.removes, after.replaces) = (found.removes, found.replaces);
        after
    }

    #[test]
    fn a_name_that_moved_once_says_from_where_and_twice_says_any() {
        let first = next(&lock(Vec::new()), &[("a", "1"), ("b", "1")]);
        assert!(first.replaces.is_empty() && first.removes.is_empty());
        let second = next(&first, &[("a", "2"), ("b", "1")]);
        let was = vocab::Digest::of(b"1").to_string();
        assert_eq!(
            second.replaces,
            BTreeMap::from([("file:a".to_owned(), was.clone())])
        );
        let third = next(&second, &[("a", "2"), ("b", "1")]);
        assert_eq!(third.replaces["file:a"], was);
        let fourth = next(&third, &[("a", "1"), ("b", "1")]);
        assert_eq!(fourth.replaces["file:a"], "*");
    }

    #[test]
    fn what_went_away_stays_said_and_may_come_back_as_anything() {
        let first = next(&lock(Vec::new()), &[("a", "1"), ("b", "1")]);
        let second = next(&first, &[("b", "1")]);
        assert_eq!(second.removes, ["file:a"]);
        let third = next(&second, &[("b", "1")]);
        assert_eq!(third.removes, ["file:a"]);
        let fourth = next(&third, &[("a", "9"), ("b", "1")]);
        assert!(fourth.removes.is_empty());
        assert_eq!(fourth.replaces["file:a"], "*");
    }

    #[test]
    fn a_new_file_of_a_python_project_is_no_move() {
        let old = lock(vec![wheel("p", "p-1.whl", b"1")]).items().unwrap();
        let new = lock(vec![
            wheel("p", "p-1.whl", b"1"),
            wheel("p", "p-2.whl", b"2"),
        ]);
        let found = moves(&old, &[], &BTreeMap::new(), &new.items().unwrap());
        assert_eq!(found, Moves::default());
    }
}
