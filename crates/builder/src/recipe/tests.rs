//! What recipes are refused, and how their refusals read.

use std::path::Path;

use super::*;

fn read(text: &str) -> Result<Recipe, RecipeError> {
    Recipe::parse(Path::new("demo.toml"), text)
}

const HEAD: &str = "[bundle]\nproduct = \"lab\"\nchannel = \"stable\"\n";

#[test]
fn a_whole_recipe_is_read_with_the_line_of_each_entry() {
    let text = format!(
        "{HEAD}\n[[pypi]]\nrequirements = [\"ruff\"]\npython = [\"3.11\"]\n\n\
         # words\n[[doc]]\nname = \"readme\"\npath = \"README.md\"\n\n[self]\n"
    );
    let recipe = read(&text).unwrap();
    let lines: Vec<usize> = recipe.entries.iter().map(|e| e.line).collect();
    assert_eq!(lines, [5, 10, 14]);
    assert_eq!(recipe.head.volume_bytes, 4_000_000_000);
    assert_eq!(recipe.lock_path(), Path::new("demo.lock"));
}

#[test]
fn comments_and_layout_are_not_part_of_what_is_wanted() {
    let a = read(&format!("{HEAD}[[doc]]\nname = \"a\"\npath = \"b\"\n")).unwrap();
    let b = read(&format!(
        "{HEAD}\n# why\n[[doc]]\npath = \"b\" # x\nname=\"a\"\n"
    ))
    .unwrap();
    let c = read(&format!("{HEAD}[[doc]]\nname = \"a\"\npath = \"c\"\n")).unwrap();
    let digest = |r: &Recipe| r.entries[0].want.digest();
    assert_eq!(digest(&a), digest(&b));
    assert_ne!(digest(&a), digest(&c));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let doc = "[[doc]]\nname = \"a\"\npath = \"b\"\n";
    for (text, line, words) in [
        ("bundle = 1\n".to_owned(), 1, "expected struct"),
        (format!("{HEAD}colour = \"red\"\n{doc}"), 4, "colour"),
        (format!("{HEAD}{doc}size = 3\n"), 7, "size"),
        (format!("{HEAD}[[docs]]\n"), 4, "docs"),
        (
            format!("{HEAD}[[npm]]\nlockfile = \"x\"\n"),
            4,
            "[[npm]] cannot be built yet; leave it out",
        ),
        (
            format!("{HEAD}{doc}[[vulndb]]\nfeeds = []\n"),
            7,
            "[[vulndb]]",
        ),
        (format!("{HEAD}[[crates]]\n"), 4, "[[crates]]"),
        (format!("{HEAD}[[deb]]\nsuite = \"x\"\n"), 4, "[[deb]]"),
        (format!("{HEAD}volume = \"5GB\"\n{doc}"), 4, "FAT32"),
        (format!("{HEAD}not_after = \"soon\"\n{doc}"), 4, "6mo"),
        (format!("{HEAD}arch = [\"mips\"]\n{doc}"), 4, "amd64"),
        (
            "[bundle]\nproduct = \"La B\"\nchannel = \"s\"\n[[doc]]\n".to_owned(),
            4,
            "name",
        ),
        (
            format!("[bundle]\nproduct = \"La B\"\nchannel = \"s\"\n{doc}"),
            2,
            "product",
        ),
        (HEAD.to_owned(), 1, "asks for nothing"),
        (
            format!("{HEAD}[[doc]]\nname = \"../a\"\npath = \"b\"\n"),
            5,
            "../a",
        ),
        (
            format!("{HEAD}[[oci]]\nname = \"a\"\ntags = []\n"),
            6,
            "at least one tag",
        ),
        (
            format!("{HEAD}[[oci]]\nname = \"A\"\ntags = [\"1\"]\n"),
            5,
            "no name",
        ),
        (
            format!("{HEAD}[[oci]]\nname = \"a\"\ntags = [\"1\"]\nplatform = \"linux/arm64\"\n"),
            7,
            "platform",
        ),
        (
            format!("{HEAD}[[pypi]]\npython = [\"3.11\"]\n"),
            4,
            "requirements",
        ),
        (
            format!("{HEAD}[[pypi]]\nrequirements = [\"-r x\"]\npython = [\"3.11\"]\n"),
            5,
            "option",
        ),
        (
            format!("{HEAD}[[pypi]]\nrequirements = [\"a\"]\npython = [\"3\"]\n"),
            6,
            "3.11",
        ),
        (
            format!("{HEAD}[[action]]\nrepo = \"checkout\"\ngit = \"x\"\nrefs = [\"v1\"]\n"),
            5,
            "owner/name",
        ),
        (
            format!("{HEAD}[[action]]\nrepo = \"a/b\"\ngit = \"x\"\nrefs = [\"../v1\"]\n"),
            7,
            "../v1",
        ),
        (
            format!("{HEAD}[[action]]\nrepo = \"a/b\"\nrefs = [\"v1\"]\n"),
            5,
            "`git`",
        ),
        (
            format!("{HEAD}[[toolcache]]\ntool = \"node\"\nurl = \"https://h/x\"\n"),
            6,
            "sha256",
        ),
        (
            format!("{HEAD}[[toolcache]]\ntool = \"node\"\nfile = \"x.tgz\"\n"),
            5,
            "version",
        ),
        (
            format!("{HEAD}[[toolcache]]\ntool = \"node\"\n"),
            5,
            "one of",
        ),
    ] {
        let error = read(&text).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(words), "{words}: {said}");
        assert_eq!(error.line, line, "{said}\n{text}");
        assert!(said.starts_with(&format!("demo.toml:{line}: ")), "{said}");
    }
}
