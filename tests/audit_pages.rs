//! Story: an auditor reads the log in a browser, proves an entry by hand, takes an export away, and
//! sees at once when the log was tampered with.

use std::fs;
use std::process::Command;

use stories::pages::{all, fits};
use stories::{Site, tasks_app};
use testkit::Result;
use testkit::appliance::password_of;
use testkit::browser::Browser;

const REPO: &str = "lab/tasks-app";

struct Here {
    site: Site,
    browser: Browser,
}

impl Here {
    fn open(&self, path: &str) -> Result {
        self.browser
            .open(&format!("http://{}{path}", self.site.appliance.address()))
    }

    fn sign_in(&self) -> Result {
        self.open("/sign-in")?;
        self.browser.fill("#name", "ops")?;
        self.browser.fill("#password", &password_of("ops"))?;
        self.browser.click("button.main")?;
        self.browser
            .wait_for("!location.pathname.includes('sign-in')")
    }

    fn main(&self) -> Result<String> {
        self.browser.text("main")
    }
}

#[test]
fn an_auditor_reads_proves_exports_and_sees_tampering_in_a_browser() -> Result {
    let site = Site::with_image()?;
    let appliance = &site.appliance;
    appliance.ok_with_input(&["user", "create", "ops", "--admin"], &password_of("ops"))?;
    let url = site.repo(REPO)?;
    let tree = site.tree("tree")?;
    tasks_app(&tree)?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(code, 0, "{log}");
    let mut here = Here {
        site,
        browser: Browser::start()?,
    };
    here.sign_in()?;
    reads(&here)?;
    proves(&here)?;
    exports(&here)?;
    tampered(&mut here)
}

fn reads(here: &Here) -> Result {
    here.open("/")?;
    here.browser.click(".places a[href='/audit']")?;
    here.browser.wait_for("location.pathname == '/audit'")?;
    all(
        &here.main()?,
        &[
            "git: push",
            "job: completed",
            REPO,
            "done",
            "last checkpoint",
        ],
    );
    fits(&here.browser, "audit")?;
    here.browser.fill("#action", "git.*")?;
    here.browser.click("form.ask button.main")?;
    here.browser.wait_for("location.search.includes('git')")?;
    let found = here.main()?;
    all(&found, &["git: push"]);
    assert!(!found.contains("job: completed"), "{found}");
    here.open("/audit?action=no.such")?;
    all(&here.main()?, &["No entry fits", "cofferdam audit search"]);
    fits(&here.browser, "audit-empty")?;
    here.open("/audit/controls")?;
    all(&here.main()?, &["AU-2", "missing", "SSDF"]);
    fits(&here.browser, "audit-controls")
}

/// From the list to one entry, whose own commands prove it with a shell.
fn proves(here: &Here) -> Result {
    here.open("/audit?action=git.push")?;
    here.browser.click("table.entries a.strong")?;
    here.browser
        .wait_for("document.querySelector('#commands')")?;
    all(
        &here.main()?,
        &["git: push", "proved", REPO, "Check it yourself"],
    );
    here.browser.click("aside details.fold summary")?;
    fits(&here.browser, "audit-entry")?;
    let taken = here.browser.script_until(
        "const done = arguments[arguments.length - 1];\n\
         fetch(`${location.pathname}/line`).then((answer) => answer.text()).then((line) =>\n\
           done([location.pathname.split('/')[2], line, document.querySelector('#commands').textContent]));",
    )?;
    let text = |at: usize| taken[at].as_str().unwrap_or_default();
    let dir = here.site.folder.path().join("by-hand");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(format!("entry-{}.json", text(0))), text(1))?;
    let out = Command::new("sh")
        .args(["-c", text(2)])
        .current_dir(&dir)
        .output()?;
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && said.contains("Verified"),
        "{said}{out:?}"
    );
    Ok(())
}

fn exports(here: &Here) -> Result {
    here.open("/audit/export")?;
    fits(&here.browser, "audit-export")?;
    here.browser.click("input[name=names]")?;
    here.browser
        .click("form[action='/audit/export'] button.main")?;
    here.browser
        .wait_for("document.querySelector('main').innerText.includes('Download')")?;
    fits(&here.browser, "audit-exported")?;
    let path = here
        .browser
        .script("return new URL(document.querySelector('a.main').href).pathname")?;
    let sum = here.browser.text("main dl.plate code")?;
    let folder = here.site.appliance.data().join("exports");
    let file = fs::read_dir(&folder)?.next().ok_or("no file")??.path();
    let said = here
        .site
        .appliance
        .ok(&["audit", "verify", &file.display().to_string()])?;
    assert!(said.contains("good") || said.contains("signed"), "{said}");
    let out = Command::new("sha256sum").arg(&file).output()?;
    assert!(
        String::from_utf8_lossy(&out.stdout).starts_with(&sum),
        "{out:?}"
    );
    assert!(
        path.as_str().is_some_and(|path| path.ends_with("/file")),
        "{path}"
    );
    here.open("/audit/export")?;
    all(&here.main()?, &["Made here", "ready", "with names", &sum]);
    fits(&here.browser, "audit-exports")
}

/// An edited row, a start: reading goes on, every page says so, a change is refused in words.
fn tampered(here: &mut Here) -> Result {
    here.site.appliance.stop()?;
    let tile = fs::read_dir(here.site.appliance.data().join("audit/tile/0/000.p"))?;
    fs::remove_file(tile.last().ok_or("no tile")??.path())?;
    here.site.appliance.start()?;
    // The check runs beside the start.
    loop {
        here.open("/audit")?;
        if here.main()?.contains("This log was tampered with") {
            break;
        }
    }
    all(
        &here.main()?,
        &["Nothing can be changed since", "cofferdam fsck"],
    );
    fits(&here.browser, "audit-tampered")?;
    here.open("/runners")?;
    all(&here.main()?, &["Nothing can be changed since"]);
    here.open("/new")?;
    here.browser.fill("#path", "ops/other")?;
    here.browser.click("form button.main")?;
    here.browser
        .wait_for("document.querySelector('main').innerText.includes('E_AUDIT_BLOCKED')")?;
    all(&here.main()?, &["takes no entries since", "fsck"]);
    Ok(())
}
