//! Another build of the program: what it is and what is wrong with it stands at the end of its
//! own file. Without that it is the program as it is.
//!
//! The faults live here and nowhere in the product; whatever is not faulty is the real thing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, exit};
use std::time::Duration;

use cofferdam::Program;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use store::Migrations;
use vocab::Clock;

/// Begins the words at the end of the file.
const MARK: &[u8] = b"\n#candidate ";

/// What this build is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Build {
    /// Its version; empty for that of the source tree.
    version: String,
    /// What is wrong with it; empty for nothing.
    fault: String,
    /// Further SQL for the queue's tables; empty for none.
    migration: String,
    /// Whether `update describe` keeps quiet about that.
    hides: bool,
    /// Makes this file differ from others.
    salt: String,
}

fn main() -> ExitCode {
    let build = read_own_end();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let serves = words.iter().any(|word| word == "serve");
    let hides = build.hides && words.iter().any(|word| word == "describe");
    if serves {
        fault(&build, &words);
    }
    cofferdam::run(program(&build, hides, serves))
}

fn read_own_end() -> Build {
    let mut all = Vec::new();
    let read = std::fs::File::open("/proc/self/exe").and_then(|mut own| own.read_to_end(&mut all));
    if read.is_err() {
        return Build::default();
    }
    let from = all.len().saturating_sub(4096);
    let end = &all[from..];
    let Some(at) = end.windows(MARK.len()).rposition(|piece| piece == MARK) else {
        return Build::default();
    };
    serde_json::from_slice(&end[at + MARK.len()..]).unwrap_or_default()
}

/// The real program, with this build's version and tables.
fn program(build: &Build, hides: bool, serves: bool) -> Program {
    let keep = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let mut program = Program::THIS;
    if !build.version.is_empty() {
        program.version = keep(&build.version);
    }
    if serves && build.fault == "says another version" {
        program.version = "7.7.7";
    }
    if build.migration.is_empty() || hides {
        return program;
    }
    let all = program.migrations.iter().map(|one| {
        if one.owner != "queue" {
            return *one;
        }
        let mut files = one.files.to_vec();
        files.push(("9999_candidate", keep(&build.migration)));
        Migrations {
            owner: one.owner,
            files: Box::leak(files.into_boxed_slice()),
        }
    });
    program.migrations = Box::leak(all.collect::<Vec<_>>().into_boxed_slice());
    program
}

/// Does what is wrong with a build that serves. Comes back where the rest goes on as usual.
fn fault(build: &Build, words: &[String]) {
    match build.fault.as_str() {
        "exits at once" => exit(1),
        "exits after a second" => {
            Clock::sleep(Duration::from_secs(1));
            exit(1);
        }
        "hangs" => loop {
            Clock::sleep(Duration::from_secs(60));
        },
        "panics later" => later(|| {
            Clock::sleep(Duration::from_secs(4));
            eprintln!("this build panics now");
            exit(101);
        }),
        "listens elsewhere" => serve_instead(words, "127.0.0.1:0"),
        "port taken" if std::env::var_os("CANDIDATE_AGAIN").is_none() => {
            let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
            let address = taken.local_addr().expect("it is bound").to_string();
            let status = Command::new("/proc/self/exe")
                .args(with_listen(words, &address))
                .env("CANDIDATE_AGAIN", "1")
                .status();
            drop(taken);
            exit(status.ok().and_then(|s| s.code()).unwrap_or(1));
        }
        "eats memory" => later(|| {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            // More than any limit allows, and no danger to the machine.
            while eaten.len() < 40 {
                eaten.push(vec![1; 64 << 20]);
                Clock::sleep(Duration::from_millis(50));
            }
            loop {
                Clock::sleep(Duration::from_secs(60 + eaten.len() as u64));
            }
        }),
        "never ready" => never_ready(build, words),
        "no sandbox" => {
            let none = rustix::thread::CapabilitySet::empty();
            let mut sets = rustix::thread::capabilities(None).expect("they can be read");
            let lost = rustix::thread::CapabilitySet::SYS_ADMIN;
            sets.effective -= lost;
            sets.permitted -= lost;
            sets.inheritable = none;
            rustix::thread::remove_capability_from_bounding_set(lost).expect("root may give it up");
            rustix::thread::set_capabilities(None, sets).expect("root may give it up");
        }
        "deletes its socket" => later(|| {
            let socket = data().join("control.sock");
            loop {
                drop(std::fs::remove_file(&socket));
                Clock::sleep(Duration::from_millis(2));
            }
        }),
        _ => {}
    }
}

fn later(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

fn data() -> PathBuf {
    std::env::var_os("COFFERDAM_DATA")
        .map(PathBuf::from)
        .expect("the data directory is given")
}

fn with_listen(words: &[String], address: &str) -> Vec<String> {
    let mut words = words.to_vec();
    if let Some(at) = words.iter().position(|word| word == "--listen") {
        address.clone_into(&mut words[at + 1]);
    }
    words
}

/// Starts this file again with another address, once.
fn serve_instead(words: &[String], address: &str) {
    if std::env::var_os("CANDIDATE_AGAIN").is_some() {
        return;
    }
    let error = Command::new("/proc/self/exe")
        .args(with_listen(words, address))
        .env("CANDIDATE_AGAIN", "1")
        .exec();
    eprintln!("cannot start again: {error}");
    exit(1);
}

/// Answers what it is, truly, and that it is not ready, for ever.
fn never_ready(build: &Build, words: &[String]) -> ! {
    let own = std::fs::read("/proc/self/exe").expect("its own file");
    let sha256 = hex::encode(Sha256::digest(&own));
    let at = words.iter().position(|word| word == "--listen");
    let address = at
        .map(|at| words[at + 1].clone())
        .expect("an address is given");
    let who = serde_json::json!({
        "version": build.version, "sha256": sha256, "pid": std::process::id(),
        "address": address, "any_port": false, "secure": false, "held": null,
    });
    let socket = data().join("control.sock");
    drop(std::fs::remove_file(&socket));
    let control = UnixListener::bind(&socket).expect("the socket can be made");
    let web = TcpListener::bind(&address).expect("the port is free");
    later(move || {
        for stream in web.incoming().flatten() {
            answer(stream, "{}");
        }
    });
    for stream in control.incoming().flatten() {
        answer(stream, &who.to_string());
    }
    exit(1);
}

fn answer(mut stream: impl Read + Write, body: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    let ready = String::from_utf8_lossy(&head).contains("/readyz");
    let status = if ready {
        "503 Service Unavailable"
    } else {
        "200 OK"
    };
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    drop(stream.write_all(text.as_bytes()));
}
