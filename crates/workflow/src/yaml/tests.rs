//! Reading of YAML text: places, limits, aliases.

use super::*;

fn load_with(text: &str, limits: Limits) -> (Option<Node>, Vec<String>) {
    let mut problems = Vec::new();
    let node = load("f.yml", text.as_bytes(), &limits, &mut problems);
    (node, problems.iter().map(ToString::to_string).collect())
}

fn problems(text: &str) -> Vec<String> {
    load_with(text, Limits::default()).1
}

fn find<'n>(node: &'n Node, path: &[&str]) -> &'n Node {
    path.iter().fold(node, |node, step| match &node.kind {
        NodeKind::Mapping(entries) => {
            &entries
                .iter()
                .find(|(key, _)| &*key.scalar().unwrap().to_text() == *step)
                .unwrap()
                .1
        }
        NodeKind::Sequence(items) => &items[step.parse::<usize>().unwrap()],
        NodeKind::Scalar(_) => panic!("{step} in a scalar"),
    })
}

fn place(text: &str, path: &[&str]) -> (usize, usize) {
    let (node, problems) = load_with(text, Limits::default());
    assert!(problems.is_empty(), "{problems:?}");
    let node = node.unwrap();
    let position = find(&node, path).position;
    (position.line, position.column)
}

#[test]
fn every_value_knows_its_place() {
    let text = "# note\na: 1\nb:\n  - x\n  -   k: v\n      l: |\n        text\nc: !!str 5\nd: &n [1, {q: 2}]\n";
    assert_eq!(place(text, &[]), (2, 1));
    assert_eq!(place(text, &["a"]), (2, 4));
    assert_eq!(place(text, &["b", "0"]), (4, 5));
    assert_eq!(place(text, &["b", "1"]), (5, 7));
    assert_eq!(place(text, &["b", "1", "k"]), (5, 10));
    assert_eq!(place(text, &["b", "1", "l"]), (6, 10));
    assert_eq!(place(text, &["c"]), (8, 4));
    assert_eq!(place(text, &["d", "1", "q"]), (9, 15));
    assert_eq!(place("ä: ö\n", &["ä"]), (1, 4));
    let blocks = "a: >- # folded | here\n\n\n  x\nb: |\nc: |2\n   y\nd: 1\n";
    for (key, place_of) in [("a", (1, 4)), ("b", (5, 4)), ("c", (6, 4)), ("d", (8, 4))] {
        assert_eq!(place(blocks, &[key]), place_of, "{key}");
    }
}

#[test]
fn aliases_and_merge_keys_copy() {
    let text = "base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nlist: [*b, &s text, *s]\nmany:\n  <<: [{x: 9}, *b]\n";
    let (node, problems) = load_with(text, Limits::default());
    assert!(problems.is_empty(), "{problems:?}");
    let node = node.unwrap();
    let value = |path: &[&str]| find(&node, path).scalar().unwrap().to_text().to_string();
    assert_eq!(value(&["use", "x"]), "1");
    assert_eq!(value(&["use", "y"]), "3");
    assert_eq!(value(&["list", "0", "y"]), "2");
    assert_eq!(value(&["list", "2"]), "text");
    assert_eq!(value(&["many", "x"]), "9");
    assert_eq!(value(&["many", "y"]), "2");
}

#[test]
fn duplicate_keys_and_wrong_tags_are_all_told() {
    assert_eq!(
        problems("a: 1\nb: !!int x\nA: 2\nc: !stamp 3\n"),
        [
            "f.yml:2:4: 'x' does not fit its tag '!!int'",
            "f.yml:4:4: unexpected tag '!stamp'; remove it",
            "f.yml:3:1: 'A' is already defined; remove one of the two; case does not matter",
        ]
    );
}

#[test]
fn broken_text_is_told_with_its_place() {
    for (text, problem) in [
        ("", "f.yml:1:1: the file is empty"),
        ("# only a comment\n", "f.yml:1:1: the file is empty"),
        (
            "a: 1\n---\nb: 2\n",
            "f.yml:2:1: a workflow file holds one document",
        ),
        ("a: [1, 2\n", "not YAML: "),
        ("a: b: c\n", "f.yml:1:5: not YAML: "),
        ("a:\n\tb: 1\n", "not YAML: "),
        ("a: *none\n", "f.yml:1:4: not YAML: "),
        ("a: &x [*x]\n", "f.yml:1:8: "),
        ("[a]: 1\n", "f.yml:1:1: a key must be text, not a list"),
        ("<<: 1\n", "f.yml:1:5: '<<' needs a mapping"),
    ] {
        let told = problems(text).join("\n");
        assert!(told.contains(problem), "{text:?}: {told}");
    }
    let mut told = Vec::new();
    let bytes = b"a: 1\nb: \xff\n";
    assert!(load("f.yml", bytes, &Limits::default(), &mut told).is_none());
    assert_eq!(told[0].to_string(), "f.yml:2:4: the file is not UTF-8 text");
}

#[test]
fn size_depth_and_growth_are_limited() {
    let big = "#".repeat(10 << 20);
    assert_eq!(
        problems(&big),
        ["f.yml:1:1: the file has 10485760 bytes; a workflow may have at most 1048576"]
    );
    assert!(problems(&format!("{}{}", "[".repeat(50), "]".repeat(50))).is_empty());
    for text in [
        format!("{}{}", "[".repeat(51), "]".repeat(51)),
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        (0..60)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect(),
    ] {
        let told = problems(&text).join("\n");
        assert!(
            told.contains("values are nested deeper than 50 levels"),
            "{told}"
        );
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(problems(&bomb)[0].contains("the file has more than 100000 values"));
    let chain: String = (0..60)
        .map(|level| match level {
            0 => "n0: &n0 [x]\n".to_owned(),
            _ => format!("n{level}: &n{level} [*n{}]\n", level - 1),
        })
        .collect();
    assert!(problems(&chain)[0].contains("nested deeper than 50 levels"));
}
