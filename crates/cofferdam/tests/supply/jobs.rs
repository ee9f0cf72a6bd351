//! Jobs in real sandboxes, which find their generation on their own loopback.

use std::collections::BTreeMap;

use base64::Engine as _;
use testkit::Result;

use crate::content::{add_debian, add_wheels};
use crate::site::Site;

/// Debian, ruff and pytest.
fn usual(draft: &mut supply::testing::Draft, store: &store::Store) -> Result {
    add_debian(draft, store, "lab/debian", &["ubuntu-latest"])?;
    add_wheels(draft, store, |_| true)
}

#[test]
fn a_job_installs_from_its_generation_with_no_network() -> Result {
    let mut site = Site::serving(&usual)?;
    let (code, log) = site.job(
        r#"      - uses: actions/setup-python@v5
        with: { python-version: "3.11" }
      - run: |
          pip install ruff pytest
          echo 'def test_sum(): assert 1 + 1 == 2' > test_sum.py
          ruff check .
          pytest -q
      - run: pip install requests || echo "not there, as it should be"
"#,
    )?;
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("1 passed"), "{log}");
    assert!(log.contains("image lab/debian:12 sha256:"), "{log}");
    assert!(log.contains("generation 1 of bundle lab test 1"), "{log}");
    assert!(log.contains("not there, as it should be"), "{log}");
    assert_eq!(site.wants()?, [("pypi requests".to_owned(), true)]);
    Ok(())
}

/// What a job's signed provenance lists, by the names in it.
pub(crate) fn made_from(site: &Site) -> Result<BTreeMap<String, serde_json::Value>> {
    let run = site.appliance.json(&["run", "show", "lab/app"])?;
    let path = format!("/api/v1/jobs/{}/provenance", run["jobs"][0]["id"]);
    let bearer = format!("Bearer {}", site.token);
    let answer = testkit::http::get(
        site.appliance.address(),
        &path,
        &[("authorization", &bearer)],
    )?;
    let envelope: serde_json::Value = serde_json::from_str(&answer.text())?;
    let payload = envelope["payload"].as_str().ok_or("no envelope")?;
    let payload = base64::engine::general_purpose::STANDARD.decode(payload)?;
    let said: serde_json::Value = serde_json::from_slice(&payload)?;
    let all = &said["predicate"]["buildDefinition"]["resolvedDependencies"];
    let all = all.as_array().ok_or("no dependencies")?;
    Ok(all
        .iter()
        .map(|one| {
            (
                one["name"].as_str().unwrap_or_default().to_owned(),
                one.clone(),
            )
        })
        .collect())
}

#[test]
fn what_a_job_fetched_stands_in_its_provenance_with_the_bundle_that_brought_it() -> Result {
    let site = Site::serving(&usual)?;
    let (code, log) = site.job(
        r#"      - uses: actions/setup-python@v5
        with: { python-version: "3.11" }
      - run: pip install ruff
"#,
    )?;
    assert_eq!(code, 0, "{log}");
    site.appliance.ok(&["run", "verify", "lab/app"])?;
    let found = made_from(&site)?;
    let wheel = found
        .iter()
        .find(|(name, _)| name.starts_with("ruff-") && name.ends_with(".whl"));
    let (_, wheel) = wheel.ok_or_else(|| format!("no wheel among {:?}", found.keys()))?;
    assert_eq!(wheel["uri"], "pypi:ruff");
    assert!(
        !found.keys().any(|name| name.starts_with("pytest")),
        "{:?}",
        found.keys()
    );
    let image = &found["lab/debian:12"];
    for one in [wheel, image] {
        assert_eq!(one["annotations"]["bundleSequence"], 1, "{one}");
        assert!(one["annotations"]["bundleManifest"].is_string(), "{one}");
    }
    let digest = image["digest"]["sha256"].as_str().ok_or("no digest")?;
    let told = site
        .appliance
        .json(&["image", "explain", "lab/debian:12"])?;
    assert_eq!(told["digest"], format!("sha256:{digest}"));
    assert_eq!(told["bundles"][0]["seq"], 1);
    assert_eq!(told["jobs"][0]["repo"], "lab/app", "{told}");
    let text = site
        .appliance
        .ok(&["image", "explain", &format!("sha256:{digest}")])?;
    assert!(
        text.contains("bundle lab test 1 (generation 1, active)"),
        "{text}"
    );
    Ok(())
}
