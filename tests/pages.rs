//! Story: a developer looks at the pages, in a real browser, in light, dark and at phone width.

use std::path::PathBuf;

use stories::{Site, tasks_app, workspace};
use testkit::Result;
use testkit::appliance::password_of;
use testkit::browser::Browser;

const REPO: &str = "lab/tasks-app";

/// Where pictures go, to be looked at.
fn pictures() -> Result<PathBuf> {
    let folder = workspace()?.join("target/pictures");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn sign_in(browser: &Browser, site: &Site) -> Result {
    browser.open(&format!("http://{}/sign-in", site.appliance.address()))?;
    browser.fill("#name", "dev")?;
    browser.fill("#password", &password_of("dev"))?;
    browser.click("button.main")?;
    browser
        .wait_for("!location.pathname.includes('sign-in') && document.readyState == 'complete'")?;
    Ok(())
}

#[test]
fn a_wrong_password_is_refused_and_a_right_one_leads_to_the_repos() -> Result {
    let site = Site::serving()?;
    site.repo(REPO)?;
    let browser = Browser::start()?;
    browser.open(&format!("http://{}/sign-in", site.appliance.address()))?;
    browser.fill("#name", "dev")?;
    browser.fill("#password", "wrong")?;
    browser.click("button.main")?;
    browser.wait_for("document.querySelector('#problem')?.innerText.length > 0")?;
    sign_in(&browser, &site)?;
    browser.open(&format!("http://{}/", site.appliance.address()))?;
    assert!(
        browser.text("main")?.contains("tasks-app"),
        "{}",
        browser.text("main")?
    );
    Ok(())
}

#[test]
fn every_page_fits_in_light_dark_and_at_phone_width() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let tree = site.tree("tree")?;
    tasks_app(&tree)?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(code, 0, "{log}");
    let browser = Browser::start()?;
    sign_in(&browser, &site)?;
    let pages = [
        ("repos", "/".to_owned(), "tasks-app"),
        ("repo", format!("/{REPO}"), "A task list"),
        ("runs", format!("/{REPO}/runs"), "A task list with tests"),
        ("run", format!("/{REPO}/runs/1"), "Receipt"),
        ("queue", "/queue".to_owned(), "ueue"),
        ("runners", "/runners".to_owned(), "unner"),
    ];
    let folder = pictures()?;
    for (name, path, word) in &pages {
        for (look, scheme, width, height) in [
            ("light", "light", 1280, 900),
            ("dark", "dark", 1280, 900),
            ("phone", "light", 500, 900),
        ] {
            browser.resize(width, height)?;
            browser.prefer(scheme)?;
            browser.open(&format!("http://{}{path}", site.appliance.address()))?;
            let text = browser.script("return document.body.innerText")?;
            let text = text.as_str().unwrap_or_default();
            assert!(text.contains(word), "no {word:?} on {path}:\n{text}");
            let over = browser.script(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
            )?;
            assert_eq!(over, 0, "{path} is wider than the window of {width} pixels");
            browser.picture(&folder.join(format!("{name}-{look}.png")))?;
        }
    }
    Ok(())
}

#[test]
fn the_run_page_shows_the_log_as_it_comes_and_the_verdict_when_it_is_there() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let workflow = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - name: Talk\n        run: |\n          echo first line of two\n          sleep 4\n          echo -e '\\e[31msecond line of two\\e[0m'\n";
    let tree = site.tree_with("tree", workflow)?;
    let browser = Browser::start()?;
    sign_in(&browser, &site)?;
    tree.push(&url, "HEAD:main")?;
    browser.open(&format!(
        "http://{}/{REPO}/runs/1",
        site.appliance.address()
    ))?;
    let until = |wanted: &str| {
        format!(
            "const done = arguments[arguments.length - 1];\n\
             const look = () => [...document.querySelectorAll('.log .l')]\n\
               .some((line) => !line.classList.contains('k-cmd') && line.textContent.endsWith('{wanted}'));\n\
             const check = () => {{ if (look()) done(document.querySelector('#run').innerText); else setTimeout(check, 20); }};\n\
             check();"
        )
    };
    browser.script_until(&until("first line of two"))?;
    let early = browser.script(
        "return [...document.querySelectorAll('.log .l')].filter((l) => l.textContent.endsWith('second line of two')).length",
    )?;
    assert_eq!(
        early, 0,
        "the page did not show the first line before the second was printed"
    );
    let (code, log) = site.watch(REPO)?;
    assert_eq!(code, 0, "{log}");
    browser.open(&format!(
        "http://{}/{REPO}/runs/1",
        site.appliance.address()
    ))?;
    let state = browser.text("#run-state")?;
    assert!(
        state.to_lowercase().contains("success") || state.to_lowercase().contains("passed"),
        "{state}"
    );
    assert!(
        browser.text("#receipt")?.to_lowercase().contains("kernel"),
        "{}",
        browser.text("#receipt")?
    );
    let red = browser.script("return document.querySelectorAll('.log .c1').length")?;
    assert_eq!(red, 1, "the coloured line has no colour");
    Ok(())
}
