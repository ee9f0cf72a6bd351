//! The public suite of expressions, where it is at hand.

mod suites;

use serde_json::Value as Json;

/// Numbers by value, not by how they are written.
fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => left.as_f64() == right.as_f64(),
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|((lk, l), (rk, r))| lk == rk && same(l, r))
        }
        _ => left == right,
    }
}

fn failure_of(case: &Json) -> Option<String> {
    let source = case["expr"].as_str()?;
    let empty = serde_json::json!({});
    let got = workflow::eval_to_json(source, case.get("contexts").unwrap_or(&empty));
    let passed = match (&got, case.get("result"), case.get("err")) {
        (Ok(got), Some(want), None) => {
            got["kind"] == want["kind"] && same(&got["value"], &want["value"])
        }
        (Err(got), None, Some(want)) => {
            Some(got.kind.as_str()) == want["kind"].as_str()
                && want["value"]
                    .as_str()
                    .is_some_and(|text| got.message.contains(text))
        }
        _ => false,
    };
    (!passed).then(|| format!("{source}\n  got  {got:?}\n  want {case}"))
}

#[test]
fn every_case_of_the_suite_passes() {
    let Some(folder) = suites::folder("expressions") else {
        return;
    };
    let mut cases = 0;
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let groups: serde_json::Map<String, Json> = serde_json::from_str(&text).unwrap();
        for case in groups.values().flat_map(|group| group.as_array().unwrap()) {
            cases += 1;
            failures.extend(failure_of(case));
        }
    }
    println!("{} of {cases} cases pass", cases - failures.len());
    assert!(cases > 0, "the suite is empty");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
