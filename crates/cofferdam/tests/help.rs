//! The program itself: every verb has help, and a wrong one is told what there is.
//!
//! That this stands beside the binary also has the test runner build it, which the stories need.

use std::io;
use std::process::{Command, Output};

fn cofferdam(words: &[&str]) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(words)
        .output()
}

#[test]
fn every_verb_has_help() -> io::Result<()> {
    for verb in [
        "init",
        "serve",
        "user",
        "token",
        "repo",
        "secret",
        "image",
        "run",
        "workflow",
        "queue",
        "try",
        "doctor",
        "inspect",
        "fsck",
        "audit",
        "completions",
    ] {
        let said = cofferdam(&[verb, "--help"])?;
        assert!(said.status.success(), "{verb}");
        assert!(said.stdout.len() > 200, "{verb}");
    }
    Ok(())
}

#[test]
fn a_wrong_verb_is_refused_with_the_nearest_one() -> io::Result<()> {
    let said = cofferdam(&["serv"])?;
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("'serve'"));
    Ok(())
}

#[test]
fn completions_know_the_verbs() -> io::Result<()> {
    let said = cofferdam(&["completions", "bash"])?;
    assert!(String::from_utf8_lossy(&said.stdout).contains("inspect"));
    Ok(())
}
