//! Images on the web listener: skopeo, podman and docker as they are.

use std::process::{Command, Output};

use testkit::Result;
use testkit::docker::Daemon;
use testkit::http::{Request, send};

use crate::content::{add_small_image, run};
use crate::site::Site;

const DEBIAN: &str = "docker.io/library/debian";

fn two_images(draft: &mut supply::testing::Draft, store: &store::Store) -> Result {
    add_small_image(draft, store, (DEBIAN, "12"), "twelve")?;
    add_small_image(draft, store, (DEBIAN, "13"), "thirteen")?;
    add_small_image(draft, store, ("lab/app", "1"), "app")?;
    Ok(())
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A `GET` by `dev`, or by nobody; status and body.
fn get(site: &Site, path: &str, known: bool) -> Result<(u16, String, String)> {
    let bearer = format!("Bearer {}", site.token);
    let headers = [("authorization", bearer.as_str())];
    let request = Request {
        method: "GET",
        path,
        headers: if known { &headers } else { &[] },
        body: b"",
    };
    let answer = send(site.appliance.address(), &request)?;
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    Ok((answer.status, answer.text(), challenge.to_owned()))
}

#[test]
fn skopeo_copies_lists_and_is_told_what_is_missing() -> Result {
    let mut site = Site::serving(&two_images)?;
    let address = site.appliance.address().to_owned();
    let skopeo = |site: &Site, verb: &str| -> Result<Command> {
        let mut command = site.client("skopeo")?;
        command
            .arg("--insecure-policy")
            .arg(verb)
            .env("XDG_RUNTIME_DIR", site.folder.path());
        Ok(command)
    };
    let creds = format!("dev:{}", site.token);
    for (image, word) in [
        ("docker.io/library/debian:12", "twelve"),
        ("lab/app:1", "app"),
    ] {
        let copied = site.folder.path().join(word);
        run(skopeo(&site, "copy")?
            .args(["--src-tls-verify=false", "--src-creds", &creds])
            .arg(format!("docker://{address}/{image}"))
            .arg(format!("dir:{}", copied.display())))?;
        assert!(copied.join("manifest.json").is_file());
    }
    let tags = run(skopeo(&site, "list-tags")?
        .args(["--tls-verify=false", "--creds", &creds])
        .arg(format!("docker://{address}/{DEBIAN}")))?;
    let tags: serde_json::Value = serde_json::from_str(&tags)?;
    assert_eq!(tags["Tags"], serde_json::json!(["12", "13"]));

    // What refers to an image is listed, and stock clients take it like any manifest.
    let app = site.folder.path().join("app/manifest.json");
    let digest = vocab::Digest::of(&std::fs::read(app)?);
    let (status, list, _) = get(&site, &format!("/v2/lab/app/referrers/{digest}"), true)?;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    let statement = list["manifests"][0]["digest"]
        .as_str()
        .ok_or("no referrer")?;
    assert_eq!(status, 200);
    let raw = run(skopeo(&site, "inspect")?
        .args(["--raw", "--tls-verify=false", "--creds", &creds])
        .arg(format!("docker://{address}/lab/app@{statement}")))?;
    let raw: serde_json::Value = serde_json::from_str(&raw)?;
    assert_eq!(raw["subject"]["digest"], digest.to_string(), "{raw}");

    let nobody = skopeo(&site, "inspect")?
        .arg("--tls-verify=false")
        .arg(format!("docker://{address}/lab/app:1"))
        .output()?;
    assert!(
        !nobody.status.success() && said(&nobody).contains("unauthorized"),
        "{}",
        said(&nobody)
    );

    let absent = skopeo(&site, "inspect")?
        .args(["--tls-verify=false", "--creds", &creds])
        .arg(format!("docker://{address}/lab/app:2"))
        .output()?;
    assert!(!absent.status.success(), "{}", said(&absent));
    let (status, text, _) = get(&site, "/v2/lab/app/manifests/2", true)?;
    assert_eq!(status, 404);
    for word in [
        "image lab/app:2 is not in generation 1",
        "nothing is fetched from outside",
        "need slip",
    ] {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(site.wants()?, [("oci lab/app:2".to_owned(), false)]);
    Ok(())
}

#[test]
fn podman_pulls_from_the_generation() -> Result {
    let site = Site::serving(&two_images)?;
    let at = |name: &str| site.folder.path().join(name);
    // It takes no longer path for this than 50 characters.
    let run_root = tempfile::tempdir()?;
    let podman = |words: &[&str]| -> Result<Command> {
        let mut command = site.client("podman")?;
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(at("root"))
            .arg("--runroot")
            .arg(run_root.path())
            .args(words);
        Ok(command)
    };
    let image = format!("{}/{DEBIAN}:12", site.appliance.address());
    let creds = format!("dev:{}", site.token);
    run(&mut podman(&[
        "pull",
        "--tls-verify=false",
        "--creds",
        &creds,
        &image,
    ])?)?;
    let listed = run(&mut podman(&[
        "image",
        "ls",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ])?)?;
    assert_eq!(listed.trim(), image);
    Ok(())
}

#[test]
fn docker_pulls_from_the_generation() -> Result {
    let site = Site::serving(&two_images)?;
    let mut dockerd = site.client("dockerd")?;
    let daemon = Daemon::start(dockerd.arg("--storage-driver=vfs"), site.folder.path())?;
    let docker = |words: &[&str]| -> Result<Command> {
        let mut command = site.client("docker")?;
        command.args(["--host", daemon.host()]).args(words);
        Ok(command)
    };
    let address = site.appliance.address();
    run(&mut docker(&[
        "login",
        "-u",
        "dev",
        "-p",
        &site.token,
        address,
    ])?)?;
    let image = format!("{address}/{DEBIAN}:13");
    run(&mut docker(&["pull", &image])?)?;
    let absent = docker(&["pull", &format!("{address}/{DEBIAN}:14")])?.output()?;
    assert!(
        said(&absent).contains("nothing is fetched from outside"),
        "{}",
        said(&absent)
    );
    Ok(())
}

#[test]
fn hostile_addresses_are_nothing_and_nobody_gets_in() -> Result {
    let site = Site::serving(&two_images)?;
    for path in [
        "/v2/../../etc/passwd/manifests/x",
        "/v2/lab/app/manifests/..%2f..%2f..%2fetc%2fpasswd",
        "/v2/%2e%2e/%2e%2e/blobs/sha256:00",
        "/v2/lab/app/blobs/sha256:../../../../etc/passwd",
        "/v2/lab/app/manifests/%00",
        "/v2/lab//app/manifests/1",
        "/files/..%2f..%2fcofferdam.db",
        "/files/../cofferdam.db",
        "/simple/..%2f..%2fkeys/",
        "/simple/files/0000/..%2f..%2fcofferdam.db",
    ] {
        let (status, text, _) = get(&site, path, true)?;
        assert!(matches!(status, 404 | 400), "{path}: {status} {text}");
        let (status, _, _) = get(&site, path, false)?;
        assert!(matches!(status, 401 | 404 | 400), "{path}: {status}");
    }
    let (status, text, challenge) = get(&site, "/v2/", false)?;
    assert_eq!(status, 401, "{text}");
    assert!(
        challenge.starts_with("Bearer realm=\"http://127.0.0.1:"),
        "{challenge}"
    );
    // A blob of one image is not served under another's name.
    let (_, manifest, _) = get(&site, "/v2/lab/app/manifests/1", true)?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let config = manifest["config"]["digest"].as_str().unwrap_or_default();
    assert_eq!(
        get(&site, &format!("/v2/lab/app/blobs/{config}"), true)?.0,
        200
    );
    assert_eq!(
        get(&site, &format!("/v2/{DEBIAN}/blobs/{config}"), true)?.0,
        404
    );
    Ok(())
}
