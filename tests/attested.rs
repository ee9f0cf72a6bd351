//! Story: what is signed of a job proves itself against the log, here and far away, and a kill
//! between a job's end and its statements loses none of them.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use stories::Site;
use testkit::Result;
use testkit::appliance::Appliance;

const REPO: &str = "lab/app";
const WORKFLOW: &str = "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: echo hello\n  skipped:\n    needs: test\n    if: false\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo never\n";

fn code(out: &std::process::Output) -> (Option<i32>, String) {
    let said = [&out.stdout[..], &out.stderr[..]].concat();
    (
        out.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn payload(envelope: &Path) -> Result<Value> {
    let envelope: Value = serde_json::from_slice(&fs::read(envelope)?)?;
    let payload = envelope["payload"].as_str().ok_or("no payload")?;
    Ok(serde_json::from_slice(&STANDARD.decode(payload)?)?)
}

/// The folder of the one job that ran.
fn job_folder(out: &Path) -> Result<std::path::PathBuf> {
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        if path.is_dir() {
            return Ok(path);
        }
    }
    Err("no job was attested".into())
}

fn ran() -> Result<(Site, String)> {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let tree = site.tree_with("tree", WORKFLOW)?;
    let commit = tree.commit("second")?;
    let (status, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(status, 0, "{log}");
    Ok((site, commit))
}

#[test]
fn a_job_is_proved_on_its_appliance_and_far_from_it() -> Result {
    let (mut site, commit) = ran()?;
    let said = site.appliance.ok(&["run", "verify", REPO, "1"])?;
    assert!(said.ends_with("give it with --key\n"), "{said}");
    assert!(said.contains("nobody ran it"), "{said}");
    let told = site.appliance.json(&["run", "verify", REPO])?;
    assert_eq!(told["good"], true, "{told}");
    let checks = told["jobs"][0]["checks"].as_array().ok_or("no checks")?;
    assert_eq!(checks.len(), 6, "{told}");
    assert!(checks.iter().all(|check| check["holds"] == true), "{told}");

    let out = site.folder.path().join("proof");
    let out_text = out.display().to_string();
    site.appliance
        .ok(&["run", "attest", REPO, "1", "-o", &out_text])?;
    let cfa = site.folder.path().join("all.cfa").display().to_string();
    let exported = site.appliance.json(&["audit", "export", "-o", &cfa])?;
    assert_eq!(exported["statements"], 2, "{exported}");
    let key = fs::read_to_string(site.appliance.data().join("audit/log.key"))?;
    site.appliance.stop()?;
    fs::remove_dir_all(site.appliance.data())?;

    far_away(&site.appliance, &out, &key)?;
    said_of_the_job(&job_folder(&out)?, &commit)
}

/// With nothing but the folder and the key from paper.
fn far_away(program: &Appliance, out: &Path, key: &str) -> Result {
    let out_text = out.display().to_string();
    let words = ["run", "verify", "--offline", &out_text, "--key", key];
    let told = program.json(&words)?;
    assert_eq!(told["good"], true, "{told}");
    let dir = job_folder(out)?;
    for (file, wrong) in [
        ("provenance.dsse.json", "provenance.dsse.json is signed"),
        ("receipt.dsse.json", "receipt.dsse.json is signed"),
        ("log", "the job's log is the one"),
        ("checkpoint", "the checkpoint is signed"),
        ("entry.json", "under the signed root"),
    ] {
        let path = dir.join(file);
        let whole = fs::read(&path)?;
        let mut changed = whole.clone();
        let at = whole.len() / 2;
        changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
        fs::write(&path, changed)?;
        let (status, said) = code(&program.run(&words)?);
        assert_eq!(status, Some(1), "{file}: {said}");
        assert!(
            said.contains(&format!("WRONG  {wrong}")) || file == "entry.json",
            "{said}"
        );
        fs::write(&path, whole)?;
    }
    // Another log's key: nothing of it is believed.
    let stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let words = ["run", "verify", "--offline", &out_text, "--key", stranger];
    let (status, said) = code(&program.run(&words)?);
    assert!(status == Some(1) && said.contains("REFUSED"), "{said}");
    let nowhere = program.run(&["run", "verify", "--offline", "/nowhere"])?;
    assert_eq!(code(&nowhere).0, Some(2));
    Ok(())
}

fn said_of_the_job(dir: &Path, commit: &str) -> Result {
    let provenance = payload(&dir.join("provenance.dsse.json"))?;
    assert_eq!(
        provenance["predicateType"],
        "https://slsa.dev/provenance/v1"
    );
    assert_eq!(provenance["subject"][0]["digest"]["gitCommit"], commit);
    let asked = &provenance["predicate"]["buildDefinition"]["externalParameters"];
    assert_eq!(asked["workflow"]["path"], ".github/workflows/ci.yml");
    assert_eq!(asked["workflow"]["repository"], REPO);
    let made_from = &provenance["predicate"]["buildDefinition"]["resolvedDependencies"];
    let image = made_from[1]["digest"]["sha256"]
        .as_str()
        .ok_or("no image")?;
    assert_eq!(image.len(), 64, "{made_from}");
    let receipt = payload(&dir.join("receipt.dsse.json"))?;
    assert_eq!(receipt["predicate"]["outcome"], "success");
    assert_eq!(receipt["subject"], provenance["subject"]);
    assert!(
        receipt["predicate"]["could"]["layers"].is_array(),
        "{receipt}"
    );
    assert_eq!(
        receipt["predicate"]["did"]["steps"][0]["outcome"],
        "success"
    );
    Ok(())
}

#[test]
fn statements_that_a_kill_cut_off_are_made_at_the_next_start() -> Result {
    let (mut site, _) = ran()?;
    site.appliance.ok(&["run", "verify", REPO])?;
    site.appliance.crash()?;
    // As if the process had been killed before they were written.
    let forget = "INSERT INTO attest_due SELECT job, attempt FROM attestation; \
                  DELETE FROM attestation;";
    in_database(&site, forget)?;
    site.appliance.start()?;
    let told = site.appliance.json(&["run", "verify", REPO])?;
    assert_eq!(told["good"], true, "{told}");

    // One that was changed where it is kept is named.
    site.appliance.stop()?;
    site.appliance.ok(&["fsck"])?;
    in_database(&site, "UPDATE attestation SET receipt = provenance;")?;
    let (status, said) = code(&site.appliance.run(&["fsck"])?);
    assert!(
        status == Some(1) && said.contains("receipt.dsse.json: its digest"),
        "{said}"
    );
    site.appliance.start()?;
    let (status, said) = code(&site.appliance.run(&["run", "verify", REPO])?);
    assert!(
        status == Some(1) && said.contains("WRONG  receipt.dsse.json"),
        "{said}"
    );
    Ok(())
}

/// Does what nobody but an intruder would do to a stopped appliance.
fn in_database(site: &Site, sql: &str) -> Result {
    let script = "import sqlite3,sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
    let out = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(site.appliance.data().join("cofferdam.db"))
        .arg(sql)
        .output()?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!("{out:?}").into()),
    }
}

/// Layer by layer, with controls, the same is tried in `sandbox`.
#[test]
fn a_job_that_goes_for_the_keys_of_its_appliance_finds_none() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let data = fs::canonicalize(site.appliance.data())?;
    let data = data.display();
    let script = format!(
        "find / -xdev \\( -name attest.key -o -name 'audit.*' -o -name attest.pub \\) 2>/dev/null\n\
         for p in '' /proc/[0-9]*/root /proc/[0-9]*/cwd; do cat $p{data}/keys/* && echo GOT; done\n\
         grep -l attest.key /proc/[0-9]*/environ /proc/[0-9]*/maps\n\
         ls {data} && echo GOT\n\
         mkdir -p /tmp/m && mount --bind {data} /tmp/m && echo GOT\n\
         echo ended"
    );
    let steps: String = script
        .lines()
        .map(|line| format!("          {line}\n"))
        .collect();
    let workflow = format!(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - shell: bash\n        run: |\n          set +e\n{steps}"
    );
    let tree = site.tree_with("tree", &workflow)?;
    let (status, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(status, 0, "{log}");
    let printed: Vec<&str> = log
        .lines()
        .filter(|line| matches!(line.trim(), "GOT" | "ended") || line.ends_with(".key"))
        .collect();
    assert_eq!(printed, ["ended"], "{log}");
    assert!(site.appliance.data().join("keys/attest.key").exists());
    Ok(())
}
