//! What is refused before anything is switched: the appliance does not even restart.

use serde_json::json;
use stories::installed::{Installed, Promise, build, faulty};
use testkit::Result;

use super::said;

/// Offers this build and sees it refused with these words, `status` saying the same beforehand
/// where the program need not be read for it.
fn refused(bytes: &[u8], promise: &Promise, words: &str) -> Result {
    let mut site = Installed::bare()?;
    let next = site.offer(bytes, promise)?;
    site.start()?;
    let before = site.running()?;
    let applied = site.update(&["apply", "--trial", "6"])?;
    let told = said(&applied);
    assert_eq!(applied.status.code(), Some(2), "{told}");
    assert!(told.contains(words), "{told}");
    assert_eq!(site.running()?, before, "it was restarted");
    assert_eq!(site.current()?, site.first);
    assert!(!site.prefix.join("versions").join(&next).exists());
    assert_eq!(site.told()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn t42_a_program_for_another_machine_under_our_label() -> Result {
    let mut foreign = faulty("")?;
    foreign[18] = 183;
    refused(&foreign, &Promise::default(), "E_ARCH")
}

#[test]
fn a_program_that_is_cut_short_or_no_program() -> Result {
    let whole = faulty("")?;
    refused(&whole[..whole.len() / 2], &Promise::default(), "E_BINARY")?;
    refused(
        b"#!/bin/sh\nexec sleep 1\n",
        &Promise::default(),
        "E_BINARY",
    )
}

#[test]
fn t43_a_bundle_that_needs_a_newer_appliance_names_the_version_to_bring() -> Result {
    let promise = Promise {
        min_appliance: "0.9.0".to_owned(),
        ..Promise::default()
    };
    refused(
        &faulty("")?,
        &promise,
        "bring a bundle with the program 0.9.0 first",
    )
}

#[test]
fn t43_a_program_that_knows_less_than_the_database_has() -> Result {
    let mut promise = Promise::default();
    promise.schema.insert("queue".to_owned(), 1);
    refused(&faulty("")?, &promise, "E_OLDER")
}

#[test]
fn t43_a_program_that_leaves_no_way_back() -> Result {
    let what = json!({ "version": "0.2.0", "migration": "DROP TABLE label_set" });
    let promise = Promise::default().with_migration();
    refused(
        &build(&what)?,
        &promise,
        "leaves nothing that this version can go back to",
    )
}

#[test]
fn a_program_that_is_not_what_its_bundle_promised() -> Result {
    let promise = Promise {
        version: "0.3.0".to_owned(),
        ..Promise::default()
    };
    refused(&faulty("")?, &promise, "E_VERSION")?;
    refused(
        &faulty("")?,
        &Promise::default().with_migration(),
        "E_SCHEMA",
    )
}

#[test]
fn t45_no_way_back_below_the_security_epoch() -> Result {
    let mut site = Installed::bare()?;
    let next = site.offer(&faulty("")?, &Promise::default())?;
    site.start()?;
    let applied = site.update(&["apply", "--trial", "6"])?;
    assert!(
        applied.status.success(),
        "{}\n{}",
        said(&applied),
        site.log()
    );
    site.stop()?;
    let later = Promise {
        epoch: 5,
        ..Promise::default()
    };
    site.offer(&faulty("")?, &later)?;
    site.start()?;
    let status = site.status()?;
    let shown = status["previous"]["refused"].as_str().unwrap_or_default();
    assert!(shown.contains("E_EPOCH"), "{status:#}");
    let back = site.update(&["rollback"])?;
    assert!(said(&back).contains("E_EPOCH"), "{}", said(&back));
    assert_eq!(site.current()?, next);
    Ok(())
}
