//! Story: somebody imports an image that was tampered with or made to break out.

use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use stories::Site;
use testkit::Result;

/// One entry of a layer, written as its bytes say: no library refuses to make it.
struct Entry {
    name: &'static str,
    kind: u8,
    link: &'static str,
    content: &'static [u8],
}

fn plain(name: &'static str, content: &'static [u8]) -> Entry {
    Entry {
        name,
        kind: b'0',
        link: "",
        content,
    }
}

fn layer(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        header.as_old_mut().linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_entry_type(tar::EntryType::new(entry.kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Writes an OCI layout with one layer at `folder`; gives the file of that layer.
fn layout(folder: &Path, layer: &[u8]) -> Result<PathBuf> {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8]| std::fs::write(blobs.join(digest(bytes)), bytes);
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(layer))] },
    }))?;
    let part = |kind: &str, bytes: &[u8]| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len(),
        })
    };
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": part("config.v1+json", &config),
        "layers": [part("layer.v1.tar", layer)],
    }))?;
    let index = json!({ "schemaVersion": 2, "manifests": [part("manifest.v1+json", &manifest)] });
    put(layer)?;
    put(&config)?;
    put(&manifest)?;
    std::fs::write(folder.join("index.json"), index.to_string())?;
    std::fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(blobs.join(digest(layer)))
}

/// Imports the layout at `folder`; the error says why not.
fn import(site: &Site, folder: &Path) -> Result<String> {
    site.appliance.ok(&[
        "image",
        "import",
        folder.to_str().ok_or("the path is no text")?,
    ])
}

/// Everything under `folder`, links not followed.
fn everything(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[test]
fn a_sound_image_is_taken_and_one_with_a_wrong_digest_is_not() -> Result {
    let site = Site::serving()?;
    let folder = site.folder.path().join("image");
    let file = layout(&folder, &layer(&[plain("etc/motd", b"hello\n")]))?;
    import(&site, &folder)?;
    let mut bytes = std::fs::read(&file)?;
    bytes[600] ^= 1;
    std::fs::write(&file, bytes)?;
    let second = Site::serving()?;
    let refused = import(&second, &folder)
        .err()
        .ok_or("a changed layer was taken")?
        .to_string();
    assert!(
        refused.contains("digest") || refused.contains("sha256"),
        "{refused}"
    );
    assert_eq!(
        second
            .appliance
            .json(&["image", "list"])?
            .to_string()
            .matches("sha256")
            .count(),
        0
    );
    Ok(())
}

#[test]
fn an_image_that_lacks_a_layer_is_refused() -> Result {
    let site = Site::serving()?;
    let folder = site.folder.path().join("image");
    let file = layout(&folder, &layer(&[plain("etc/motd", b"hello\n")]))?;
    std::fs::remove_file(file)?;
    assert!(import(&site, &folder).is_err());
    Ok(())
}

#[test]
fn no_layer_writes_outside_its_own_folder() -> Result {
    let bad: [(&str, Vec<Entry>); 5] = [
        ("dots", vec![plain("../../../../escaped", b"out\n")]),
        (
            "inner dots",
            vec![plain("etc/../../../../../escaped", b"out\n")],
        ),
        ("absolute", vec![plain("/escaped-absolute", b"out\n")]),
        (
            "through a link",
            vec![
                Entry {
                    name: "door",
                    kind: b'2',
                    link: "../../../..",
                    content: b"",
                },
                plain("door/escaped", b"out\n"),
            ],
        ),
        (
            "hard link",
            vec![Entry {
                name: "passwd",
                kind: b'1',
                link: "../../../../../../etc/passwd",
                content: b"",
            }],
        ),
    ];
    let site = Site::serving()?;
    for (name, entries) in bad {
        let folder = site.folder.path().join(name.replace(' ', "-"));
        layout(&folder, &layer(&entries))?;
        let verdict = import(&site, &folder);
        for path in everything(site.folder.path())? {
            let escaped = path
                .file_name()
                .is_some_and(|n| n == "escaped" || n == "escaped-absolute");
            let inside = path.starts_with(site.appliance.data().join("layers"));
            assert!(
                !escaped || inside,
                "{name}: {} ({verdict:?})",
                path.display()
            );
        }
        for outside in ["/escaped", "/escaped-absolute"] {
            assert!(!Path::new(outside).exists(), "{name} wrote {outside}");
        }
    }
    Ok(())
}

#[test]
fn devices_in_a_layer_never_become_devices() -> Result {
    use std::os::unix::fs::FileTypeExt as _;
    let site = Site::serving()?;
    let folder = site.folder.path().join("image");
    let device = Entry {
        name: "dev/disk",
        kind: b'4',
        link: "",
        content: b"",
    };
    layout(&folder, &layer(&[plain("etc/motd", b"hello\n"), device]))?;
    let verdict = import(&site, &folder);
    for path in everything(&site.appliance.data().join("layers"))? {
        let kind = std::fs::symlink_metadata(&path)?.file_type();
        assert!(!kind.is_block_device(), "{} ({verdict:?})", path.display());
    }
    Ok(())
}
