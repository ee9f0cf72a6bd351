//! Story: an operator verifies a stick, takes it in, looks at what it changed, and goes back.

use serde_json::Value;
use stories::Site;
use stories::stick::Stick;
use testkit::Result;
use testkit::noise;

/// Kinds of all audit entries about bundles, trust and slips, oldest first.
fn told(site: &Site) -> Result<Vec<String>> {
    let log = site.appliance.json(&["audit", "--limit", "500"])?;
    let entries = log["entries"].as_array().ok_or("no entries")?;
    Ok(entries
        .iter()
        .filter(|line| line["cat"] == "bundle")
        .map(|line| match line["why"].as_str() {
            Some(why) => format!("{} {why}", line["act"].as_str().unwrap_or_default()),
            None => line["act"].as_str().unwrap_or_default().to_owned(),
        })
        .collect())
}

#[test]
fn a_stick_is_verified_taken_in_undone_and_taken_in_again() -> Result {
    let site = Site::serving()?;
    let on = &site.appliance;
    let stick = Stick::new(&site.folder.path().join("stick"))?;
    let text = |path: &std::path::Path| path.to_str().unwrap_or_default().to_owned();
    let first = text(&stick.bundle(Stick::draft(1), &[("hello", b"hello world")])?);
    let refused = on.run(&["bundle", "import", &first])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("E_NO_TRUST"));
    on.ok(&["bundle", "trust", &stick.fingerprint()])?;

    let verdict = on.json(&["bundle", "verify", "--deep", &first])?;
    assert_eq!(verdict["judged"]["verdict"], "new", "{verdict:#}");
    assert_eq!(verdict["bundle"]["signers"][0]["name"], "release-a");
    let done = on.json(&["bundle", "import", &first])?;
    assert_eq!(done["generation"], 1, "{done:#}");
    let again = on.ok(&["bundle", "import", &first])?;
    assert!(again.contains("active already"), "{again}");

    let big = noise(1, 3 << 20);
    let files: &[(&str, &[u8])] = &[("hello", b"hello again"), ("more/big", &big)];
    let mut draft = Stick::draft(2);
    draft
        .replaces
        .insert("file:hello".to_owned(), "*".to_owned());
    let second = text(&stick.bundle(draft, files)?);
    let diff = on.json(&["bundle", "diff", &second])?;
    assert_eq!(diff["diff"]["added"][0]["key"], "file:more/big");
    assert_eq!(diff["diff"]["moved"][0]["key"], "file:hello");
    on.ok(&["bundle", "import", &second])?;
    let history = on.json(&["bundle", "history"])?;
    let states: Vec<&Value> = history["generations"]
        .as_array()
        .ok_or("no generations")?
        .iter()
        .map(|g| &g["active"])
        .collect();
    assert_eq!(states, [true, false], "{history:#}");

    assert_eq!(
        on.run(&["bundle", "import", &first])?.status.code(),
        Some(1)
    );
    on.ok(&["bundle", "undo"])?;
    let back = on.json(&["bundle", "history"])?;
    assert_eq!(back["generations"][1]["active"], true, "{back:#}");
    on.ok(&["bundle", "import", &second])?;
    on.ok(&["bundle", "scrub"])?;
    on.ok(&["bundle", "gc"])?;

    let slip = site.folder.path().join("have.slip");
    on.ok(&["bundle", "have", "-o", &text(&slip)])?;
    let key = on.ok(&["bundle", "have", "--show-key"])?;
    let key = bundle::sign::PublicKey::parse(&key)?;
    let (have, _) = bundle::slip::open::<bundle::slip::Have>(&std::fs::read(&slip)?, Some(&key))?;
    assert_eq!((have.seq, have.keys.len()), (2, 2));
    on.ok(&[
        "bundle",
        "need",
        "-o",
        &text(&site.folder.path().join("need.slip")),
    ])?;
    let kinds = [
        "bundle.rejected E_NO_TRUST",
        "bundle.verified",
        "bundle.staged",
        "bundle.committed",
        "bundle.verified",
        "bundle.staged",
        "bundle.committed",
        "bundle.rejected E_ROLLBACK",
        "bundle.undone",
        "bundle.verified",
        "bundle.staged",
        "bundle.committed",
        "blob.scrubbed",
        "gc.run",
        "slip.exported",
        "slip.exported",
    ];
    assert_eq!(told(&site)?, kinds);
    Ok(())
}

#[test]
fn a_stick_is_verified_with_no_appliance_by_the_fingerprint_on_the_paper() -> Result {
    let folder = stories::folder()?;
    let stick = Stick::new(folder.path())?;
    let big = noise(2, 1 << 20);
    let dir = stick.bundle(Stick::draft(1), &[("big", &big)])?;
    let binary = testkit::appliance::debug_binary()?;
    let nothing = testkit::appliance::Appliance::at(&binary, &folder.path().join("none"));
    let place = dir.to_str().ok_or("the path is no text")?;
    let print = stick.fingerprint();
    let verify = |more: &[&str], print: &str| {
        let mut words = vec!["bundle", "verify", "--root-fingerprint", print];
        words.extend(more);
        words.push(place);
        nothing.run(&words)
    };
    assert_eq!(verify(&["--deep"], &print)?.status.code(), Some(0));
    let wrong = verify(&[], &print.replace(['0', '1'], "2"))?;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("E_ROOT"));
    // One flipped bit of the payload: the verdict on the signed part stands, the deep one falls.
    let volume = dir.join("vol-0001-of-0001.tar");
    let mut bytes = std::fs::read(&volume)?;
    let last = bytes.len() / 2;
    bytes[last] ^= 1;
    std::fs::write(&volume, bytes)?;
    assert_eq!(verify(&[], &print)?.status.code(), Some(0));
    let deep = verify(&["--deep"], &print)?;
    assert_eq!(deep.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&deep.stderr).contains("E_HASH"));
    Ok(())
}

#[test]
fn a_killed_appliance_takes_the_same_import_up_where_it_was() -> Result {
    let mut site = Site::serving()?;
    let stick = Stick::new(&site.folder.path().join("stick"))?;
    // The last is of two chunks.
    let sizes = (0..13).map(|n| if n < 12 { 4 << 20 } else { 72 << 20 });
    let big: Vec<Vec<u8>> = (0..).zip(sizes).map(|(n, size)| noise(n, size)).collect();
    let names: Vec<String> = (0..13).map(|n| format!("f{n:02}")).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&big)
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let dir = stick.bundle(Stick::draft(1), &files)?;
    let mount = site.folder.path().join("media");
    std::fs::create_dir(&mount)?;
    let medium = testkit::fickle::Fickle::mount(&mount, &dir)?;
    let place = mount.to_str().ok_or("the path is no text")?.to_owned();
    site.appliance
        .ok(&["bundle", "trust", &stick.fingerprint()])?;
    let whole: u64 = 120 << 20;
    for killed in 1..=3_u64 {
        medium.hold_after(medium.served() + whole / 4);
        let mut importing = site.appliance.command(&["bundle", "import", &place]);
        importing.stderr(std::process::Stdio::null());
        let mut importing = testkit::program::Program::start(&mut importing)?;
        medium.wait_held();
        let busy = site.appliance.run(&["bundle", "import", &place])?;
        assert_eq!(busy.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&busy.stderr).contains("E_BUSY"));
        // A read that waits for the medium keeps a killed process; once it is answered, it is gone.
        site.appliance
            .server()?
            .signal(rustix::process::Signal::KILL)?;
        medium.release();
        site.appliance.crash()?;
        importing.kill()?;
        site.appliance.start()?;
        let history = site.appliance.json(&["bundle", "history"])?;
        assert_eq!(
            history["unfinished"][0]["state"], "staging",
            "round {killed}: {history:#}"
        );
        assert_eq!(history["generations"], serde_json::json!([]));
    }
    let done = site.appliance.json(&["bundle", "import", &place])?;
    assert_eq!(done["generation"], 1, "{done:#}");
    let again = medium.served().saturating_sub(whole);
    // What was read and not written when it was killed: no more than the buffers.
    assert!(again < 3 * (17 << 20), "{again} bytes were read again");
    let kinds = told(&site)?;
    assert_eq!(kinds.iter().filter(|k| *k == "bundle.resumed").count(), 3);
    site.appliance.stop()?;
    site.appliance.ok(&["fsck"])?;
    Ok(())
}
