//! Headless Chromium, driven through WebDriver.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use vocab::{Clock, Stopwatch};

use crate::program::Program;
use crate::{Result, http};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser with one window and a profile of its own.
pub struct Browser {
    address: String,
    session: String,
    _driver: Program,
    _profile: TempDir,
}

impl Browser {
    /// Starts driver and browser.
    pub fn start() -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut driver = Program::start(
            Command::new("chromedriver")
                .arg("--port=0")
                .stderr(Stdio::null()),
        )?;
        let line = driver.line_with(|line| line.contains("successfully on port "))?;
        let port = line.rsplit("on port ").next().unwrap_or_default();
        let address = format!("127.0.0.1:{}", port.trim_end_matches('.'));
        let folder = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            folder.as_str(),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let made = call(&address, "POST", "/session", &wanted)?;
        let session = made["sessionId"]
            .as_str()
            .ok_or("the driver named no session")?
            .to_owned();
        Ok(Self {
            address,
            session,
            _driver: driver,
            _profile: profile,
        })
    }

    /// Opens a page and waits until it has loaded.
    pub fn open(&self, url: &str) -> Result {
        self.post("/url", &json!({ "url": url })).map(drop)
    }

    /// The address shown.
    pub fn url(&self) -> Result<String> {
        self.text_of(self.call("GET", "/url", &Value::Null)?)
    }

    /// Runs a script in the page; gives what it returns.
    pub fn script(&self, text: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": text, "args": [] }))
    }

    /// Runs a script that calls its last argument when it is done; waits for that.
    pub fn script_until(&self, text: &str) -> Result<Value> {
        self.post("/timeouts", &json!({ "script": 60_000 }))?;
        self.post("/execute/async", &json!({ "script": text, "args": [] }))
    }

    /// Asks again and again until `expression` holds in the page, across page loads; an error
    /// after a minute, which a loaded machine may need.
    pub fn wait_for(&self, expression: &str) -> Result {
        let watch = Stopwatch::start();
        while watch.elapsed() < Duration::from_secs(60) {
            // A page that is being replaced cannot answer; the next one will.
            if matches!(
                self.script(&format!("return !!({expression})")),
                Ok(Value::Bool(true))
            ) {
                return Ok(());
            }
            Clock::sleep(Duration::from_millis(25));
        }
        Err(format!("{expression} does not hold at {}", self.url()?).into())
    }

    /// The visible text of the first element that `css` selects.
    pub fn text(&self, css: &str) -> Result<String> {
        let element = self.find(css)?;
        self.text_of(self.call("GET", &format!("/element/{element}/text"), &Value::Null)?)
    }

    /// Types into the first element that `css` selects.
    pub fn fill(&self, css: &str, text: &str) -> Result {
        let element = self.find(css)?;
        self.post(
            &format!("/element/{element}/value"),
            &json!({ "text": text }),
        )
        .map(drop)
    }

    /// Clicks the first element that `css` selects.
    pub fn click(&self, css: &str) -> Result {
        let element = self.find(css)?;
        self.post(&format!("/element/{element}/click"), &json!({}))
            .map(drop)
    }

    /// Sets the size of the window.
    pub fn resize(&self, width: u32, height: u32) -> Result {
        self.post("/window/rect", &json!({ "width": width, "height": height }))
            .map(drop)
    }

    /// Shows pages as in dark or light surroundings.
    pub fn prefer(&self, scheme: &str) -> Result {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tell(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        )
    }

    /// Shows pages as on a phone of this size, which a window cannot be as narrow as.
    pub fn be_phone(&self, width: u32, height: u32) -> Result {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true });
        self.tell("Emulation.setDeviceMetricsOverride", &size)
    }

    /// Shows pages in the window again.
    pub fn be_window(&self) -> Result {
        self.tell("Emulation.clearDeviceMetricsOverride", &json!({}))
    }

    /// Whether pages that are opened from now on may run scripts of their own.
    pub fn let_scripts_run(&self, run: bool) -> Result {
        self.tell(
            "Emulation.setScriptExecutionDisabled",
            &json!({ "value": !run }),
        )
    }

    /// What pages wrote to the console, and what could not be loaded, since the last call.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let lines = self.post("/se/log", &json!({ "type": "browser" }))?;
        let lines = lines.as_array().ok_or("the driver gave no log")?;
        Ok(lines
            .iter()
            .map(|line| line["message"].to_string())
            .collect())
    }

    /// Tells the browser something in its own protocol.
    fn tell(&self, command: &str, parameters: &Value) -> Result {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("/goog/cdp/execute", &body).map(drop)
    }

    /// Writes a picture of the window as PNG.
    pub fn picture(&self, path: &Path) -> Result {
        let text = self.text_of(self.call("GET", "/screenshot", &Value::Null)?)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
        Ok(std::fs::write(path, bytes)?)
    }

    fn find(&self, css: &str) -> Result<String> {
        let found = self.post(
            "/element",
            &json!({ "using": "css selector", "value": css }),
        )?;
        Ok(found[ELEMENT]
            .as_str()
            .ok_or("the driver named no element")?
            .to_owned())
    }

    fn text_of(&self, value: Value) -> Result<String> {
        Ok(value.as_str().ok_or("the driver gave no text")?.to_owned())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("POST", path, body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        call(
            &self.address,
            method,
            &format!("/session/{}{path}", self.session),
            body,
        )
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser with its session; a driver that is gone has done so.
        drop(call(
            &self.address,
            "DELETE",
            &format!("/session/{}", self.session),
            &Value::Null,
        ));
    }
}

fn call(address: &str, method: &str, path: &str, body: &Value) -> Result<Value> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let headers = [("Content-Type", "application/json")];
    let request = http::Request {
        method,
        path,
        headers: &headers,
        body: body.as_bytes(),
    };
    let mut answer = http::send(address, &request)?.json()?;
    let value = answer["value"].take();
    if let Some(error) = value["error"].as_str() {
        let message = value["message"].as_str().unwrap_or_default();
        return Err(format!("{method} {path}: {error}: {message}").into());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_opened_typed_into_clicked_and_pictured() {
        let browser = Browser::start().unwrap();
        let page = "<meta name=viewport content=width=device-width><input id=i><button onclick=\"t.innerText=i.value\">go</button><p id=t></p>";
        browser.open(&format!("data:text/html,{page}")).unwrap();
        browser.fill("#i", "typed").unwrap();
        browser.click("button").unwrap();
        assert_eq!(browser.text("#t").unwrap(), "typed");
        browser.resize(500, 700).unwrap();
        browser.prefer("dark").unwrap();
        let dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
        assert_eq!(browser.script(dark).unwrap(), true);
        let later = "const done = arguments[0]; setTimeout(() => done(innerWidth), 1)";
        assert!(browser.script_until(later).unwrap().as_u64().unwrap() <= 500);
        browser.be_phone(360, 700).unwrap();
        assert_eq!(browser.script("return innerWidth").unwrap(), 360);
        browser.be_window().unwrap();
        assert!(browser.complaints().unwrap().is_empty());
        browser.script("console.error('spoken')").unwrap();
        assert!(browser.complaints().unwrap()[0].contains("spoken"));
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("p.png");
        browser.picture(&picture).unwrap();
        assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
        assert!(browser.text("#absent").is_err());
    }

    #[test]
    fn a_page_whose_scripts_may_not_run_shows_what_it_has_without() {
        let browser = Browser::start().unwrap();
        let page = "data:text/html,<p id=t>plain</p><script>t.innerText='changed'</script>";
        for (run, shown) in [(true, "changed"), (false, "plain"), (true, "changed")] {
            browser.let_scripts_run(run).unwrap();
            browser.open(page).unwrap();
            assert_eq!(browser.text("#t").unwrap(), shown);
        }
    }
}
