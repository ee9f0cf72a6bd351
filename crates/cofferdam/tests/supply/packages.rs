//! Python packages on the web listener: pip and uv as they are.

use testkit::Result;

use crate::content::{add_wheels, run, uv};
use crate::site::{Site, venv};

fn wheels(draft: &mut supply::testing::Draft, store: &store::Store) -> Result {
    add_wheels(draft, store, |_| true)
}

#[test]
fn pip_downloads_lists_versions_and_checks_hashes() -> Result {
    let mut site = Site::serving(&wheels)?;
    let listed = run(site.pip()?.args(["index", "versions", "iniconfig"]))?;
    assert!(listed.contains("2.0.0"), "{listed}");

    let wanted = site.folder.path().join("requirements.txt");
    let target = site.folder.path().join("got");
    let hash = "b6a85871a79d2e3b22d2d1b94ac2824226a63c6b741c88f7ae975f18b6778374";
    let download = |hash: &str| -> Result<std::process::Output> {
        std::fs::write(&wanted, format!("iniconfig==2.0.0 --hash=sha256:{hash}\n"))?;
        Ok(site
            .pip()?
            .args(["download", "--require-hashes", "-r"])
            .arg(&wanted)
            .arg("-d")
            .arg(&target)
            .output()?)
    };
    let good = download(hash)?;
    assert!(good.status.success(), "{good:?}");
    assert!(target.join("iniconfig-2.0.0-py3-none-any.whl").is_file());
    let bad = download(&hash.replace('b', "c"))?;
    assert!(!bad.status.success());

    let absent = site.pip()?.args(["download", "left-pad"]).output()?;
    assert!(!absent.status.success());
    let wants = site.wants()?;
    assert_eq!(wants, [("pypi left-pad".to_owned(), false)]);
    Ok(())
}

#[test]
fn uv_installs_from_the_generation() -> Result {
    let site = Site::serving(&wheels)?;
    let python = venv(&site.folder.path().join("venv"))?;
    let said = run(site
        .client(uv()?)?
        .args(["pip", "install", "--no-cache", "--python"])
        .arg(&python)
        .arg("pytest")
        .env("UV_DEFAULT_INDEX", site.url("/simple/")))?;
    let version = run(site.client(&python)?.args(["-m", "pytest", "--version"]))?;
    assert!(version.starts_with("pytest "), "{said}{version}");
    Ok(())
}
