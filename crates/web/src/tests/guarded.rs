//! Every route, asked by everybody: only those who may get in.

use std::collections::HashSet;

use access::{Need, Role, Scope};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use vocab::Visibility;

use super::Site;
use crate::routes::{Entry, Kind, ROUTES, Target};

/// The address of a route with things that exist in its place-holders.
fn address(entry: &Entry) -> String {
    let id = if matches!(entry.target, Target::Token | Target::SshKey) {
        "1"
    } else {
        "999"
    };
    entry
        .path
        .replace("{owner}", "dev")
        .replace("{repo}", "app")
        .replace("{user}", "dev")
        .replace("{number}", "1")
        .replace("{job}", "1")
        .replace("{id}", id)
        .replace("{name}", "NAME")
        .replace("{version}", "1.0")
        .replace("{*name}", "image")
        .replace("{*rest}", "main/x")
        .replace("{*path}", "cofferdam.css")
        .replace("{project}", "ruff")
        .replace("{sha256}", &"0".repeat(64))
        .replace("{filename}", "ruff-1.0.tar.gz")
}

fn request(entry: &Entry, token: Option<&str>) -> Request<Body> {
    let method: Method = entry.method.to_uppercase().parse().unwrap();
    let mut request = Request::builder().method(method).uri(address(entry));
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if entry.kind == Kind::Page {
        request = request
            .header(header::ORIGIN, "http://forge.lab")
            .header(header::ACCEPT, "text/html");
    }
    request.body(Body::empty()).unwrap()
}

#[test]
fn no_two_routes_are_the_same_and_every_placeholder_is_known() {
    let mut seen = HashSet::new();
    for entry in ROUTES {
        assert!(seen.insert((entry.method, entry.path)), "{entry:?}");
        assert!(!address(entry).contains('{'), "{entry:?}");
    }
}

#[test]
fn what_an_action_needs_fits_what_its_address_names() {
    for entry in ROUTES {
        let fits = match entry.action.requirement().need {
            Need::Repo(_) => matches!(entry.target, Target::Repo | Target::Job),
            Need::Namespace => entry.target == Target::InBody,
            Need::Own => matches!(
                entry.target,
                Target::Own | Target::User | Target::Token | Target::SshKey
            ),
            Need::Supply => entry.target == Target::Supply,
            Need::Anyone | Need::SignedIn | Need::Admin | Need::Operator => {
                entry.target == Target::Instance
            }
        };
        assert!(fits, "{entry:?}");
    }
}

#[tokio::test]
async fn nobody_gets_into_what_is_not_open_to_all() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    site.token(&dev, &[Scope::RepoRead]);
    site.ssh_key(&dev);
    site.repo("dev/app", &dev, Visibility::Private);
    for entry in ROUTES
        .iter()
        .filter(|e| e.action.requirement().need != Need::Anyone)
    {
        let answer = site.send(request(entry, None)).await;
        let sent_to_sign_in = answer.status == StatusCode::SEE_OTHER
            && answer.header("location").starts_with("/sign-in?next=");
        assert!(
            answer.status == StatusCode::UNAUTHORIZED || sent_to_sign_in,
            "{entry:?}: {} {}",
            answer.status,
            answer.text
        );
        let challenge = answer.header("www-authenticate");
        match entry.kind {
            Kind::Git | Kind::Package => assert!(challenge.starts_with("Basic"), "{entry:?}"),
            Kind::Oci => assert!(
                challenge.starts_with("Bearer realm=\"http://forge.lab/v2/token\""),
                "{entry:?}: {challenge}"
            ),
            Kind::Page | Kind::Api => {}
        }
    }
}

#[tokio::test]
async fn a_stranger_with_every_scope_finds_nothing_of_anothers() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    site.token(&dev, &[Scope::RepoRead]);
    site.ssh_key(&dev);
    site.repo("dev/app", &dev, Visibility::Private);
    let stranger = site.user("eve", Role::Member, None);
    let token = site.token(&stranger, &Scope::ALL);
    for entry in ROUTES {
        let need = entry.action.requirement().need;
        let of_others = matches!(need, Need::Repo(_) | Need::Admin | Need::Operator)
            || matches!(entry.target, Target::User | Target::Token | Target::SshKey);
        if of_others {
            let answer = site.send(request(entry, Some(&token))).await;
            assert!(
                matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN),
                "{entry:?}: {} {}",
                answer.status,
                answer.text
            );
        }
    }
}

#[tokio::test]
async fn a_token_without_the_scope_is_refused_even_to_the_owner() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    site.repo("dev/app", &dev, Visibility::Private);
    let reader = site.token(&dev, &[Scope::RepoRead]);
    for entry in ROUTES.iter().filter(|e| e.target == Target::Repo) {
        let scope = entry.action.requirement().scope.unwrap();
        if Scope::RepoRead.covers(scope) {
            continue;
        }
        let answer = site.send(request(entry, Some(&reader))).await;
        assert_eq!(
            answer.status,
            StatusCode::FORBIDDEN,
            "{entry:?}: {}",
            answer.text
        );
        assert!(answer.text.contains("scope"), "{entry:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_owner_gets_past_the_guard_everywhere() {
    let site = Site::new();
    let dev = site.user("dev", Role::Admin, None);
    site.repo("dev/app", &dev, Visibility::Private);
    let all = site.token(&dev, &Scope::ALL);
    let deletes = |e: &&Entry| e.method == "delete" && e.path.ends_with("{repo}");
    for entry in ROUTES.iter().filter(|e| !deletes(e)) {
        if entry.action.requirement().scope.is_none()
            && entry.action.requirement().need != Need::Anyone
        {
            let answer = site.send(request(entry, Some(&all))).await;
            assert_eq!(
                answer.status,
                StatusCode::FORBIDDEN,
                "no token may: {entry:?}"
            );
            continue;
        }
        let answer = site.send(request(entry, Some(&all))).await;
        let status = answer.status;
        assert!(
            status != StatusCode::UNAUTHORIZED
                && status != StatusCode::FORBIDDEN
                && !status.is_server_error()
                || answer.text.contains("dumb protocol")
                || entry.path == "/sign-in"
                || entry.path == "/api/v1/session",
            "{entry:?}: {status} {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn another_site_cannot_make_a_browser_act() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, Some("correct horse battery"));
    site.repo("dev/app", &dev, Visibility::Private);
    let cookie = site.sign_in("dev", "correct+horse+battery").await;
    let post = |origin: Option<(&'static str, &'static str)>| {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/new")
            .header(header::COOKIE, &cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some((name, value)) = origin {
            request = request.header(name, value);
        }
        request
            .body(Body::from("path=dev/b&visibility=private"))
            .unwrap()
    };
    for from in [
        None,
        Some(("origin", "http://evil.example")),
        Some(("origin", "null")),
        Some(("sec-fetch-site", "cross-site")),
        Some(("sec-fetch-site", "same-site")),
    ] {
        assert_eq!(
            site.send(post(from)).await.status,
            StatusCode::FORBIDDEN,
            "{from:?}"
        );
    }
    let made = site
        .send(post(Some(("sec-fetch-site", "same-origin"))))
        .await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
    assert_eq!(made.header("location"), "/dev/b");
}

#[tokio::test]
async fn a_session_ends_when_the_settings_say_so() {
    let site = Site::new();
    site.user("dev", Role::Member, Some("correct horse battery"));
    let cookie = site.sign_in("dev", "correct+horse+battery").await;
    assert_eq!(site.page("/queue", &cookie).await.status, StatusCode::OK);
    site.clock.advance(std::time::Duration::from_secs(3601));
    let late = site.page("/queue", &cookie).await;
    assert_eq!(late.header("location"), "/sign-in?next=%2Fqueue");
}

#[tokio::test]
async fn a_wrong_token_is_refused_even_where_nobody_needs_one() {
    let site = Site::new();
    let answer = site
        .ask(Method::GET, "/api/v1/repos", Some("cfd_wrong"), "")
        .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.json()["what_to_do"].is_string());
}

#[tokio::test]
async fn every_refusal_of_the_api_is_json_and_says_what_to_do() {
    let site = Site::new();
    let dev = site.user("dev", Role::Admin, None);
    let token = site.token(&dev, &Scope::ALL);
    for (method, path, body) in [
        (Method::GET, "/api/v1/audit?limit=many", ""),
        (Method::GET, "/api/v1/no/such/thing", ""),
        (Method::DELETE, "/api/v1/version", ""),
        (Method::POST, "/api/v1/users", "{"),
        (Method::POST, "/api/v1/users", "{\"nam\": 1}"),
        (Method::POST, "/api/v1/repos", "{\"path\": \"../..\"}"),
        (Method::POST, "/api/v1/repos", "{\"path\": \"api/x\"}"),
    ] {
        let answer = site.ask(method, path, Some(&token), body).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.text);
        let json = answer.json();
        assert!(
            json["error"].is_string() && json["what_to_do"].is_string(),
            "{path}: {json}"
        );
    }
}

#[tokio::test]
async fn the_control_socket_asks_the_kernel_who_is_there() {
    use tower::ServiceExt as _;
    let site = Site::new();
    let router = crate::control_router(site.app.clone());
    let ask = || {
        Request::builder()
            .uri("/api/v1/users")
            .body(Body::empty())
            .unwrap()
    };
    let unknown = router.clone().oneshot(ask()).await.unwrap();
    assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
    let path = site.dir.path().join("control.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let app = site.app.clone();
    tokio::spawn(async move { crate::serve_control(listener, app, std::future::pending()).await });
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let text = "GET /api/v1/users HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn answers_carry_the_headers_that_keep_browsers_safe() {
    let site = Site::new();
    for path in [
        "/",
        "/no/such/page/at/all",
        "/assets/cofferdam.css",
        "/api/v1/version",
    ] {
        let answer = site.page(path, "").await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
}
