//! Pages of bundles, the catalogue and keys: who sees them, what they show, that forms alone do.

use std::path::PathBuf;

use access::Role;
use axum::http::StatusCode;
use bundle::Item;
use bundle::manifest::{FileItem, Origin};
use supply::bundles::{Phase, pin};
use supply::testing::{Draft, Load, Stick};
use vocab::JobId;

use super::{Answer, Site};
use crate::href;

const PASSWORD: &str = "correct+horse+battery";

/// A site with an administrator, and a folder for media that it may read.
pub(super) struct Here {
    pub(super) site: Site,
    stick: Stick,
    media: tempfile::TempDir,
    cookie: String,
}

impl Here {
    pub(super) async fn new() -> Self {
        let media = tempfile::tempdir().unwrap();
        let place = media.path().to_owned();
        let site = Site::with(|config| config.media = vec![place]);
        site.user("admin", Role::Admin, Some("correct horse battery"));
        let cookie = site.sign_in("admin", PASSWORD).await;
        let stick = Stick::new(media.path());
        let (store, auditor) = (&site.app.store, &site.app.auditor);
        pin(store, auditor, &audit::Who::system(), &stick.fingerprint()).unwrap();
        Self {
            site,
            stick,
            media,
            cookie,
        }
    }

    /// A medium with these files, some of which may move or go.
    pub(super) fn medium(
        &self,
        seq: u64,
        files: &[(&str, &[u8])],
        moved: &[&str],
        gone: &[&str],
    ) -> PathBuf {
        let mut load = Load::default();
        for (name, bytes) in files {
            let d = load.blob(bytes);
            load.items.push(Item::File(FileItem {
                name: (*name).to_owned(),
                d,
                source: Origin {
                    uri: "https://mirror.example/files".into(),
                    checked: "digest".into(),
                },
            }));
        }
        load.replaces = moved.iter().map(ToString::to_string).collect();
        load.removes = gone.iter().map(ToString::to_string).collect();
        self.stick.bundle(seq, load)
    }

    async fn page(&self, path: &str) -> Answer {
        self.site.page(path, &self.cookie).await
    }

    pub(super) async fn form(&self, path: &str, form: &str) -> Answer {
        self.site.form(path, &self.cookie, form).await
    }

    fn look(medium: &std::path::Path) -> String {
        let text = medium.to_str().unwrap();
        format!("/bundles/look?medium={}", href::value(text))
    }

    /// Imports by the forms that the pages have; waits until it has ended.
    pub(super) async fn import(&self, medium: &std::path::Path) -> Answer {
        let look = self.page(&Self::look(medium)).await;
        let manifest = hidden(&look.text, "manifest");
        let form = format!(
            "medium={}&manifest={}",
            href::value(medium.to_str().unwrap()),
            href::value(&manifest)
        );
        let begun = self.form("/bundles/import", &form).await;
        assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.text);
        self.ended().await;
        self.page(begun.header("location")).await
    }

    async fn ended(&self) {
        let progress = self.site.app.intake.current().unwrap();
        let wait = move || {
            let mut shown = progress.snapshot();
            while !shown.ended() {
                shown = progress.wait(shown.version, std::time::Duration::from_secs(5));
            }
        };
        tokio::task::spawn_blocking(wait).await.unwrap();
    }
}

/// The value of a hidden field.
fn hidden(page: &str, name: &str) -> String {
    let field = format!("name=\"{name}\" value=\"");
    let at = page
        .find(&field)
        .unwrap_or_else(|| panic!("no {name}: {page}"));
    let rest = &page[at + field.len()..];
    rest[..rest.find('"').unwrap()].to_owned()
}

const PAGES: [&str; 7] = [
    "/bundles",
    "/bundles/import",
    "/bundles/undo",
    "/bundles/collect",
    "/bundles/1",
    "/catalogue",
    "/keys",
];

#[tokio::test]
async fn each_page_is_shown_to_administrators_and_refused_to_others() {
    let here = Here::new().await;
    let medium = here.medium(1, &[("a", b"one")], &[], &[]);
    here.import(&medium).await;
    here.site
        .user("dev", Role::Member, Some("correct horse battery"));
    let other = here.site.sign_in("dev", PASSWORD).await;
    let look = Here::look(&medium);
    for path in PAGES.into_iter().chain([look.as_str()]) {
        let page = here.page(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        assert!(page.text.contains("<!doctype html>"), "{path}");
        let nobody = here.site.page(path, "").await;
        assert_eq!(nobody.status, StatusCode::SEE_OTHER, "{path}");
        let refused = here.site.page(path, &other).await;
        let expected = match path {
            "/catalogue" => StatusCode::OK,
            _ => StatusCode::FORBIDDEN,
        };
        assert_eq!(refused.status, expected, "{path}: {}", refused.text);
        assert!(!refused.text.contains("href=\"/bundles"), "{path}");
    }
    let bar = here.page("/").await.text;
    assert!(
        bar.contains("sealed · generation 1, <b>3 days old</b>"),
        "{bar}"
    );
    for post in [
        "/bundles/import",
        "/bundles/import/cancel",
        "/bundles/undo",
        "/bundles/collect",
        "/bundles/scrub",
        "/bundles/scrub/stop",
        "/bundles/have",
        "/bundles/need",
    ] {
        let refused = here.site.form(post, &other, "medium=/x").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{post}");
    }
}

#[tokio::test]
async fn a_medium_is_looked_at_taken_in_and_undone_by_forms_alone() {
    let here = Here::new().await;
    let empty = here.page("/bundles").await.text;
    assert!(empty.contains("cofferdam bundle import"), "{empty}");
    let first = here.medium(1, &[("a", b"one"), ("b", b"two")], &[], &[]);
    let found = here.page("/bundles").await.text;
    assert!(found.contains("lab-stable-000001"), "{found}");
    here.site.app.wants.note("file", "b", Some(JobId(7)));
    here.site.app.wants.note("pypi", "pyserial", None);
    let (app, now) = (&here.site.app, here.site.clock.now());
    app.wants.flush(&app.store, vocab::unix_ms(now)).unwrap();

    let look = here.page(&Here::look(&first)).await.text;
    for part in [
        "may come in",
        "before any payload was read",
        "release-a",
        "2 of 2",
        "pyserial",
    ] {
        assert!(look.contains(part), "{part}: {look}");
    }
    let lacking = &look[look.find("Still missing").unwrap()..];
    assert!(
        !lacking[..lacking.find("</section>").unwrap()].contains(">b<"),
        "{lacking}"
    );

    let done = here.import(&first).await.text;
    assert!(
        done.contains("Generation 1</a> is active") && done.contains("2 files"),
        "{done}"
    );
    let second = here.medium(
        2,
        &[("a", b"other"), ("c", b"three")],
        &["file:a"],
        &["file:b"],
    );
    let look = here.page(&Here::look(&second)).await.text;
    for word in ["moved", "retired", "new", "against generation 1"] {
        assert!(look.contains(word), "{word}: {look}");
    }
    here.import(&second).await;
    let one = here.page("/bundles/2").await.text;
    for part in [
        "bundle.committed",
        "vol-0001-of-0001.tar",
        "cofferdam-bundle/1 product=lab",
    ] {
        assert!(one.contains(part), "{part}: {one}");
    }
    assert!(one.contains(">admin<"), "who imported it: {one}");

    let ask = here.page("/bundles/undo").await.text;
    assert!(ask.contains("Go back to generation 1"), "{ask}");
    let undone = here.form("/bundles/undo", "").await;
    assert_eq!(undone.header("location"), "/bundles", "{}", undone.text);
    let home = here.page("/bundles").await.text;
    assert!(home.contains("serves <b>lab stable 1</b>"), "{home}");
    let none = here.page("/bundles/undo").await.text;
    assert!(none.contains("E_NO_PARENT"), "{none}");

    for post in ["/bundles/scrub", "/bundles/collect"] {
        let done = here.form(post, "abandon=true").await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{post}: {}", done.text);
    }
    let slip = here.form("/bundles/need", "").await;
    assert!(slip.header("content-disposition").contains("need.slip"));
    assert!(slip.text.contains("pyserial"), "{}", slip.text);
}

#[tokio::test]
async fn a_refusal_is_shown_with_its_code_and_changes_nothing() {
    let here = Here::new().await;
    let medium = here.medium(1, &[("a", b"one")], &[], &[]);
    let look = here.page(&Here::look(&medium)).await.text;
    let manifest = hidden(&look, "manifest");
    let path = medium.join("MANIFEST.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replacen("lab", "lax", 1)).unwrap();
    let forged = here.page(&Here::look(&medium)).await;
    assert!(forged.status.is_client_error());
    assert!(
        forged.text.contains("<code>E_SIG</code>"),
        "{}",
        forged.text
    );
    assert!(!forged.text.contains("action=\"/bundles/import\""));
    let form = format!(
        "medium={}&manifest={}",
        href::value(medium.to_str().unwrap()),
        href::value(&manifest)
    );
    let changed = here.form("/bundles/import", &form).await;
    assert_eq!(changed.status, StatusCode::CONFLICT);
    assert!(changed.text.contains("E_CHANGED"), "{}", changed.text);
    assert!(here.site.app.intake.current().is_none());

    std::fs::write(&path, whole).unwrap();
    let volume = medium.join("vol-0001-of-0001.tar");
    let mut bytes = std::fs::read(&volume).unwrap();
    let payload = bytes.windows(3).position(|w| w == b"one").unwrap();
    bytes[payload] ^= 1;
    std::fs::write(&volume, bytes).unwrap();
    let ended = here.import(&medium).await.text;
    assert!(ended.contains("<code>E_HASH</code>"), "{ended}");
    assert!(ended.contains("Look at the medium again"), "{ended}");
    let shown = here.site.app.intake.current().unwrap().snapshot();
    assert_eq!(shown.phase, Phase::Failed);
    let home = here.page("/bundles").await.text;
    assert!(home.contains("nothing is served yet"), "{home}");

    let outside = here.page("/bundles/look?medium=/etc").await;
    assert_eq!(outside.status, StatusCode::FORBIDDEN);
    assert!(outside.text.contains("E_PLACE"), "{}", outside.text);
}

/// Nothing of it steers a terminal, turns the reading direction or becomes markup.
fn harmless(page: &str) {
    for bad in [
        "\u{1b}",
        "\u{202e}",
        "\u{2066}",
        "<script>alert",
        "<img src=x",
    ] {
        assert!(!page.contains(bad), "{bad:?} in\n{page}");
    }
}

#[tokio::test]
async fn t53_names_that_steer_are_written_out_on_every_page() {
    let here = Here::new().await;
    let hostile = "x\u{1b}[31m\u{202e}gpj\u{2066}\n<script>alert(1)</script>";
    let mut draft = Draft::default();
    let store = &here.site.app.store;
    let text = b"# Hi\n\n<script>alert(1)</script> <img src=x onerror=alert(1)>";
    let d = draft.blob(store, text);
    let source = Origin {
        uri: hostile.into(),
        checked: hostile.into(),
    };
    let item = FileItem {
        name: format!("{hostile}.md"),
        d,
        source,
    };
    draft.item(Item::File(item.clone()));
    draft.item(Item::Doc(item.clone()));
    draft.activate(store, 1).unwrap();
    store
        .write(|tx| {
            supply::generation::want(
                tx,
                "pypi",
                "evil\u{202e}\u{2066}<script>alert(1)</script>",
                None,
                0,
            )
        })
        .unwrap();
    let medium = here.medium(2, &[("a", b"one")], &[], &[]);
    std::fs::write(medium.join("stray\u{1b}[2J\u{202e}\n<img src=x>"), "").unwrap();
    let odd = here.media.path().join("odd\u{202e}\u{1b}<img src=x>");
    std::fs::create_dir(&odd).unwrap();
    std::fs::write(odd.join("MANIFEST.json"), "{}").unwrap();
    let document = format!("/catalogue/documents/{}", href::path(&item.name));
    for path in [
        "/bundles",
        "/bundles/1",
        "/catalogue",
        "/catalogue?q=%3Cscript%3Ealert(1)%3C/script%3E%E2%80%AE",
        document.as_str(),
        Here::look(&medium).as_str(),
        Here::look(&odd).as_str(),
    ] {
        let page = here.page(path).await;
        assert!(!page.status.is_server_error(), "{path}: {}", page.text);
        harmless(&page.text);
    }
    let list = here.page("/catalogue").await.text;
    assert!(
        list.contains("\\u{202e}") && list.contains("\\u{1b}"),
        "{list}"
    );
}

#[tokio::test]
async fn t54_only_the_signed_comment_is_shown() {
    let here = Here::new().await;
    let medium = here.medium(1, &[("a", b"one")], &[], &[]);
    for entry in std::fs::read_dir(&medium).unwrap().flatten() {
        if entry.path().extension().is_some_and(|e| e == "minisig") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let (_, signed) = text.split_once('\n').unwrap();
            let text = format!("untrusted comment: approved by the CISO\n{signed}");
            std::fs::write(entry.path(), text).unwrap();
        }
    }
    let look = here.page(&Here::look(&medium)).await.text;
    assert!(look.contains("may come in"), "the signature holds: {look}");
    assert!(look.contains("cofferdam-bundle/1 product=lab"), "{look}");
    here.import(&medium).await;
    let one = here.page("/bundles/1").await.text;
    assert!(one.contains("cofferdam-bundle/1 product=lab"), "{one}");
    for page in [look, one, here.page("/bundles").await.text] {
        assert!(!page.contains("CISO"), "{page}");
    }
}

#[tokio::test]
async fn the_keys_are_shown_in_groups_of_four() {
    let here = Here::new().await;
    let before = here.page("/keys").await.text;
    let hex = here.stick.fingerprint().hex();
    assert!(
        before.contains(&format!("<span>{}</span>", &hex[60..])),
        "{before}"
    );
    here.import(&here.medium(1, &[("a", b"one")], &[], &[]))
        .await;
    let page = here.page("/keys").await.text;
    for part in [
        "Root statement 1",
        "in force",
        "2 of 2 must sign",
        "release-b",
        "root-a",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let slip = here.site.app.intake.slip_key().id().to_string();
    assert!(page.contains(&slip), "{page}");
}
