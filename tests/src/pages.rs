//! What every story in a browser asks of a page.

use testkit::Result;
use testkit::browser::Browser;

use crate::workspace;

/// Shows the page as it is now in each size; it must fit, and have nothing to complain of.
pub fn fits(browser: &Browser, name: &str) -> Result {
    let folder = workspace()?.join("target/pictures");
    std::fs::create_dir_all(&folder)?;
    for (look, scheme) in [("light", "light"), ("dark", "dark"), ("phone", "light")] {
        if look == "phone" {
            browser.be_phone(390, 844)?;
        } else {
            browser.resize(1280, 900)?;
        }
        browser.prefer(scheme)?;
        let over = browser.script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
        )?;
        browser.picture(&folder.join(format!("{name}-{look}.png")))?;
        assert_eq!(over, 0, "{name} is wider than a {look} window");
        let unnamed = browser.script(
            "return [...document.querySelectorAll('main a, main button, main input, main select, main textarea')]\
             .filter((e) => !(e.textContent || e.ariaLabel || e.labels?.[0]?.innerText || '').trim() && e.offsetParent)\
             .map((e) => e.outerHTML)",
        )?;
        assert_eq!(
            unnamed.as_array().map_or(0, Vec::len),
            0,
            "{name}: no name: {unnamed}"
        );
    }
    browser.be_window()?;
    browser.prefer("light")?;
    let complaints = browser.complaints()?;
    assert!(complaints.is_empty(), "{name}: {complaints:?}");
    Ok(())
}

/// Each of the words stands in the text.
///
/// # Panics
/// When one does not.
pub fn all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in:\n{text}");
    }
}
