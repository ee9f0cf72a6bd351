//! What `doctor` says of an installation: what is there, what is missing, and the exact mend.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sandbox::{Finding, FindingState};
use vocab::Clock;

use super::place::Place;
use super::record::Record;
use super::{accounts, background, confine, units};
use crate::tls;

/// Less free than this and jobs, imports and pushes soon fail.
const FREE_BYTES: u64 = 5 << 30;
/// A certificate that is renewed by itself never has less left than this.
const CERTIFICATE_LEFT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Every row. `data` is what the command line says; an installation knows better.
pub(crate) fn findings(place: &Place, data: &Path) -> Vec<Finding> {
    let mut rows = Vec::new();
    let installed = match Record::load(place) {
        Ok(record) => record,
        Err(error) => {
            let words = format!("{error:#}");
            rows.push(missing("installation", words, "run this as root"));
            None
        }
    };
    let data = installed.as_ref().map_or(data, |record| &record.data);
    rows.push(clock(Clock::system().now()));
    if installed.is_some() {
        rows.push(program(place));
        rows.extend(running(place));
        rows.push(account(place));
        rows.extend(confine::look(place));
    }
    if data.exists() {
        rows.push(disk(data));
        rows.extend(certificate(data));
    }
    rows
}

pub(super) fn ok(name: &str, words: impl Into<String>) -> Finding {
    Finding {
        name: name.to_owned(),
        state: FindingState::Ok,
        words: words.into(),
        mend: String::new(),
    }
}

pub(super) fn missing(name: &str, words: impl Into<String>, mend: &str) -> Finding {
    Finding {
        name: name.to_owned(),
        state: FindingState::Missing,
        words: words.into(),
        mend: mend.to_owned(),
    }
}

/// A host whose battery is empty wakes up in 1970.
fn clock(now: SystemTime) -> Finding {
    let shown = jiff::Timestamp::try_from(now)
        .map(|t| t.strftime("%Y-%m-%d %H:%M UTC").to_string())
        .unwrap_or_default();
    if now < tls::floor() {
        let mend = "set it: date --utc --set 'YYYY-MM-DD HH:MM' (then hwclock --systohc)";
        return missing("clock", format!("it says {shown}, which is over"), mend);
    }
    ok("clock", shown)
}

fn program(place: &Place) -> Finding {
    let name = "program";
    match fs::canonicalize(place.program()) {
        Ok(path) => ok(name, path.display().to_string()),
        Err(error) => missing(
            name,
            format!("{}: {error}", place.program().display()),
            "run `cofferdam install` again from the medium",
        ),
    }
}

/// The units and what systemd gave the launcher, or the process in the background.
fn running(place: &Place) -> Vec<Finding> {
    if !place.has_systemd() {
        return vec![match background::running(place) {
            Some(pid) => ok("serving process", format!("process {pid}")),
            None => missing(
                "serving process",
                "none runs, and no systemd would start one",
                "run `cofferdam install` again, or `cofferdam serve` from the host's start-up",
            ),
        }];
    }
    let mut rows: Vec<Finding> = [units::SERVICE, units::LAUNCHER]
        .into_iter()
        .map(|unit| match units::state(unit).as_str() {
            "active" => ok(unit, "active"),
            state => {
                let mend = format!("systemctl start {unit}; journalctl -u {unit} says why");
                missing(unit, state.to_owned(), &mend)
            }
        })
        .collect();
    let group = PathBuf::from("/sys/fs/cgroup/system.slice").join(units::LAUNCHER);
    if let Ok(text) = fs::read_to_string(group.join("cgroup.controllers")) {
        let has = |name: &str| text.split_whitespace().any(|word| word == name);
        let name = "control groups for the launcher";
        rows.push(match has("memory") && has("pids") {
            true => ok(name, format!("delegated: {}", text.trim())),
            false => missing(
                name,
                format!("delegated: '{}', which lacks memory or pids", text.trim()),
                "systemctl edit cofferdam-launcher.service, add [Service] Delegate=yes, restart it",
            ),
        });
    }
    rows
}

fn account(place: &Place) -> Finding {
    let name = "user and ids";
    match accounts::find(place) {
        Some(account) => ok(
            name,
            format!(
                "{} is {}:{}; ids of jobs begin at {}",
                accounts::NAME,
                account.uid,
                account.gid,
                account.first_id
            ),
        ),
        None => missing(
            name,
            "the user cofferdam, or its line in /etc/subuid, is not there",
            "run `cofferdam install` again",
        ),
    }
}

fn disk(data: &Path) -> Finding {
    let name = "free space";
    let facts = match rustix::fs::statvfs(data) {
        Ok(facts) => facts,
        Err(error) => {
            let words = format!("{}: {error}", data.display());
            return missing(name, words, "run this as root");
        }
    };
    let free = facts.f_bavail * facts.f_frsize;
    let words = format!("{} MiB in {}", free >> 20, data.display());
    if free < FREE_BYTES {
        let mend = "remove images with `cofferdam image remove`, or give the disk more room";
        return missing(name, words, mend);
    }
    ok(name, words)
}

fn certificate(data: &Path) -> Option<Finding> {
    let name = "certificate";
    if !tls::exists(data) {
        return None;
    }
    let shown = match tls::show(data, Clock::system().now()) {
        Ok(shown) => shown,
        Err(error) => return Some(missing(name, format!("{error:#}"), "run this as root")),
    };
    let mend = match shown.own_authority {
        true => "cofferdam tls renew",
        false => "bring the site's next one: cofferdam tls init --cert FILE --key FILE",
    };
    Some(match shown.left_s {
        Some(left) if left > CERTIFICATE_LEFT.as_secs() => {
            ok(name, format!("good until {}", shown.expires))
        }
        Some(_) => missing(name, format!("good only until {}", shown.expires), mend),
        None => missing(name, format!("over since {}", shown.expires), mend),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_1970_is_named_with_its_mend() {
        let row = clock(SystemTime::UNIX_EPOCH + Duration::from_secs(60));
        assert_eq!(row.state, FindingState::Missing);
        assert!(row.words.contains("1970-01-01") && row.mend.contains("date"));
        assert_eq!(clock(tls::floor()).state, FindingState::Ok);
    }

    #[test]
    fn a_host_without_an_installation_has_no_rows_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let rows = findings(&Place::new(dir.path()), &dir.path().join("none"));
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].name, "clock");
    }
}
