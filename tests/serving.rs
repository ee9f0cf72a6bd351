//! Story: an operator starts, restarts and stops the appliance, also where it cannot start.

use std::process::{Command, Stdio};

use stories::{Site, folder, open_to_all};
use testkit::appliance::{Appliance, debug_binary};
use testkit::git;
use testkit::{Result, http};

const REPO: &str = "lab/app";

#[test]
fn the_first_line_is_the_address_and_the_server_is_ready_then() -> Result {
    let mut site = Site::serving()?;
    let control = site.appliance.data().join("control.sock");
    let metrics = http::Request {
        method: "GET",
        path: "/metrics",
        headers: &[],
        body: b"",
    };
    assert_eq!(
        http::get(site.appliance.address(), "/metrics", &[])?.status,
        401
    );
    assert!(
        http::send_local(&control, &metrics)?
            .text()
            .contains("cofferdam_")
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            http::get(site.appliance.address(), path, &[])?.status,
            200,
            "{path}"
        );
    }
    site.appliance.stop()?;
    site.appliance.start()?;
    assert_eq!(
        http::get(site.appliance.address(), "/readyz", &[])?.status,
        200
    );
    site.appliance.stop()?;
    site.appliance.ok(&["fsck"])?;
    Ok(())
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() -> Result {
    let site = Site::bare()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let refused = site.appliance.run(&["serve", "--listen", &address])?;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&address), "{said}");
    Ok(())
}

#[test]
fn a_second_server_on_the_same_data_is_refused() -> Result {
    let site = Site::serving()?;
    let refused = site.appliance.run(&["serve", "--listen", "127.0.0.1:0"])?;
    assert!(!refused.status.success());
    assert!(refused.stdout.is_empty(), "it claimed to be ready");
    let locked = site.appliance.run(&["fsck"])?;
    assert!(!locked.status.success(), "fsck ran beside the server");
    assert_eq!(
        http::get(site.appliance.address(), "/readyz", &[])?.status,
        200
    );
    Ok(())
}

#[test]
fn a_data_directory_from_the_future_is_refused_unchanged() -> Result {
    let site = Site::bare()?;
    let database = site.appliance.data().join("cofferdam.db");
    let script = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        db.execute(\"insert into migration (owner, number, name, sha256) select owner, 9999, '9999_from_the_future', sha256 from migration limit 1\")\n\
        db.commit()\n";
    let made = Command::new("python3")
        .arg("-c")
        .arg(script)
        .arg(&database)
        .output()?;
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let refused = site.appliance.run(&["serve", "--listen", "127.0.0.1:0"])?;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("newer"), "{said}");
    Ok(())
}

#[test]
fn an_unknown_setting_stops_the_start_and_names_itself() -> Result {
    let site = Site::bare()?;
    std::fs::write(
        site.appliance.data().join("config.toml"),
        "[runner]\nslotz = 3\n",
    )?;
    let refused = site.appliance.run(&["serve", "--listen", "127.0.0.1:0"])?;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("slotz"), "{said}");
    Ok(())
}

/// A small memory disk, unmounted when dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir(at)?;
        let size = format!("size={mebibytes}m");
        mount(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(at),
        )?;
        open_to_all(at)?;
        Ok(Self(at.to_owned()))
    }

    fn grow(&self, mebibytes: u32) -> Result {
        let size = format!("remount,size={mebibytes}m");
        mount(Command::new("mount").args(["-o", &size]).arg(&self.0))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever still holds it ends with the test.
        drop(
            Command::new("umount")
                .arg("-l")
                .arg(&self.0)
                .stderr(Stdio::null())
                .status(),
        );
    }
}

fn mount(command: &mut Command) -> Result {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}

#[test]
fn a_full_disk_refuses_pushes_clearly_and_takes_them_again_when_there_is_room() -> Result {
    // Up to the last byte, and with room that is kept for the audit log.
    for reserve_mib in [0, 8] {
        fill(reserve_mib)?;
    }
    Ok(())
}

fn fill(reserve_mib: u32) -> Result {
    let folder = folder()?;
    let disk = SmallDisk::mount(&folder.path().join("disk"), 24)?;
    let mut appliance = Appliance::init(&debug_binary()?, &disk.0.join("data"))?;
    std::fs::write(
        appliance.data().join("config.toml"),
        format!("[audit]\nreserve_mib = {reserve_mib}\n"),
    )?;
    appliance.log_to(&folder.path().join("serve.log"));
    appliance.start()?;
    let token = appliance.user("dev", &[])?;
    appliance.repo(REPO, "dev")?;
    let url = appliance.url(REPO, "dev", &token);
    let tree = git::Tree::init(&folder.path().join("tree"))?;
    let mut noise = vec![0; 4 << 20];
    let chance = vocab::Entropy::scripted(5);
    let mut refused = None;
    for turn in 0..16 {
        chance.fill(&mut noise);
        tree.write("noise", &noise)?;
        tree.commit(&format!("noise {turn}"))?;
        if let Err(said) = tree.push(&url, "HEAD:main") {
            refused = Some(said.to_string());
            break;
        }
    }
    let said = refused.ok_or("64 MiB were taken on a disk of 24 MiB")?;
    assert!(
        said.contains("space"),
        "the refusal does not say why:\n{said}"
    );
    assert_eq!(http::get(appliance.address(), "/healthz", &[])?.status, 200);
    disk.grow(256)?;
    // The log looks again once a second.
    let watch = vocab::Stopwatch::start();
    while let Err(error) = tree.push(&url, "HEAD:main") {
        if watch.elapsed() > std::time::Duration::from_secs(60) {
            return Err(error);
        }
        vocab::Clock::sleep(std::time::Duration::from_millis(200));
    }
    for repository in appliance.repositories()? {
        git::fsck(&repository)?;
    }
    appliance.stop()?;
    appliance.ok(&["fsck"])?;
    Ok(())
}
