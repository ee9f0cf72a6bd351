//! The rules that commits, tags and trees must keep: those of `git fsck --strict`.
//!
//! Each refusal names its rule. What a checkout could be tricked by comes first: names that are
//! `.git` in disguise, absolute or upward paths.

use gix::hash::Kind as HashKind;
use gix::objs::Kind;

use crate::parse;

type Rule = Result<(), &'static str>;

/// Checks one object; the error is the broken rule.
pub(crate) fn check(kind: Kind, data: &[u8], hash: HashKind) -> Rule {
    match kind {
        Kind::Blob => Ok(()),
        Kind::Tree => tree(data, hash),
        Kind::Commit => commit(data, hash),
        Kind::Tag => tag(data, hash),
    }
}

fn tree(data: &[u8], hash: HashKind) -> Rule {
    let mut before: Option<(&[u8], bool)> = None;
    let mut files: Vec<&[u8]> = Vec::new();
    for entry in parse::tree_entries(data, hash) {
        let entry = entry?;
        if !matches!(
            entry.mode,
            0o100_644 | 0o100_755 | 0o100_664 | 0o120_000 | 0o040_000 | 0o160_000
        ) {
            return Err("a tree entry has an unknown mode (badFilemode)");
        }
        if entry.mode_text.starts_with(b"0") {
            return Err("a tree entry's mode begins with 0 (zeroPaddedFilemode)");
        }
        if entry.id.is_null() {
            return Err("a tree entry names the null object (nullSha1)");
        }
        name(entry.name)?;
        if entry.mode == 0o120_000 && is_like(entry.name, ".gitmodules", "gitmod~") {
            return Err(".gitmodules is a symbolic link (gitmodulesSymlink)");
        }
        // A directory may stand well after a file of its name, with longer names between.
        while files
            .last()
            .is_some_and(|file| !entry.name.starts_with(file))
        {
            files.pop();
        }
        if files.last() == Some(&entry.name) || before == Some((entry.name, entry.is_tree())) {
            return Err("a tree has two entries of one name (duplicateEntries)");
        }
        if !entry.is_tree() {
            files.push(entry.name);
        }
        if let Some(before) = before
            && !sorted(before, (entry.name, entry.is_tree()))
        {
            return Err("a tree's entries are not sorted (treeNotSorted)");
        }
        before = Some((entry.name, entry.is_tree()));
    }
    Ok(())
}

/// Trees sort as if directories' names ended in a slash.
fn sorted(a: (&[u8], bool), b: (&[u8], bool)) -> bool {
    let common = a.0.iter().zip(b.0).take_while(|(x, y)| x == y).count();
    let at = |(name, is_tree): (&[u8], bool)| match name.get(common) {
        Some(byte) => *byte,
        None if is_tree => b'/',
        None => 0,
    };
    at(a) < at(b)
}

/// Whether a tree entry may be called so.
pub(crate) fn name(name: &[u8]) -> Rule {
    match name {
        b"" => return Err("a tree entry has no name (emptyName)"),
        b"." => return Err("a tree entry is called '.' (hasDot)"),
        b".." => return Err("a tree entry is called '..' (hasDotdot)"),
        _ => {}
    }
    if name.contains(&b'/') {
        return Err("a tree entry's name contains '/' (fullPathname)");
    }
    if name.len() > 4096 {
        return Err("a tree entry's name is too long (largePathname)");
    }
    if is_like(name, ".git", "git~") {
        return Err("a tree entry is called '.git', or so to some file system (hasDotgit)");
    }
    Ok(())
}

/// Whether a file system could take `name` for `wanted`: letter case; NTFS streams, trailing dots
/// and spaces, short names (`short` and a digit 1 to 4); code points that HFS+ ignores.
fn is_like(name: &[u8], wanted: &str, short: &str) -> bool {
    // Most names need no closer look.
    let plain = |b: &u8| b.is_ascii() && *b != b'\\';
    if !matches!(name.first(), Some(b'.' | b'g' | b'G')) && name.iter().all(plain) {
        return false;
    }
    let text = String::from_utf8_lossy(name);
    let visible: String = text.chars().filter(|c| !hfs_ignores(*c)).collect();
    if visible.eq_ignore_ascii_case(wanted) {
        return true;
    }
    text.split(['\\', '/']).any(|part| {
        let part = part
            .split(':')
            .next()
            .unwrap_or(part)
            .trim_end_matches([' ', '.']);
        let lower = part.to_ascii_lowercase();
        lower == wanted
            || lower
                .strip_prefix(short)
                .is_some_and(|digit| matches!(digit, "1" | "2" | "3" | "4"))
    })
}

fn hfs_ignores(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// Splits the next header line off.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|b| *b == b'\n')?;
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    Some(line)
}

fn is_id(text: &[u8], hash: HashKind) -> bool {
    text.len() == hash.len_in_hex() && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn commit(data: &[u8], hash: HashKind) -> Rule {
    if data.contains(&0) {
        return Err("a commit contains a NUL byte (nulInCommit)");
    }
    let mut rest = data;
    let tree = line(&mut rest).and_then(|l| l.strip_prefix(b"tree "));
    if !tree.is_some_and(|id| is_id(id, hash)) {
        return Err("a commit does not begin with its tree (missingTree)");
    }
    let mut next = line(&mut rest);
    while let Some(parent) = next.and_then(|l| l.strip_prefix(b"parent ")) {
        if !is_id(parent, hash) {
            return Err("a commit's parent is no object id (badParentSha1)");
        }
        next = line(&mut rest);
    }
    let author = next
        .and_then(|l| l.strip_prefix(b"author "))
        .ok_or("a commit has no author (missingAuthor)")?;
    identity(author)?;
    let next = line(&mut rest);
    if next.is_some_and(|l| l.starts_with(b"author ")) {
        return Err("a commit has two authors (multipleAuthors)");
    }
    let committer = next
        .and_then(|l| l.strip_prefix(b"committer "))
        .ok_or("a commit has no committer (missingCommitter)")?;
    identity(committer)
}

/// `Name <mail> seconds zone`.
fn identity(who: &[u8]) -> Rule {
    let open = who.iter().position(|b| *b == b'<');
    let Some(open) = open else {
        return Err("an author or committer has no mail address (missingEmail)");
    };
    if who[..open].contains(&b'>') {
        return Err("an author's or committer's name contains '>' (badName)");
    }
    if open == 0 || who[open - 1] != b' ' {
        return Err("no space stands before a mail address (missingSpaceBeforeEmail)");
    }
    let rest = &who[open + 1..];
    let close = rest.iter().position(|b| matches!(b, b'<' | b'>'));
    let Some(close) = close.filter(|at| rest[*at] == b'>') else {
        return Err("a mail address does not end (badEmail)");
    };
    let Some(when) = rest[close + 1..].strip_prefix(b" ") else {
        return Err("no space stands before a date (missingSpaceBeforeDate)");
    };
    let mut parts = when.split(|b| *b == b' ');
    let (seconds, zone) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    if seconds.is_empty() || !seconds.iter().all(u8::is_ascii_digit) {
        return Err("an author's or committer's date is no number (badDate)");
    }
    if seconds.len() > 1 && seconds[0] == b'0' {
        return Err("a date begins with 0 (zeroPaddedDate)");
    }
    if seconds.len() > 18 {
        return Err("a date is too far off (badDateOverflow)");
    }
    let good_zone = zone.len() == 5
        && matches!(zone[0], b'+' | b'-')
        && zone[1..].iter().all(u8::is_ascii_digit)
        && parts.next().is_none();
    if good_zone {
        Ok(())
    } else {
        Err("an author's or committer's time zone is malformed (badTimezone)")
    }
}

fn tag(data: &[u8], hash: HashKind) -> Rule {
    let mut rest = data;
    let object = line(&mut rest).and_then(|l| l.strip_prefix(b"object "));
    if !object.is_some_and(|id| is_id(id, hash)) {
        return Err("a tag does not begin with its object (missingObject)");
    }
    let kind = line(&mut rest).and_then(|l| l.strip_prefix(b"type "));
    if !kind.is_some_and(|k| matches!(k, b"commit" | b"tree" | b"blob" | b"tag")) {
        return Err("a tag names no type (badType)");
    }
    let name = line(&mut rest).and_then(|l| l.strip_prefix(b"tag "));
    if name.is_none_or(<[u8]>::is_empty) {
        return Err("a tag has no name (missingTagEntry)");
    }
    // Very old tags have no tagger.
    match line(&mut rest) {
        Some(l) => match l.strip_prefix(b"tagger ") {
            Some(who) => identity(who),
            None if l.is_empty() => Ok(()),
            None => Err("a tag's header is malformed (missingTaggerEntry)"),
        },
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: &str, name: &[u8]) -> Vec<u8> {
        let mut bytes = format!("{mode} ").into_bytes();
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(&[1; 20]);
        bytes
    }

    fn check_tree(entries: &[(&str, &[u8])]) -> Rule {
        let data: Vec<u8> = entries
            .iter()
            .flat_map(|(mode, name)| entry(mode, name))
            .collect();
        check(Kind::Tree, &data, HashKind::Sha1)
    }

    #[test]
    fn ordinary_trees_pass_in_git_order() {
        check_tree(&[
            ("100644", b"a-b"),
            ("40000", b"a"),
            ("100755", b"a0"),
            ("120000", b"link"),
            ("160000", b"sub"),
        ])
        .unwrap();
        check_tree(&[
            ("100644", b".gitignore"),
            ("100644", b".gitmodules"),
            ("100644", b"git"),
        ])
        .unwrap();
    }

    #[test]
    fn names_that_could_be_git_directories_are_refused() {
        for name in [
            &b".git"[..],
            b".GIT",
            b".Git",
            b"git~1",
            b"GIT~1",
            b".git.",
            b".git ",
            b".git...",
            b".git:x",
            b"a\\.git",
            b".g\xe2\x80\x8cit",
            b"\xef\xbb\xbf.git",
            b".",
            b"..",
            b"",
            b"a/b",
        ] {
            assert!(
                check_tree(&[("40000", name)]).is_err(),
                "{}",
                name.escape_ascii()
            );
        }
    }

    #[test]
    fn disordered_repeated_and_odd_entries_are_refused() {
        assert!(check_tree(&[("100644", b"b"), ("100644", b"a")]).is_err());
        assert!(check_tree(&[("100644", b"a"), ("100644", b"a")]).is_err());
        assert!(check_tree(&[("100644", b"a"), ("100644", b"a.b"), ("40000", b"a")]).is_err());
        assert!(check_tree(&[("040000", b"a")]).is_err());
        assert!(check_tree(&[("100600", b"a")]).is_err());
        assert!(check_tree(&[("120000", b".gitmodules")]).is_err());
    }

    fn check_commit(author: &str, committer: &str) -> Rule {
        let tree = "a".repeat(40);
        let text =
            format!("tree {tree}\nparent {tree}\nauthor {author}\ncommitter {committer}\n\nm\n");
        check(Kind::Commit, text.as_bytes(), HashKind::Sha1)
    }

    #[test]
    fn commits_need_author_and_committer_in_form() {
        let fine = "A U Thor <a@x> 1700000000 +0100";
        check_commit(fine, fine).unwrap();
        check_commit(" <> 0 +0000", fine).unwrap();
        for bad in [
            "A U Thor 5 +0000",
            "A<a@x> 5 +0000",
            "A <a@x> x +0000",
            "A <a@x> 05 +0000",
            "A <a@x> 5 0000",
            "A <a@x> 5",
            "A <a@x>5 +0000",
            "A <a 5 +0000",
            "A > <a> 5 +0000",
            "A <a@x> 99999999999999999999 +0000",
        ] {
            assert!(check_commit(bad, fine).is_err(), "{bad}");
            assert!(check_commit(fine, bad).is_err(), "{bad}");
        }
        assert!(check(Kind::Commit, b"author x", HashKind::Sha1).is_err());
        let no_committer = format!("tree {}\nauthor {fine}\n\nm\n", "a".repeat(40));
        assert!(check(Kind::Commit, no_committer.as_bytes(), HashKind::Sha1).is_err());
    }

    #[test]
    fn tags_need_object_type_and_name() {
        let id = "a".repeat(40);
        let fine = format!("object {id}\ntype commit\ntag v1\ntagger A <a@x> 5 +0000\n\nm\n");
        check(Kind::Tag, fine.as_bytes(), HashKind::Sha1).unwrap();
        for bad in [
            "object x\n".to_owned(),
            format!("object {id}\ntype none\ntag v1\n"),
            format!("object {id}\ntype commit\ntag \n"),
            format!("object {id}\ntype commit\ntag v1\ntagger nobody\n"),
        ] {
            assert!(
                check(Kind::Tag, bad.as_bytes(), HashKind::Sha1).is_err(),
                "{bad}"
            );
        }
    }
}
