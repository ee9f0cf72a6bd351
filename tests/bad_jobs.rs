//! Story: a job does its worst; it is held, it ends, and the next job is as if nothing had been.

use serde_json::Value;
use stories::Site;
use testkit::{Result, http};

const REPO: &str = "lab/app";

fn workflow(script: &str, more: &str) -> String {
    let mut text = format!(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n{more}    steps:\n      - run: |\n"
    );
    for line in script.lines() {
        text.push_str("          ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

struct After {
    site: Site,
    code: i32,
    log: String,
    run: Value,
}

/// Runs `script` as a job with small limits, then a harmless job, which must be green.
fn after(script: &str, more: &str) -> Result<After> {
    let mut site = Site::with_image()?;
    site.appliance.stop()?;
    let limits = "[runner]\nmemory_mib = 512\ndisk_mib = 256\npids = 256\nlog_mib = 8\n";
    std::fs::write(site.appliance.data().join("config.toml"), limits)?;
    site.appliance.start()?;
    let url = site.repo(REPO)?;
    let tree = site.tree_with("tree", &workflow(script, more))?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    let run = site.appliance.json(&["run", "show", REPO])?;
    let harmless = "test ! -e /marker && test ! -e /tmp/marker && echo clean\nps ax | wc -l";
    tree.write(".github/workflows/ci.yml", workflow(harmless, ""))?;
    tree.commit("harmless")?;
    let (next, next_log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(next, 0, "the job after it is not green:\n{next_log}");
    assert!(next_log.contains("clean"), "{next_log}");
    assert_eq!(
        http::get(site.appliance.address(), "/readyz", &[])?.status,
        200
    );
    Ok(After {
        site,
        code,
        log,
        run,
    })
}

#[test]
fn a_step_that_prints_a_gigabyte_is_cut_with_a_notice() -> Result {
    let script = "line=$(printf 'x%.0s' {1..4000})\nyes \"$line\" | head -c 1000000000\necho done";
    let after = after(script, "")?;
    let mut bytes = 0;
    let mut open = vec![after.site.appliance.data().join("logs")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                bytes += entry.metadata()?.len();
            }
        }
    }
    assert!(bytes < 12 << 20, "the logs hold {bytes} bytes");
    assert!(after.log.len() < 12 << 20);
    let end = &after.log[after.log.len().saturating_sub(3000)..];
    assert!(
        end.contains("8 MiB") || end.contains("dropped"),
        "no notice at the end:\n{end}"
    );
    Ok(())
}

#[test]
fn a_step_that_never_ends_is_ended_by_its_timeout() -> Result {
    let after = after("echo begun\nsleep infinity", "    timeout-minutes: 1\n")?;
    assert_eq!(after.code, 1);
    assert!(after.log.contains("begun"));
    let said = format!("{}{}", after.log, after.run);
    assert!(said.contains("minute") || said.contains("time"), "{said}");
    Ok(())
}

#[test]
fn a_fork_bomb_stays_within_its_process_limit() -> Result {
    let script = "bomb() { bomb | bomb & }\nbomb 2>/dev/null\nsleep 3\necho still here";
    let after = after(script, "    timeout-minutes: 2\n")?;
    assert!(after.code == 0 || after.code == 1);
    Ok(())
}

#[test]
fn a_memory_hog_is_killed_and_said_to_be() -> Result {
    let after = after("python3 -c 'x = bytearray(4 << 30); print(len(x))'", "")?;
    assert_eq!(after.code, 1, "{}", after.log);
    let said = format!("{}{}", after.log, after.run).to_lowercase();
    assert!(said.contains("memory"), "{said}");
    Ok(())
}

#[test]
fn a_disk_filler_stops_at_its_limit() -> Result {
    let script = "head -c 4G /dev/zero > /filler && echo unlimited\nls -l /filler\nexit 1";
    let after = after(script, "")?;
    assert_eq!(after.code, 1, "{}", after.log);
    assert!(
        !after.log.lines().any(|line| line.trim() == "unlimited"),
        "{}",
        after.log
    );
    Ok(())
}

#[test]
fn a_step_that_writes_to_every_path_reaches_nothing_of_the_host() -> Result {
    let name = format!("marker-of-{}", std::process::id());
    let script = format!(
        "for folder in / /bin /boot /dev /dev/shm /etc /home /lib /mnt /opt /proc /proc/sys/kernel \\\n\
         /root /run /sbin /srv /sys /sys/fs/cgroup /tmp /usr /usr/lib /var /var/tmp /var/lib; do\n\
         (echo found > \"$folder/{name}\") 2>/dev/null || true\n\
         done\n\
         touch /marker /tmp/marker\n\
         for file in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /sys/kernel/uevent_helper; do\n\
         (echo x > $file) 2>/dev/null && echo \"could write $file\"\n\
         done\n\
         mknod /tmp/disk b 8 0 2>/dev/null && echo 'could make a device'\n\
         mount -t tmpfs none /mnt 2>/dev/null && echo 'could mount'\n\
         true"
    );
    let after = after(&script, "")?;
    assert_eq!(after.code, 0, "{}", after.log);
    for reached in [
        "could write /proc/sysrq",
        "could write /proc/sys",
        "could write /sys",
        "could make",
    ] {
        let lines = after
            .log
            .lines()
            .filter(|line| line.trim().starts_with(reached));
        assert_eq!(lines.count(), 0, "{}", after.log);
    }
    for folder in [
        "/", "/etc", "/tmp", "/usr", "/var/lib", "/run", "/dev", "/dev/shm", "/root",
    ] {
        let path = std::path::Path::new(folder).join(&name);
        assert!(
            !path.exists(),
            "the job wrote {} on the host",
            path.display()
        );
    }
    Ok(())
}
