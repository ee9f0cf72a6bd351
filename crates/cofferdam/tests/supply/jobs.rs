//! Jobs in real sandboxes, which find their generation on their own loopback.

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
