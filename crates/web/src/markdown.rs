//! Markdown of repos and jobs as safe HTML.
//!
//! Rendered by comrak with raw HTML kept, then cleaned by ammonia: what remains are tags and
//! attributes of text. Links and images that are relative point into the repo.

use std::borrow::Cow;
use std::collections::HashSet;

use comrak::{Options, markdown_to_html};

/// Longest text that is rendered; longer ones are shown as plain text.
pub(crate) const MAX_BYTES: usize = 512 << 10;

/// Where relative addresses lead.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// In front of a relative link, such as `/lab/app/blob/main/docs/`.
    pub(crate) links: String,
    /// In front of a relative image, such as `/lab/app/raw/main/docs/`.
    pub(crate) images: String,
}

/// The text as safe HTML.
pub(crate) fn render(text: &str, base: Option<&Base>) -> String {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.strikethrough = true;
    options.extension.autolink = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.render.r#unsafe = true;
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    clean(&markdown_to_html(&text[..end], &options), base)
}

fn clean(html: &str, base: Option<&Base>) -> String {
    let base = base.cloned();
    let relative = match &base {
        None => ammonia::UrlRelative::Deny,
        Some(_) => ammonia::UrlRelative::PassThrough,
    };
    ammonia::Builder::default()
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(relative)
        .link_rel(Some("noopener noreferrer nofollow"))
        .id_prefix(Some("doc-"))
        .add_tags(["input"])
        .add_tag_attributes("input", ["type", "checked", "disabled"])
        .set_tag_attribute_value("input", "disabled", "")
        .attribute_filter(move |tag, attribute, value| match (tag, attribute, &base) {
            // A checkbox is a tick, never a control.
            ("input", "type", _) => (value == "checkbox").then_some(Cow::Borrowed(value)),
            (_, "style" | "class", _) => None,
            ("a", "href", Some(base)) => Some(into_repo(value, &base.links)),
            ("img", "src", Some(base)) => Some(into_repo(value, &base.images)),
            _ => Some(Cow::Borrowed(value)),
        })
        .clean(html)
        .to_string()
}

/// A relative address under `base`; absolute ones, anchors and other schemes stay.
fn into_repo<'a>(value: &'a str, base: &str) -> Cow<'a, str> {
    let scheme = value
        .split(['/', '?', '#'])
        .next()
        .is_some_and(|head| head.contains(':'));
    if value.is_empty() || scheme || value.starts_with(['#', '/']) {
        return Cow::Borrowed(value);
    }
    let (path, tail) = match value.find(['?', '#']) {
        Some(at) => value.split_at(at),
        None => (value, ""),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Cow::Owned(format!("{base}{}{tail}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_handlers_and_odd_schemes_are_gone() {
        let hostile = "# Hi <script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n\
            [a](javascript:alert(1)) <a href=\"data:text/html,x\">b</a> <iframe src=//e></iframe>\n\n\
            <div style=\"position:fixed\" class=\"top\">c</div><form action=/sign-out><button>go</button></form>\
            <svg><script>1</script></svg><input type=text name=q>";
        let made = render(hostile, None);
        for bad in [
            "<script",
            "onerror",
            "javascript:",
            "data:text",
            "<iframe",
            "style=",
            "<form",
            "<button",
            "<svg",
            "type=\"text\"",
            "class=",
        ] {
            assert!(!made.contains(bad), "{bad} in {made}");
        }
        assert!(made.contains("<h1>Hi"), "{made}");
    }

    #[test]
    fn relative_addresses_lead_into_the_repo() {
        let base = Base {
            links: "/l/a/blob/main/docs/".into(),
            images: "/l/a/raw/main/docs/".into(),
        };
        let made = render(
            "[x](../a/./b.md#c) ![i](p.png) [y](https://e.x/) [z](#top)",
            Some(&base),
        );
        assert!(
            made.contains("href=\"/l/a/blob/main/docs/a/b.md#c\""),
            "{made}"
        );
        assert!(made.contains("src=\"/l/a/raw/main/docs/p.png\""), "{made}");
        assert!(
            made.contains("href=\"https://e.x/\"") && made.contains("href=\"#top\""),
            "{made}"
        );
    }

    #[test]
    fn tables_and_ticks_are_rendered() {
        let made = render("| a | b |\n|--|--|\n| 1 | 2 |\n\n- [x] done\n", None);
        assert!(
            made.contains("<table>") && made.contains("checked"),
            "{made}"
        );
    }
}
