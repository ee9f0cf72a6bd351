//! Finds, among names that exist, those that were probably meant.

/// Up to three of `offered` that look like one of `missing`, the nearest first.
pub(crate) fn nearest(missing: &[String], offered: &[String]) -> Vec<String> {
    let mut found: Vec<(usize, &String)> = Vec::new();
    for label in offered {
        let best = missing.iter().map(|wanted| unlikeness(wanted, label)).min();
        if let Some(score) = best.filter(|score| *score <= 3)
            && !found.iter().any(|(_, known)| *known == label)
        {
            found.push((score, label));
        }
    }
    found.sort();
    found
        .into_iter()
        .take(3)
        .map(|(_, label)| label.clone())
        .collect()
}

/// 0 for equal names; a shared beginning of four letters counts as 3 at most.
fn unlikeness(wanted: &str, label: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (
        wanted.chars().take(64).collect(),
        label.chars().take(64).collect(),
    );
    let shared = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let distance = distance(&a, &b);
    if shared >= 4 {
        distance.min(3)
    } else {
        distance
    }
}

/// How many letters must be put in, taken out or changed.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn typing_errors_and_other_versions_are_near_and_strangers_are_not() {
        let offered = texts(&["ubuntu-latest", "linux", "self-hosted", "linux"]);
        assert_eq!(
            nearest(&texts(&["ubuntu-22.04"]), &offered),
            ["ubuntu-latest"]
        );
        assert_eq!(nearest(&texts(&["linus"]), &offered), ["linux"]);
        assert!(nearest(&texts(&["windows"]), &offered).is_empty());
        assert!(nearest(&[], &offered).is_empty());
    }
}
