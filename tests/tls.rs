//! Story: clients reach the appliance over TLS with its own authority, and nobody else's will do.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stories::{Site, folder};
use testkit::appliance::{Appliance, debug_binary};
use testkit::{Result, git};

const REPO: &str = "lab/app";

/// An appliance with a certificate, serving; where its authority's certificate is.
fn secured() -> Result<(Site, PathBuf)> {
    let mut site = Site::bare()?;
    site.appliance.ok(&["tls", "init", "--name", "forge.lab"])?;
    site.appliance.start()?;
    let authority = site.appliance.data().join("keys/tls/ca.crt");
    Ok((site, authority))
}

/// The authority of another appliance.
fn strangers_authority(folder: &Path) -> Result<PathBuf> {
    let other = Appliance::init(&debug_binary()?, &folder.join("other"))?;
    other.ok(&["tls", "init"])?;
    Ok(other.data().join("keys/tls/ca.crt"))
}

fn curl(words: &[&str]) -> Result<Output> {
    Ok(Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*"])
        .args(words)
        .output()?)
}

/// Git that trusts `authority` alone, whatever the environment of the tests names.
fn git_trusting(authority: &Path, folder: &Path, words: &[&str]) -> Result<Output> {
    let trust = format!("http.sslCAInfo={}", authority.display());
    Ok(git::command(folder)
        .env_remove("GIT_SSL_CAINFO")
        .args(["-c", &trust])
        .args(words)
        .output()?)
}

fn text(path: &Path) -> Result<&str> {
    Ok(path.to_str().ok_or("a path is no text")?)
}

#[test]
fn curl_trusts_the_authority_and_speaks_either_http() -> Result {
    let (site, authority) = secured()?;
    let url = format!("https://{}/healthz", site.appliance.address());
    for (how, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let out = [
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code} %{http_version}",
        ];
        let mut words = vec!["--cacert", text(&authority)?, how, &url];
        words.extend(out);
        let answer = curl(&words)?;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert_eq!(said, format!("200 {version}"), "{answer:?}");
    }
    // The name given at `tls init` is in the certificate; one that was not given is refused.
    let port = site
        .appliance
        .address()
        .rsplit(':')
        .next()
        .ok_or("no port")?;
    for (name, good) in [("forge.lab", true), ("other.lab", false)] {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let url = format!("https://{name}:{port}/healthz");
        let answer = curl(&["--cacert", text(&authority)?, "--resolve", &resolve, &url])?;
        assert_eq!(answer.status.success(), good, "{name}: {answer:?}");
    }
    Ok(())
}

#[test]
fn another_authority_is_refused_by_every_client() -> Result {
    let (site, _) = secured()?;
    let wrong = strangers_authority(site.folder.path())?;
    let address = site.appliance.address();
    let answer = curl(&["--cacert", text(&wrong)?, &format!("https://{address}/")])?;
    assert_eq!(answer.status.code(), Some(60), "{answer:?}");

    let token = site.appliance.user("dev", &[])?;
    site.appliance.repo(REPO, "dev")?;
    let url = format!("https://dev:{token}@{address}/{REPO}.git");
    let refused = git_trusting(&wrong, site.folder.path(), &["ls-remote", &url])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("certificate"),
        "{said}"
    );

    let server = format!("https://{address}");
    let refused = site
        .appliance
        .command(&["--server", &server, "--ca", text(&wrong)?, "repo", "list"])
        .env("COFFERDAM_TOKEN", &token)
        .output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("does not prove to be"), "{said}");
    Ok(())
}

#[test]
fn git_pushes_and_clones_and_the_command_line_reads_with_the_authority() -> Result {
    let (site, authority) = secured()?;
    let token = site.appliance.user("dev", &["repo:write", "run:write"])?;
    site.appliance.repo(REPO, "dev")?;
    let server = format!("https://{}", site.appliance.address());
    let url = format!(
        "https://dev:{token}@{}/{REPO}.git",
        site.appliance.address()
    );
    let tree = site.tree("app")?;
    tree.write("large.txt", "a line of a file\n".repeat(200_000))?;
    let commit = tree.commit("first")?;
    let pushed = git_trusting(&authority, &tree.folder, &["push", &url, "HEAD:main"])?;
    assert!(pushed.status.success(), "{pushed:?}");
    let clone = site.folder.path().join("clone");
    let words = ["clone", "--quiet", &url, text(&clone)?];
    let cloned = git_trusting(&authority, site.folder.path(), &words)?;
    assert!(cloned.status.success(), "{cloned:?}");
    assert_eq!(git::run(&clone, &["rev-parse", "HEAD"])?.trim(), commit);

    let listed = site
        .appliance
        .command(&[
            "--server",
            &server,
            "--ca",
            text(&authority)?,
            "repo",
            "list",
        ])
        .env("COFFERDAM_TOKEN", &token)
        .output()?;
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(said.contains(REPO), "{listed:?}");
    Ok(())
}

#[test]
fn the_authority_is_handed_out_and_plain_http_is_told_to_use_https() -> Result {
    let (site, authority) = secured()?;
    let address = site.appliance.address();
    // Somebody who says nothing holds nobody up.
    let _silent = TcpStream::connect(address)?;
    let answer = curl(&["--insecure", &format!("https://{address}/ca.crt")])?;
    assert_eq!(answer.stdout, std::fs::read(&authority)?);
    let answer = curl(&["--include", &format!("http://{address}/")])?;
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(
        said.starts_with("HTTP/1.1 400") && said.contains("https://"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_renewed_certificate_is_good_with_the_authority_that_clients_have() -> Result {
    let (mut site, authority) = secured()?;
    let before = std::fs::read(&authority)?;
    site.appliance.stop()?;
    site.appliance.ok(&["tls", "renew", "--name", "new.lab"])?;
    site.appliance.start()?;
    assert_eq!(std::fs::read(&authority)?, before);
    let port = site
        .appliance
        .address()
        .rsplit(':')
        .next()
        .ok_or("no port")?;
    for name in ["forge.lab", "new.lab"] {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let url = format!("https://{name}:{port}/healthz");
        let answer = curl(&["--cacert", text(&authority)?, "--resolve", &resolve, &url])?;
        assert!(answer.status.success(), "{name}: {answer:?}");
    }
    Ok(())
}

#[test]
fn plain_http_leaves_loopback_only_when_the_settings_say_so() -> Result {
    let folder = folder()?;
    let appliance = Appliance::init(&debug_binary()?, &folder.path().join("data"))?;
    let refused = appliance.run(&["serve", "--listen", "0.0.0.0:0"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("tls init"),
        "{said}"
    );
    Ok(())
}
