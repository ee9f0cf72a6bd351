//! Story: an operator carries bundles in with a browser: looks, imports, watches, undoes.

use std::path::PathBuf;
use std::time::Duration;

use stories::connected::Connected;
use stories::pages::{all, fits};
use stories::{Site, open_to_all};
use tempfile::TempDir;
use testkit::appliance::{Appliance, debug_binary, password_of};
use testkit::browser::Browser;
use testkit::fickle::Fickle;
use testkit::http;
use testkit::{Result, git};
use vocab::Clock;

const REPO: &str = "lab/app";

const WORKFLOW: &str = "on: workflow_dispatch\njobs:\n  a:\n    runs-on: tiny\n    steps:\n      \
    - uses: lab/greet@v1\n      - uses: actions/setup-python@v5\n        with:\n          \
    python-version: '3.12'\n";

/// A serving appliance that reads media below a folder of its own, its browser, the other side.
struct Here {
    site: Site,
    browser: Browser,
    side: Connected,
    sticks: PathBuf,
    media: TempDir,
}

impl Here {
    fn new() -> Result<Self> {
        let folder = stories::folder()?;
        let sticks = folder.path().join("sticks");
        let media = tempfile::Builder::new().prefix("usb-").tempdir_in("/mnt")?;
        open_to_all(media.path())?;
        let mut appliance = Appliance::init(&debug_binary()?, &folder.path().join("data"))?;
        let config = appliance.data().join("config.toml");
        let text = std::fs::read_to_string(&config)?;
        let set = format!("[bundles]\nmedia = [\"{}\"]", media.path().display());
        std::fs::write(&config, text.replace("[bundles]", &set))?;
        appliance.start()?;
        appliance.ok_with_input(&["user", "create", "ops", "--admin"], &password_of("ops"))?;
        let side = Connected::new(&folder.path().join("side"))?;
        let site = Site { appliance, folder };
        let browser = Browser::start()?;
        let here = Self {
            site,
            browser,
            side,
            sticks,
            media,
        };
        here.open("/sign-in")?;
        here.browser.fill("#name", "ops")?;
        here.browser.fill("#password", &password_of("ops"))?;
        here.browser.click("button.main")?;
        here.browser
            .wait_for("!location.pathname.includes('sign-in')")?;
        Ok(here)
    }

    fn open(&self, path: &str) -> Result {
        self.browser
            .open(&format!("http://{}{path}", self.site.appliance.address()))
    }

    /// Builds the next bundle onto a stick that is plugged in at `name`.
    fn plug(&self, name: &str) -> Result<Fickle> {
        let mount = self.media.path().join(name);
        std::fs::create_dir(&mount)?;
        Fickle::mount(&mount, &self.side.build(&self.sticks)?)
    }

    /// From the list of what was found to the verdict on it.
    fn look(&self, name: &str) -> Result<String> {
        self.open("/bundles")?;
        self.browser
            .click(&format!("a[aria-label='Look at {name}']"))?;
        self.browser
            .wait_for("document.querySelector('h1').innerText.includes('lab stable')")?;
        self.main()
    }

    fn main(&self) -> Result<String> {
        self.browser.text("main")
    }

    fn import(&self) -> Result {
        self.browser
            .click("form[action='/bundles/import'] button.main")?;
        self.browser
            .wait_for("location.pathname == '/bundles/import'")
    }
}

#[test]
fn a_stick_is_looked_at_imported_under_ones_eyes_and_undone_in_a_browser() -> Result {
    let here = Here::new()?;
    here.open("/bundles")?;
    all(
        &here.main()?,
        &["No bundle has been imported yet", "bundle trust"],
    );
    fits(&here.browser, "bundles-empty")?;
    here.open("/keys")?;
    all(&here.main()?, &["believes nobody yet"]);
    let print = here.side.fingerprint()?;
    here.site.appliance.ok(&["bundle", "trust", &print])?;

    let stick = here.plug("first")?;
    let verdict = here.look("first")?;
    all(
        &verdict,
        &[
            "may come in",
            "release-a",
            "lab/tiny",
            "lab/greet",
            "greeter",
            "3.12.7",
            "measured.bin",
        ],
    );
    fits(&here.browser, "bundles-verdict")?;

    // What is shown follows the work, in the page that is there.
    stick.hold_after(stick.served() + (6 << 20));
    here.import()?;
    stick.wait_held();
    here.browser.script("window.unchanged = true")?;
    let reads = |percent: u32| {
        format!(
            "parseInt(document.querySelector('#import .meter b').innerText) >= {percent} && \
             document.querySelector('#import .state.run')"
        )
    };
    here.browser.wait_for(&reads(10))?;
    fits(&here.browser, "bundles-import")?;
    stick.release_for(12 << 20);
    here.browser.wait_for(&reads(50))?;
    assert_eq!(
        here.browser.script("return window.unchanged === true")?,
        true
    );
    stick.release();
    here.browser
        .wait_for("document.querySelector('main').innerText.includes('is active')")?;
    all(&here.main()?, &["Generation 1", "100 %"]);
    fits(&here.browser, "bundles-imported")?;

    shelves(&here)?;
    here.open("/keys")?;
    let print: String = here.browser.text(".print")?.split_whitespace().collect();
    assert_eq!(print, here.side.fingerprint()?);
    all(
        &here.main()?,
        &["Root statement 1", "in force", "release-a", "root-a"],
    );
    fits(&here.browser, "keys")?;
    second(&here)
}

/// The catalogue: what is there, where it came from, who uses it, what was asked for in vain.
fn shelves(here: &Here) -> Result {
    let on = &here.site.appliance;
    let token = on.user("dev", &[])?;
    on.repo(REPO, "dev")?;
    let tree = git::Tree::init(&here.site.folder.path().join("tree"))?;
    tree.write(".github/workflows/greet.yml", WORKFLOW)?;
    tree.commit("first")?;
    tree.push(&on.url(REPO, "dev", &token), "HEAD:main")?;
    let bearer = format!("Bearer {token}");
    let request = http::Request {
        method: "GET",
        path: "/simple/not-brought/",
        headers: &[("Authorization", bearer.as_str())],
        body: b"",
    };
    assert_eq!(http::send(on.address(), &request)?.status, 404);
    // What was asked for in vain is written down a moment later.
    here.open("/catalogue")?;
    while !here.main()?.contains("not-brought") {
        Clock::sleep(Duration::from_millis(100));
        here.open("/catalogue")?;
    }
    all(
        &here.main()?,
        &[
            "lab/tiny",
            "lab/greet",
            "greeter",
            "Python",
            "carrying.md",
            "not-brought",
        ],
    );
    let hidden = here
        .browser
        .script("return document.querySelector('main').textContent")?;
    all(
        hidden.as_str().ok_or("no text")?,
        &["lab/app", ".github/workflows/greet.yml"],
    );
    let shown = here.main()?;
    assert!(
        shown.contains("unpacked") && !shown.contains("not unpacked"),
        "{shown}"
    );
    fits(&here.browser, "catalogue")?;
    here.open("/catalogue?q=greeter")?;
    assert!(!here.main()?.contains("lab/tiny"));
    here.browser
        .click("a[href*='carrying.md']")
        .err()
        .ok_or("the filter keeps documents")?;
    Ok(())
}

/// The next bundle, with no script run: looked at, imported, shown in the history, undone.
fn second(here: &Here) -> Result {
    here.side
        .write("NOTES.md", b"# Carrying bundles\n\nNow by two people.\n")?;
    here.side.wheel("stranger", "0.3")?;
    here.side
        .change("[\"greeter\"]", "[\"greeter\", \"stranger\"]")?;
    here.side.change("3.12.7", "3.13.1")?;
    let stick = here.plug("second")?;
    here.browser.let_scripts_run(false)?;
    let verdict = here.look("second")?;
    all(
        &verdict,
        &[
            "retired",
            "moved",
            "new",
            "stranger",
            "3.12.7",
            "3.13.1",
            "carrying.md",
        ],
    );
    fits(&here.browser, "bundles-diff")?;
    here.import()?;
    here.browser
        .wait_for("document.querySelector('main').innerText.includes('is active')")?;
    drop(stick);
    here.open("/bundles")?;
    all(&here.main()?, &["lab stable 1", "lab stable 2", "Undo"]);
    fits(&here.browser, "bundles")?;
    here.browser.click("main table a.strong")?;
    here.browser
        .wait_for("document.querySelector('h1').innerText.includes('lab stable 2')")?;
    all(&here.main()?, &["Now by two people", "bundle.committed"]);
    fits(&here.browser, "bundle")?;
    here.browser.click("a[href$='/custody']")?;
    here.browser
        .wait_for("document.querySelector('h1').innerText.includes('Custody of lab stable 2')")?;
    all(
        &here.main()?,
        &[
            "handed in, signatures hold",
            "made active",
            "release-a",
            "medium",
        ],
    );
    fits(&here.browser, "custody")?;
    here.open("/bundles")?;
    here.browser.click("a[href='/bundles/undo']")?;
    here.browser
        .wait_for("location.pathname == '/bundles/undo'")?;
    all(&here.main()?, &["stranger"]);
    fits(&here.browser, "bundles-undo")?;
    here.browser
        .click("form[action='/bundles/undo'] button.grave")?;
    here.browser
        .wait_for("location.pathname != '/bundles/undo'")?;
    let history = here.site.appliance.json(&["bundle", "history"])?;
    assert_eq!(history["generations"][1]["active"], true, "{history:#}");
    here.open("/bundles")?;
    let served = here.browser.text(".head .under")?;
    assert!(served.contains("lab stable 1"), "{served}");
    Ok(())
}
