//! The language as users write it: what each expression gives, and how it fails.

use serde_json::{Value as Json, json};

use super::*;

fn contexts() -> Json {
    json!({
        "github": {
            "ref": "refs/heads/Trunk",
            "event": { "commits": [
                { "id": "a1", "author": { "name": "Ada" }, "files": ["x", "y"] },
                { "id": "b2", "author": { "name": "Grace" }, "files": ["z"] },
                { "id": "c3" },
            ] },
        },
        "env": { "EMPTY": "", "Two": "2", "flag": "true" },
        "list": [1, "two", null, true, [], {}],
        "nothing": null,
        "odd": { "with space": 1, "": "unnamed", "null": "word", "3": "three" },
    })
}

fn value(source: &str) -> Json {
    eval_to_json(source, &contexts()).map_or_else(
        |error| panic!("{source}: {error}"),
        |mut result| result["value"].take(),
    )
}

fn error(source: &str) -> (&'static str, String) {
    match eval_to_json(source, &contexts()) {
        Ok(result) => panic!("{source} gave {result}"),
        Err(error) => (error.kind.as_str(), error.message),
    }
}

#[test]
fn literals_have_their_kinds() {
    for (source, kind, expected) in [
        ("", "Null", json!(null)),
        (" \n ", "Null", json!(null)),
        ("null", "Null", json!(null)),
        ("true", "Boolean", json!(true)),
        ("'it''s'", "String", json!("it's")),
        ("'''quoted'''", "String", json!("'quoted'")),
        ("-1.5e3", "Number", json!(-1500)),
        ("0x1A", "Number", json!(26)),
        ("0o31", "Number", json!(25)),
        (".25", "Number", json!(0.25)),
        ("NaN", "Number", json!("NaN")),
        ("-Infinity", "Number", json!("-Infinity")),
        ("list", "Array", json!([1, "two", null, true, [], {}])),
        ("fromJSON('{}')", "Object", json!({})),
    ] {
        let result = eval_to_json(source, &contexts()).unwrap();
        assert_eq!(
            result,
            json!({ "kind": kind, "value": expected }),
            "{source}"
        );
    }
}

#[test]
fn properties_and_indexes_find_members() {
    for (source, expected) in [
        ("github.REF", json!("refs/heads/Trunk")),
        ("GitHub['ref']", json!("refs/heads/Trunk")),
        ("github.event.commits[1].author.name", json!("Grace")),
        ("github.event.commits['0'].id", json!("a1")),
        ("github.event.commits[1.9].id", json!("b2")),
        ("github.event.commits[9].id", json!(null)),
        ("github.missing.deeper[0].still", json!(null)),
        ("odd['with space']", json!(1)),
        ("odd.null", json!("word")),
        ("odd[null]", json!("unnamed")),
        ("odd[3]", json!("three")),
        ("list[true]", json!("two")),
        ("nothing.at.all", json!(null)),
        ("(list)[1]", json!("two")),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
}

#[test]
fn stars_filter() {
    for (source, expected) in [
        ("github.event.commits.*.id", json!(["a1", "b2", "c3"])),
        (
            "github.event.commits.*.author.name",
            json!(["Ada", "Grace"]),
        ),
        ("github.event.commits[*].files[0]", json!(["x", "z"])),
        ("github.event.commits.*.files.*", json!(["x", "y", "z"])),
        ("env.*", json!(["", "2", "true"])),
        ("nothing.*", json!([])),
        ("github.ref.*", json!([])),
        ("(github.event.commits.*.author)[0]", json!([])),
        (
            "fromJSON(toJSON(github.event.commits.*.id))[1]",
            json!("b2"),
        ),
        ("join(github.event.commits.*.id, '+')", json!("a1+b2+c3")),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
}

#[test]
fn operators_give_operands_and_bind_in_order() {
    for (source, expected) in [
        ("github.ref && 'yes' || 'no'", json!("yes")),
        ("env.EMPTY && 'yes' || 'no'", json!("no")),
        ("false || 0", json!(0)),
        ("'' || null", json!(null)),
        ("true && list[5]", json!({})),
        ("!env.EMPTY == true", json!(true)),
        ("!(env.EMPTY == true)", json!(true)),
        ("!!!'x'", json!(false)),
        ("1 < 2 == true && 'a' != 'B'", json!(true)),
        ("3 > 2 > 1", json!(false)),
        ("env.Two == 2", json!(true)),
        ("env.flag == true", json!(false)),
        ("'TRUNK' == 'trunk'", json!(true)),
        ("'b' >= 'A'", json!(true)),
        ("null >= null", json!(true)),
        ("null < 1", json!(true)),
        ("NaN == NaN", json!(false)),
        ("NaN != NaN", json!(true)),
        ("list == list", json!(true)),
        ("list >= list", json!(true)),
        ("list[4] == fromJSON('[]')", json!(false)),
        ("'abc' > 1", json!(false)),
        ("1 || 2 && false", json!(1)),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
}

#[test]
fn functions_do_what_they_say() {
    for (source, expected) in [
        ("contains('Watertight', 'RTIG')", json!(true)),
        ("contains(list, 'TWO')", json!(true)),
        ("contains(list, '1')", json!(true)),
        ("contains(list, 'three')", json!(false)),
        ("contains(odd, 'three')", json!(false)),
        ("contains(12345, 34)", json!(true)),
        ("startsWith(github.ref, 'REFS/heads/')", json!(true)),
        ("startsWith(list, 'Arr')", json!(false)),
        ("ENDSWITH('setup.PY', '.py')", json!(true)),
        ("endsWith(null, '')", json!(true)),
        ("format('{1}-{0}-{1}', 'a', 2)", json!("2-a-2")),
        ("format('{{{0}}}', true)", json!("{true}")),
        ("format('{0}', list)", json!("Array")),
        ("format('no args')", json!("no args")),
        ("join(list)", json!("1,two,,true,Array,Object")),
        ("join('one', '-')", json!("one")),
        ("join(odd)", json!("")),
        ("join(fromJSON('[1,2]'), odd)", json!("1,2")),
        ("toJSON('a\"b')", json!("\"a\\\"b\"")),
        ("toJSON(fromJSON('[]'))", json!("[]")),
        (
            "toJSON(fromJSON('{\"a\":[1,{\"b\":null}],\"c\":{}}'))",
            json!("{\n  \"a\": [\n    1,\n    {\n      \"b\": null\n    }\n  ],\n  \"c\": {}\n}"),
        ),
        ("toJSON(1.50)", json!("1.5")),
        ("fromJSON(' [1, 2.5e1] ')", json!([1, 25])),
        ("fromJSON('{\"A\":1,\"a\":2}').a", json!(1)),
        ("fromJSON(true)", json!(true)),
        ("case(false, 1, 2 > 1, 'two', 3)", json!("two")),
        ("case(false, fromJSON('broken'), 'other')", json!("other")),
        (
            "success() && always() && !failure() && !cancelled()",
            json!(true),
        ),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
}

#[test]
fn failures_name_their_stage_and_place() {
    for (source, kind, message) in [
        (
            "1 +",
            "lexing",
            "Unexpected symbol: '+'. Located at position 3 within expression: 1 +",
        ),
        (
            "\"a\"",
            "lexing",
            "Unexpected symbol: '\"a\"'. Located at position 1",
        ),
        (
            "'open",
            "lexing",
            "Unexpected symbol: ''open'. Located at position 1",
        ),
        (
            "0x",
            "lexing",
            "Unexpected symbol: '0x'. Located at position 1",
        ),
        (
            "list && 1.2.3",
            "lexing",
            "Unexpected symbol: '1.2.3'. Located at position 9",
        ),
        (
            "a = b",
            "lexing",
            "Unexpected symbol: '='. Located at position 3",
        ),
        (
            "list $",
            "lexing",
            "Unexpected symbol: '$'. Located at position 6",
        ),
        (
            "nowhere.x",
            "parsing",
            "Unrecognized named-value: 'nowhere'. Located at position 1",
        ),
        (
            "lower('A')",
            "parsing",
            "Unrecognized function: 'lower'. Located at position 1",
        ),
        (
            "(1",
            "parsing",
            "Unexpected end of expression: '1'. Located at position 2",
        ),
        (
            "list[0",
            "parsing",
            "Unexpected end of expression: '0'. Located at position 6",
        ),
        (
            "list[*",
            "parsing",
            "Unexpected end of expression: '*'. Located at position 6",
        ),
        (
            "list.",
            "parsing",
            "Unexpected end of expression: '.'. Located at position 5",
        ),
        (
            "true &&",
            "parsing",
            "Unexpected end of expression: '&&'. Located at position 6",
        ),
        (
            "join(",
            "parsing",
            "Unexpected end of expression: '('. Located at position 5",
        ),
        (
            "1)",
            "parsing",
            "Unexpected symbol: ')'. Located at position 2",
        ),
        (
            "(1]",
            "parsing",
            "Unexpected symbol: ']'. Located at position 3",
        ),
        (
            "(1, 2)",
            "parsing",
            "Unexpected symbol: ','. Located at position 3",
        ),
        (
            "()",
            "parsing",
            "Unexpected symbol: ')'. Located at position 2",
        ),
        (
            "'a'[0]",
            "parsing",
            "Unexpected symbol: '['. Located at position 4",
        ),
        (
            "*",
            "parsing",
            "Unexpected symbol: '*'. Located at position 1",
        ),
        (
            "join(list, )",
            "parsing",
            "Unexpected symbol: ')'. Located at position 12",
        ),
        (
            "true false",
            "parsing",
            "Unexpected symbol: 'false'. Located at position 6",
        ),
        (
            "contains('a')",
            "parsing",
            "Too few parameters supplied: 'contains'. Located at position 1",
        ),
        (
            "1 && toJSON(1, 2)",
            "parsing",
            "Too many parameters supplied: 'toJSON'. Located at position 6",
        ),
        (
            "case(true, 1, false, 2)",
            "parsing",
            "Even number of parameters supplied",
        ),
        (
            "always(1)",
            "parsing",
            "Too many parameters supplied: 'always'",
        ),
        (
            "format('{2}', 1, 2)",
            "evaluation",
            "references more arguments than were supplied: {2}",
        ),
        (
            "format('{x}', 1)",
            "evaluation",
            "The following format string is invalid: {x}",
        ),
        (
            "format('{256}', 1)",
            "evaluation",
            "The following format string is invalid: {256}",
        ),
        ("fromJSON('')", "evaluation", "Error parsing fromJson: "),
        (
            "fromJSON('{a:1}')",
            "evaluation",
            "Error parsing fromJson: ",
        ),
        (
            "case(1, 2, 3)",
            "evaluation",
            "case predicate must evaluate to a boolean value",
        ),
        (
            "hashFiles('**')",
            "evaluation",
            "hashFiles needs a workspace",
        ),
    ] {
        let (got_kind, got) = error(source);
        assert_eq!(got_kind, kind, "{source}: {got}");
        assert!(got.contains(message), "{source}: {got}");
    }
}

#[test]
fn fifty_levels_are_the_limit() {
    let nested = |levels: usize| format!("{}1{}", "toJSON(".repeat(levels), ")".repeat(levels));
    assert!(parse(&nested(49), &Names::all()).is_ok());
    assert!(
        error(&nested(50))
            .1
            .contains("Exceeded max expression depth 50")
    );
    assert!(
        error(&"! ".repeat(9_000))
            .1
            .contains("Unexpected end of expression")
    );
    assert!(
        error(&format!("{}1", "!".repeat(20_000)))
            .1
            .contains("depth 50")
    );
    assert!(
        error(&format!("list{}", ".x".repeat(50)))
            .1
            .contains("depth 50")
    );
    assert_eq!(
        value(&format!("{}7{}", "(".repeat(9_000), ")".repeat(9_000))),
        json!(7)
    );
    assert_eq!(value(&vec!["false"; 2_000].join(" || ")), json!(false));
}

#[test]
fn length_and_memory_are_limited() {
    let long = format!("'{}'", "x".repeat(20_998));
    assert!(parse(&long, &Names::all()).is_ok());
    assert!(
        error(&format!("{long} "))
            .1
            .contains("Exceeded max expression length 21000")
    );
    let ten = "{0}".repeat(10);
    let mut source = format!("'{}'", "x".repeat(100));
    for _ in 0..4 {
        source = format!("format('{ten}', {source})");
    }
    assert_eq!(
        error(&source),
        (
            "evaluation",
            "The maximum allowed memory size was exceeded".to_owned()
        )
    );
}

#[test]
fn only_the_names_of_the_place_are_known() {
    let names = Names::new(["github", "needs"]).with_status(true);
    assert!(parse("success('build') && needs.build.outputs.x", &names).is_ok());
    assert!(parse("hashFiles('a')", &names).is_err());
    assert!(parse("steps.x", &names).is_err());
    assert!(parse("success('x')", &Names::new([]).with_status(false)).is_err());
}

#[test]
fn an_expression_knows_what_it_uses() {
    let expr = parse("contains(needs.*.result, 'x') || !Failure()", &Names::all()).unwrap();
    assert!(expr.uses_status());
    assert!(expr.uses_context("Needs"));
    assert!(!expr.uses_context("matrix"));
    assert!(!parse("'success()'", &Names::all()).unwrap().uses_status());
}
