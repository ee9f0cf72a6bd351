//! The line that a client of SSH asks to be run: one of git's two commands and one repo, or nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/ssh/src/exec.rs"]
mod exec;

use exec::{GitCommand, GitVerb};

fuzz_target!(|bytes: &[u8]| {
    let Ok(command) = GitCommand::parse(bytes) else {
        return;
    };
    let line = std::str::from_utf8(bytes).expect("what is no text is refused");
    let verb = match command.verb {
        GitVerb::UploadPack => "upload-pack",
        GitVerb::ReceivePack => "receive-pack",
    };
    let own = [format!("git-{verb} "), format!("git {verb} ")];
    let rest = own.iter().find_map(|own| line.strip_prefix(own));
    assert!(rest.is_some(), "the verb is the one that was written: {line:?}");
    let repo = command.repo.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    assert!(repo.chars().all(plain), "nothing that a shell looks at: {repo:?}");
    let parts: Vec<&str> = repo.split('/').collect();
    let inside = |part: &&str| !part.is_empty() && !part.starts_with('.');
    assert!(parts.len() == 2 && parts.iter().all(inside), "an owner and a name: {repo:?}");
    let again = GitCommand::parse(format!("git-{verb} '/{repo}.git'").as_bytes());
    assert_eq!(again.ok(), Some(command), "what was read is read again");
});
