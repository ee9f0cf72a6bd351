//! Pages as readers see them: nothing that others wrote becomes markup, nothing inner shows.

use access::Role;
use axum::http::StatusCode;
use queue::logs::Kind;
use vocab::{Attempt, Visibility, from_unix_ms};

use super::streamed::running;
use super::{Site, Tree};

/// Puts a tree's main branch into a repo, as a push would.
pub(super) fn seed(site: &Site, repo: &forge::Repo, tree: &Tree) {
    let dir = forge::repo_dir(site.app.store.dir(), repo.id);
    tree.git(&[
        "-c",
        "safe.directory=*",
        "push",
        "-q",
        dir.to_str().unwrap(),
        "--all",
    ]);
}

async fn cookie(site: &Site) -> String {
    site.user("admin", Role::Admin, Some("correct horse battery"));
    site.sign_in("admin", "correct+horse+battery").await
}

fn harmless(page: &str) {
    for bad in [
        "<script>alert",
        "<img src=x",
        "<b>main",
        "<i>hello",
        "javascript:alert",
    ] {
        assert!(!page.contains(bad), "{bad} in\n{page}");
    }
}

#[tokio::test]
async fn hostile_names_messages_files_and_logs_stay_text() {
    let (site, job, ..) = running();
    let cookie = cookie(&site).await;
    let repo = site
        .app
        .store
        .read(|db| Ok::<_, store::StoreError>(forge::by_path(db, &"dev/app".parse().unwrap())?))
        .unwrap()
        .unwrap();
    let tree = Tree::new();
    tree.write(
        "README.md",
        "# <script>alert(1)</script>\n\n[x](javascript:alert(1)) <img src=x onerror=alert(1)>\n",
    );
    tree.write(
        "a<img src=x onerror=alert(1)>.txt",
        "<script>alert(1)</script>\n",
    );
    let id = tree.commit("<script>alert(1)</script>\n\n<img src=x onerror=alert(1)>");
    seed(&site, &repo, &tree);
    let mut log = site.app.logs.writer(job, Attempt(1)).unwrap();
    let at = from_unix_ms(1_795_472_245_000);
    log.append(at, 1, Kind::Out, "<script>alert(1)</script>")
        .unwrap();
    log.append(at, 1, Kind::Group, "<img src=x onerror=alert(1)>")
        .unwrap();
    log.flush().unwrap();
    let file = "a%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E.txt";
    for path in [
        "/".to_owned(),
        "/runs".to_owned(),
        "/queue".to_owned(),
        "/dev/app".to_owned(),
        "/dev/app/commits".to_owned(),
        format!("/dev/app/commit/{id}"),
        format!("/dev/app/blob/main/{file}"),
        "/dev/app/blob/main/README.md".to_owned(),
        "/dev/app/runs".to_owned(),
        "/dev/app/runs/1".to_owned(),
        format!("/dev/app/runs/1/jobs/{job}"),
        "/?q=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
    ] {
        let page = site.page(&path, &cookie).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        harmless(&page.text);
    }
    let raw = site
        .page(&format!("/dev/app/raw/main/{file}"), &cookie)
        .await;
    assert_eq!(raw.header("content-type"), "text/plain; charset=utf-8");
    assert!(raw.header("content-security-policy").contains("sandbox"));
}

#[tokio::test]
async fn a_page_that_is_not_there_says_so_and_no_more() {
    let site = Site::new();
    let cookie = cookie(&site).await;
    for path in [
        "/dev/none",
        "/x",
        "/dev/none/runs/1",
        "/dev/none/blob/main/%3Cscript%3Ealert(1)%3C/script%3E",
    ] {
        let page = site.page(path, &cookie).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(
            page.text.contains("<!doctype html>") && page.text.contains("Not here"),
            "{path}"
        );
        harmless(&page.text);
    }
}

#[tokio::test]
async fn a_failure_of_the_server_shows_an_incident_and_keeps_its_insides() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let repo = site.repo("dev/app", &dev, Visibility::Public);
    let dir = forge::repo_dir(site.app.store.dir(), repo.id);
    std::fs::remove_dir_all(&dir).unwrap();
    let page = site.page("/dev/app", "").await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(page.text.contains("Incident"), "{}", page.text);
    assert!(
        !page.text.contains(dir.to_str().unwrap()) && !page.text.contains("repos/"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_long_log_is_sent_in_part_and_read_on_by_links() {
    let (site, job, ..) = running();
    let cookie = cookie(&site).await;
    let mut log = site.app.logs.writer(job, Attempt(1)).unwrap();
    let at = from_unix_ms(1_795_472_245_000);
    for n in 0..60_000 {
        log.append(at, 1, Kind::Out, &format!("line {n}")).unwrap();
    }
    log.finish(at).unwrap();
    let page = site
        .page(&format!("/dev/app/runs/1/jobs/{job}"), &cookie)
        .await;
    assert!(page.text.contains("line 59999") && !page.text.contains(">line 0<"));
    assert!(page.text.len() < 3 << 20, "{} bytes", page.text.len());
    assert!(page.text.contains("From the beginning"));
    let raw = site
        .page(&format!("/dev/app/runs/1/jobs/{job}/log"), &cookie)
        .await;
    assert_eq!(raw.text.lines().count(), 60_000);
    assert!(raw.text.starts_with("line 0\n"));
}

#[tokio::test]
async fn a_made_token_is_shown_once() {
    let site = Site::new();
    let cookie = cookie(&site).await;
    let made = site
        .form("/tokens", &cookie, "name=laptop&scope=repo%3Awrite&days=30")
        .await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    let at = made.text.find("id=\"made\"").expect("the token is shown");
    let secret = made.text[at..]
        .split('>')
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap()
        .to_owned();
    let list = site.page("/tokens", &cookie).await;
    assert!(list.text.contains("laptop") && !list.text.contains(&secret));
    let answer = site
        .ask(axum::http::Method::GET, "/api/v1/user", Some(&secret), "")
        .await;
    assert_eq!(answer.json()["name"], "admin", "{}", answer.text);
    let gone = site.form("/tokens/1/revoke", &cookie, "").await;
    assert_eq!(gone.status, StatusCode::SEE_OTHER, "{}", gone.text);
    let after = site
        .ask(axum::http::Method::GET, "/api/v1/user", Some(&secret), "")
        .await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_secret_is_set_named_and_never_shown() {
    let site = Site::new();
    let cookie = cookie(&site).await;
    let made = site
        .form("/new", &cookie, "path=admin/app&visibility=private")
        .await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
    let set = site
        .form(
            "/admin/app/settings/secrets",
            &cookie,
            "name=SIGNING_KEY&value=very-secret-value",
        )
        .await;
    assert_eq!(set.status, StatusCode::SEE_OTHER, "{}", set.text);
    let page = site.page("/admin/app/settings", &cookie).await;
    assert!(page.text.contains("SIGNING_KEY") && !page.text.contains("very-secret-value"));
    let bad = site
        .form(
            "/admin/app/settings/secrets",
            &cookie,
            "name=1+bad&value=very-secret-value",
        )
        .await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert!(!bad.text.contains("very-secret-value"));
}

#[tokio::test]
async fn wrong_passwords_are_told_on_the_form_and_lead_nowhere_else() {
    let site = Site::new();
    site.user("dev", Role::Member, Some("correct horse battery"));
    let wrong = site
        .form("/sign-in", "", "name=dev&password=nope&next=//evil.example")
        .await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text.contains("Wrong name or password") && !wrong.text.contains("evil.example"));
    let right = site
        .form(
            "/sign-in",
            "",
            "name=dev&password=correct+horse+battery&next=https://evil.example",
        )
        .await;
    assert_eq!(right.header("location"), "/");
    assert!(
        right
            .header("set-cookie")
            .contains("HttpOnly; SameSite=Strict")
    );
}
