//! A generation that is served, names that nobody brought, and a medium with the next one.

use std::collections::BTreeMap;
use std::path::Path;

use audit::Who;
use bundle::Item;
use bundle::manifest::{
    Action, FileItem, Oci, Origin, Pypi, PypiFile, SelfUpdate, Tool, ToolFormat,
};
use supply::testing::{Load, Stick};
use web::App;

use super::Result;

fn from(uri: &str, checked: &str) -> Origin {
    Origin {
        uri: uri.into(),
        checked: checked.into(),
    }
}

fn image(load: &mut Load, name: &str, tag: &str, labels: &[&str], seed: &str) -> Item {
    let config = load.blob(format!("{{\"config\":\"{seed}\"}}").as_bytes());
    let layer = load.blob(format!("layer of {name} {seed}").repeat(9_000).as_bytes());
    let digest = load.blob(format!("{{\"schemaVersion\":2,\"seed\":\"{seed}\"}}").as_bytes());
    let mut blobs = vec![config, layer, digest];
    blobs.sort();
    Item::Oci(Oci {
        name: name.into(),
        tag: tag.into(),
        digest,
        platform: "linux/amd64".into(),
        blobs,
        unpacked_bytes: 183 << 20,
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        source: from(&format!("docker://{name}:{tag}"), "digest"),
    })
}

fn action(load: &mut Load, name: &str, refs: &[(&str, &str)]) -> Item {
    let pack = load.blob(format!("pack of {name} {refs:?}").repeat(400).as_bytes());
    let refs: BTreeMap<String, String> = refs
        .iter()
        .map(|(name, id)| (format!("refs/tags/{name}"), id.repeat(5)))
        .collect();
    Item::Action(Action {
        name: name.into(),
        refs,
        pack,
        shallow: Vec::new(),
        source: from(&format!("https://github.com/{name}"), "commit id"),
    })
}

fn project(load: &mut Load, name: &str, files: &[&str]) -> Item {
    let mut listed: Vec<PypiFile> = files
        .iter()
        .map(|file| PypiFile {
            filename: (*file).to_owned(),
            d: load.blob(format!("bytes of {file}").repeat(3_000).as_bytes()),
            requires_python: ">=3.9".into(),
            yanked: None,
            core_metadata: None,
        })
        .collect();
    listed.sort_by(|a, b| a.filename.cmp(&b.filename));
    Item::Pypi(Pypi {
        name: name.into(),
        files: listed,
        source: from(&format!("pypi:{name}"), "hash in the index"),
    })
}

fn tool(load: &mut Load, name: &str, version: &str) -> Item {
    Item::Toolcache(Tool {
        name: name.into(),
        version: version.into(),
        arch: "x64".into(),
        d: load.blob(format!("tool {name} {version}").repeat(60_000).as_bytes()),
        format: ToolFormat::TarGz,
        strip: 0,
        source: from(
            &format!("https://github.com/actions/{name}-versions/{version}").to_lowercase(),
            "SHA-256 in the lock",
        ),
    })
}

fn file(load: &mut Load, name: &str, text: &str) -> FileItem {
    FileItem {
        name: name.into(),
        d: load.blob(text.as_bytes()),
        source: from(&format!("file:recipes/{name}"), "SHA-256 in the lock"),
    }
}

const GUIDE: &str = "# Carrying bundles\n\nBring the stick *and* the paper.\n\n\
    1. Compare the fingerprint.\n2. Look at the medium.\n3. Import it.\n\n\
    | what | where |\n|--|--|\n| sticks | the safe |\n| paper | the other safe |\n";

fn program(load: &mut Load, version: &str) -> Item {
    Item::Selfupdate(SelfUpdate {
        version: version.into(),
        arch: "amd64".into(),
        d: load.blob(format!("program {version}").as_bytes()),
        schema: BTreeMap::new(),
        source: from("cofferdam", "built here"),
    })
}

fn before() -> Load {
    let mut load = Load::default();
    let on = &mut load;
    let mut items = vec![
        image(
            on,
            "docker.io/library/debian",
            "12",
            &["debian-latest", "ubuntu-latest"],
            "81c3",
        ),
        image(on, "lab/firmware-tools", "3", &["firmware"], "1f00"),
        action(
            on,
            "actions/checkout",
            &[("v4", "11bd7190"), ("v4.2.2", "11bd7190")],
        ),
        action(on, "actions/cache", &[("v4", "5a3ec84e")]),
        project(
            on,
            "ruff",
            &[
                "ruff-0.9.1-py3-none-manylinux_2_17_x86_64.whl",
                "ruff-0.9.1.tar.gz",
            ],
        ),
        project(
            on,
            "requests",
            &["requests-2.32.3-py3-none-any.whl", "requests-2.32.3.tar.gz"],
        ),
        project(
            on,
            "numpy",
            &[
                "numpy-2.2.1-cp311-cp311-manylinux_2_17_x86_64.whl",
                "numpy-2.2.1-cp312-cp312-manylinux_2_17_x86_64.whl",
                "numpy-2.2.1-cp313-cp313-manylinux_2_17_x86_64.whl",
                "numpy-2.2.1.tar.gz",
            ],
        ),
        tool(on, "Python", "3.12.7"),
        tool(on, "node", "18.20.8"),
    ];
    items.push(Item::File(file(on, "ca/lab-root.pem", "-----BEGIN\n")));
    items.push(Item::Doc(file(on, "carrying.md", GUIDE)));
    items.push(program(on, "0.1.0"));
    load.items = items;
    load
}

fn after(big: &[u8]) -> Load {
    let mut load = before();
    load.items.retain(|item| {
        !["toolcache:node:18.20.8:x64", "selfupdate:amd64"].contains(&item.key().as_str())
            && !item.key().starts_with("action:actions/checkout")
            && !item.key().starts_with("oci:docker.io")
    });
    let on = &mut load;
    let checkout = [
        ("v4", "08eba0b2"),
        ("v4.2.2", "11bd7190"),
        ("v5", "08c6903c"),
    ];
    let mut items = vec![
        image(
            on,
            "docker.io/library/debian",
            "12",
            &["debian-latest", "ubuntu-latest"],
            "a90d",
        ),
        action(on, "actions/checkout", &checkout),
        tool(on, "Python", "3.14.1"),
        project(on, "pyserial", &["pyserial-3.5-py2.py3-none-any.whl"]),
        program(on, "0.1.1"),
    ];
    let mut data = file(on, "datasets/lidar-2026-11.bin", "");
    data.d = on.blob(big);
    items.push(Item::File(data));
    on.items.extend(items);
    on.removes = vec!["toolcache:node:18.20.8:x64".into()];
    on.replaces = vec![
        "action:actions/checkout@v4".into(),
        "oci:docker.io/library/debian:12".into(),
    ];
    load
}

/// Brings in what is served and leaves a medium below `media`.
pub(super) fn stock(app: &App, media: &Path) -> Result<()> {
    let stick = Stick::new(media);
    let who = Who::system();
    supply::bundles::pin(&app.store, &app.auditor, &who, &stick.fingerprint())?;
    let first = stick.bundle(42, before());
    app.intake.begin(&first, &who, false)?.run()?;
    std::fs::remove_dir_all(first)?;
    let mut big = vec![0_u8; 600 << 20];
    for (at, word) in big.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    }
    drop(stick.bundle(43, after(&big)));
    let now_ms = vocab::unix_ms(app.clock.now());
    let job = Some(vocab::JobId(3));
    for (kind, name, asks) in [
        ("pypi", "pyserial", 14),
        ("action", "docker/build-push-action@v6", 3),
        ("toolcache", "Python 3.14", 3),
        ("oci", "lab/hmi-builder:2", 1),
    ] {
        for _ in 0..asks {
            app.wants.note(kind, name, job);
        }
    }
    app.wants.flush(&app.store, now_ms)?;
    Ok(())
}
