//! Story: somebody evaluates expressions on the command line; every case of the shared suite holds.

use serde_json::Value;
use stories::folder;
use testkit::Result;
use testkit::appliance::{Appliance, debug_binary};

/// Equal as the dialect sees it: `1` and `1.0` are the same number.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn every_case_of_the_shared_suite_holds_on_the_command_line() -> Result {
    let Some(suite) = stories::suite("expressions")? else {
        return Ok(());
    };
    let folder = folder()?;
    let program = Appliance::at(&debug_binary()?, &folder.path().join("none"));
    let context_file = folder.path().join("contexts.json");
    let context_path = context_file.to_str().ok_or("the path is no text")?;
    let (mut total, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(&suite)
        .map_err(|error| format!("the suite is not at {}: {error}", suite.display()))?
    {
        let path = entry?.path();
        let groups: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        for case in groups
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(_, g)| g.as_array())
            .flatten()
        {
            let Some(expression) = case["expr"].as_str() else {
                continue;
            };
            total += 1;
            let contexts = if case["contexts"].is_null() {
                "{}".to_owned()
            } else {
                case["contexts"].to_string()
            };
            std::fs::write(&context_file, contexts)?;
            let output = program.run(&[
                "workflow",
                "eval",
                "--context",
                context_path,
                "--",
                expression,
            ])?;
            let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
            let held = if case["err"].is_null() {
                output.status.success()
                    && printed["kind"] == case["result"]["kind"]
                    && same(&printed["value"], &case["result"]["value"])
            } else {
                output.status.code() == Some(1) && !output.stderr.is_empty()
            };
            if !held {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                wrong.push(format!("{case}\n  gave {printed} {said}"));
            }
        }
    }
    println!("{} of {total} cases hold", total - wrong.len());
    assert!(total > 0, "no case was found in {}", suite.display());
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}
