//! What a generation serves, byte by byte: forms, names, ranges, tokens.

use access::{Role, Scope};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use bundle::Item;
use bundle::manifest::{FileItem, Oci, Origin, Pypi, PypiFile};
use supply::testing::Draft;
use vocab::Digest;

use super::{Answer, Site};

/// A project with an awkward file, a file, and two tags of an image that share their manifest.
fn filled() -> (Site, String) {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let token = site.token(&dev, &[Scope::RepoRead]);
    let store = &site.app.store;
    let mut draft = Draft::default();
    let wheel = PypiFile {
        filename: "foo_bar-1.0+local-py3-none-any.whl".into(),
        d: draft.blob(store, b"0123456789"),
        requires_python: ">=3.9,<4".into(),
        yanked: Some("broken \"badly\" <b>".into()),
        core_metadata: Some(draft.blob(store, b"Name: foo.bar")),
    };
    let sdist = PypiFile {
        filename: "foo-bar-0.9.tar.gz".into(),
        d: draft.blob(store, b"source"),
        requires_python: String::new(),
        yanked: None,
        core_metadata: None,
    };
    draft.item(Item::Pypi(Pypi {
        name: "foo-bar".into(),
        files: vec![sdist, wheel],
        source: Origin::default(),
    }));
    let page = draft.blob(store, b"<script>alert(1)</script>");
    draft.item(Item::File(FileItem {
        name: "docs/read me.html".into(),
        d: page,
        source: Origin::default(),
    }));
    let config = draft.blob(store, b"{}");
    let manifest = format!(
        "{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\"digest\":\"{config}\"}},\"layers\":[]}}"
    );
    let digest = draft.blob(store, manifest.as_bytes());
    for tag in ["1", "2", "3"] {
        draft.item(Item::Oci(Oci {
            name: "lab/app".into(),
            tag: tag.into(),
            digest,
            platform: "linux/amd64".into(),
            blobs: vec![config, digest],
            unpacked_bytes: 0,
            labels: Vec::new(),
            source: Origin::default(),
        }));
    }
    draft.activate(store, 1).unwrap();
    (site, token)
}

async fn ask(site: &Site, token: &str, path: &str, more: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder()
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"));
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    site.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_project_is_shown_in_both_forms_and_its_names_are_safe() {
    let (site, token) = filled();
    let html = ask(
        &site,
        &token,
        "/simple/foo-bar/",
        &[("accept", "text/html")],
    )
    .await;
    assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
    let wheel = Digest::of(b"0123456789").hex();
    for part in [
        &format!("href=\"../files/{wheel}/foo_bar-1.0%2Blocal-py3-none-any.whl#sha256={wheel}\""),
        "data-requires-python=\"&#62;=3.9,&#60;4\"",
        "data-yanked=\"broken &#34;badly&#34; &#60;b&#62;\"",
        "data-core-metadata=\"sha256=",
        "<meta name=\"pypi:repository-version\" content=\"1.1\">",
    ] {
        assert!(html.text.contains(part), "{part}: {}", html.text);
    }
    let form = [("accept", "application/vnd.pypi.simple.v1+json")];
    let json = ask(&site, &token, "/simple/foo-bar/", &form).await.json();
    assert_eq!(json["versions"], serde_json::json!(["0.9", "1.0+local"]));
    let file = &json["files"][1];
    assert_eq!(file["size"], 10);
    assert_eq!(file["hashes"]["sha256"], wheel.as_str());
    assert_eq!(file["requires-python"], ">=3.9,<4");
    assert_eq!(
        file["core-metadata"]["sha256"],
        Digest::of(b"Name: foo.bar").hex().as_str()
    );
    assert!(
        file.get("dist-info-metadata").is_none(),
        "pip 23.0 trips over it"
    );
    assert_eq!(json["files"][0]["yanked"], false);

    for odd in ["/simple/Foo.Bar/", "/simple/foo__bar", "/simple/FOO-bar"] {
        let moved = ask(&site, &token, odd, &[]).await;
        assert_eq!(moved.status, StatusCode::PERMANENT_REDIRECT, "{odd}");
        assert_eq!(moved.header("location"), "/simple/foo-bar/", "{odd}");
    }
    let list = ask(&site, &token, "/simple/", &form).await.json();
    assert_eq!(list["projects"], serde_json::json!([{ "name": "foo-bar" }]));
}

#[tokio::test]
async fn files_are_served_whole_in_part_or_not_again_and_only_under_their_names() {
    let (site, token) = filled();
    let wheel = Digest::of(b"0123456789");
    let at = format!(
        "/simple/files/{}/foo_bar-1.0%2Blocal-py3-none-any.whl",
        wheel.hex()
    );
    let whole = ask(&site, &token, &at, &[]).await;
    assert_eq!(
        (whole.status, whole.text.as_str()),
        (StatusCode::OK, "0123456789")
    );
    assert!(whole.header("cache-control").contains("immutable"));
    let part = ask(&site, &token, &at, &[("range", "bytes=2-4")]).await;
    assert_eq!(
        (part.status, part.text.as_str()),
        (StatusCode::PARTIAL_CONTENT, "234")
    );
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let beyond = ask(&site, &token, &at, &[("range", "bytes=10-")]).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let known = ask(
        &site,
        &token,
        &at,
        &[("if-none-match", whole.header("etag"))],
    )
    .await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    let metadata = ask(&site, &token, &format!("{at}.metadata"), &[]).await;
    assert_eq!(metadata.text, "Name: foo.bar");
    let other = at.replace("1.0", "1.1");
    assert_eq!(
        ask(&site, &token, &other, &[]).await.status,
        StatusCode::NOT_FOUND
    );

    let file = ask(&site, &token, "/files/docs/read%20me.html", &[]).await;
    assert_eq!(file.header("content-type"), "application/octet-stream");
    assert_eq!(file.header("content-disposition"), "attachment");
    assert_eq!(file.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn images_are_listed_page_by_page_and_say_what_they_are() {
    let (site, token) = filled();
    let first = ask(&site, &token, "/v2/lab/app/tags/list?n=2", &[]).await;
    assert_eq!(first.json()["tags"], serde_json::json!(["1", "2"]));
    assert_eq!(
        first.header("link"),
        "</v2/lab/app/tags/list?n=2&last=2>; rel=\"next\""
    );
    let rest = ask(&site, &token, "/v2/lab/app/tags/list?n=2&last=2", &[]).await;
    assert_eq!(rest.json()["tags"], serde_json::json!(["3"]));
    assert_eq!(rest.header("link"), "");
    let all = ask(&site, &token, "/v2/_catalog", &[]).await.json();
    assert_eq!(all["repositories"], serde_json::json!(["lab/app"]));

    let head = Request::builder()
        .method(Method::HEAD)
        .uri("/v2/lab/app/manifests/1")
        .header(header::AUTHORIZATION, format!("Bearer {token}"));
    let head = site.send(head.body(Body::empty()).unwrap()).await;
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(
        (head.status, head.header("content-type")),
        (StatusCode::OK, kind)
    );
    let digest = head.header("docker-content-digest").to_owned();
    let same = ask(
        &site,
        &token,
        &format!("/v2/lab/app/manifests/{digest}"),
        &[],
    )
    .await;
    assert_eq!(Digest::of(same.text.as_bytes()).to_string(), digest);
    assert_eq!(head.header("content-length"), same.text.len().to_string());
    let gone = ask(&site, &token, "/v2/lab/app/manifests/4", &[]).await;
    assert_eq!(gone.json()["errors"][0]["code"], "MANIFEST_UNKNOWN");
    let push = site
        .ask(Method::PUT, "/v2/lab/app/manifests/1", Some(&token), "{}")
        .await;
    assert_eq!(push.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(push.json()["errors"][0]["code"], "UNSUPPORTED");
}

#[tokio::test]
async fn a_token_is_needed_and_worth_no_more_than_it_says() {
    let (site, token) = filled();
    let given = ask(&site, &token, "/v2/token?service=cofferdam", &[])
        .await
        .json();
    assert_eq!(given["token"], token.as_str());
    let dev = site.user("other", Role::Member, None);
    let narrow = site.token(&dev, &[Scope::RunRead]);
    let narrow = ask(&site, &narrow, "/v2/", &[]).await;
    assert_eq!(narrow.status, StatusCode::FORBIDDEN);
    assert_eq!(narrow.json()["errors"][0]["code"], "DENIED");
    let wrong = ask(&site, "cfd_wrong", "/simple/", &[]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let nobody = site.ask(Method::GET, "/v2/token", None, "").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_image_is_referred_to_by_the_statement_of_how_it_came_in() {
    let (site, token) = filled();
    let all = ask(&site, &token, "/v2/lab/app/manifests/1", &[]).await;
    let image = all.header("docker-content-digest").to_owned();
    let path = format!("/v2/lab/app/referrers/{image}");
    let listed = ask(&site, &token, &path, &[]).await;
    assert_eq!(
        listed.header("content-type"),
        "application/vnd.oci.image.index.v1+json"
    );
    assert_eq!(ask(&site, &token, &path, &[]).await.text, listed.text);
    let found = &listed.json()["manifests"];
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    assert_eq!(found[0]["artifactType"], "application/vnd.in-toto+json");
    let at = |what: &str, digest: &serde_json::Value| {
        format!("/v2/lab/app/{what}/{}", digest.as_str().unwrap())
    };

    let manifest = ask(&site, &token, &at("manifests", &found[0]["digest"]), &[]).await;
    assert_eq!(
        Digest::of(manifest.text.as_bytes()).to_string(),
        found[0]["digest"]
    );
    assert_eq!(found[0]["size"], manifest.text.len());
    let manifest = manifest.json();
    assert_eq!(manifest["subject"]["digest"], image);
    assert_eq!(manifest["subject"]["size"], all.text.len());
    let config = ask(
        &site,
        &token,
        &at("blobs", &manifest["config"]["digest"]),
        &[],
    )
    .await;
    assert_eq!(config.text, "{}");
    let layer = &manifest["layers"][0];
    let envelope = ask(&site, &token, &at("blobs", &layer["digest"]), &[]).await;
    assert_eq!(
        Digest::of(envelope.text.as_bytes()).to_string(),
        layer["digest"]
    );

    let attester = site.app.attester.clone().unwrap();
    let read = evidence::dsse::Envelope::read(envelope.text.as_bytes()).unwrap();
    let payload = read.verified(attester.keys().public()).unwrap();
    let said: serde_json::Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(
        format!(
            "sha256:{}",
            said["subject"][0]["digest"]["sha256"].as_str().unwrap()
        ),
        image
    );
    assert_eq!(said["predicate"]["custody"]["seq"], 1);

    // A list without such a kind, and a digest that nothing refers to.
    let other = ask(
        &site,
        &token,
        &format!("{path}?artifactType=text/plain"),
        &[],
    )
    .await;
    assert_eq!(other.header("oci-filters-applied"), "artifactType");
    assert_eq!(other.json()["manifests"], serde_json::json!([]));
    let unknown = format!("/v2/lab/app/referrers/{}", Digest::of(b"x"));
    let unknown = ask(&site, &token, &unknown, &[]).await;
    assert_eq!(
        (unknown.status, unknown.json()["manifests"].clone()),
        (StatusCode::OK, serde_json::json!([]))
    );
    let nobody = ask(
        &site,
        &token,
        &format!("/v2/lab/none/referrers/{image}"),
        &[],
    )
    .await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    let odd = ask(&site, &token, "/v2/lab/app/referrers/latest", &[]).await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_image_is_explained_to_administrators_alone() {
    let (site, token) = filled();
    let path = "/api/v1/images/lab/app:2";
    assert_eq!(
        ask(&site, &token, path, &[]).await.status,
        StatusCode::FORBIDDEN
    );
    let root = site.user("root", Role::Admin, None);
    let token = site.token(&root, &[Scope::Admin]);
    let told = ask(&site, &token, path, &[]).await.json();
    assert_eq!(
        told["names"],
        serde_json::json!(["lab/app:1", "lab/app:2", "lab/app:3"])
    );
    assert_eq!(told["bundles"][0]["seq"], 1);
    assert_eq!(told["bundles"][0]["active"], true);
    assert_eq!(told["jobs"], serde_json::json!([]));
    let by_digest = format!("/api/v1/images/{}", told["digest"].as_str().unwrap());
    assert_eq!(
        ask(&site, &token, &by_digest, &[]).await.json()["names"],
        told["names"]
    );
    let none = ask(&site, &token, "/api/v1/images/lab/none:1", &[]).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}
