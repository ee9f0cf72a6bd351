//! Images in, found, served, removed; hostile ones leave nothing.

mod actions;
mod generations;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::{ImportError, Imported, Unpack, import_image};
use audit::{Auditor, Origin, Who};
use serde_json::json;
use store::{Store, StoreOptions};
use vocab::{Clock, Digest, Entropy, from_unix_ms};

/// Unpacks with the tar library, for layers that these tests made themselves.
struct Plain;

impl Unpack for Plain {
    fn unpack(
        &self,
        parent: &Path,
        name: &str,
        tar: &mut (dyn Read + Send),
    ) -> Result<Vec<String>, String> {
        let dir = parent.join(name);
        std::fs::create_dir(&dir).map_err(|e| e.to_string())?;
        tar::Archive::new(tar)
            .unpack(&dir)
            .map_err(|e| e.to_string())?;
        Ok(Vec::new())
    }
}

struct Site {
    store: Store,
    auditor: Auditor,
    _dir: tempfile::TempDir,
}

fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let all = [audit::MIGRATIONS, crate::MIGRATIONS];
    let store = Store::open(dir.path(), &all, StoreOptions::default()).unwrap();
    let origin = Origin {
        host: "test".into(),
        boot: "b".into(),
    };
    let clock = Clock::scripted(from_unix_ms(1_000));
    Site {
        store,
        auditor: Auditor::new(clock, Entropy::scripted(1), origin),
        _dir: dir,
    }
}

fn import(site: &Site, name: &str, archive: &[u8]) -> Result<Imported, ImportError> {
    let name = name.parse().unwrap();
    import_image(
        &site.store,
        &site.auditor,
        &Who::system(),
        &Plain,
        &name,
        archive,
    )
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        out.append_data(&mut header, path, *content).unwrap();
    }
    out.into_inner().unwrap()
}

fn blob_path(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes).hex())
}

/// An OCI archive of one layer; `lie` gives the configuration another diff id.
fn layout(layer: &[u8], lie: bool) -> Vec<u8> {
    let diff_id = Digest::of(if lie { b"other" } else { layer });
    let config = json!({"architecture": "amd64", "os": "linux",
        "config": {"Env": ["A=1"], "User": ""}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}})
    .to_string();
    let manifest = json!({"schemaVersion": 2,
        "config": {"mediaType": "c", "digest": Digest::of(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": Digest::of(layer), "size": layer.len()}]})
    .to_string();
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": "m",
        "digest": Digest::of(manifest.as_bytes()), "size": manifest.len()}]})
    .to_string();
    tar_of(&[
        (&blob_path(layer), layer),
        (&blob_path(config.as_bytes()), config.as_bytes()),
        (&blob_path(manifest.as_bytes()), manifest.as_bytes()),
        ("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}"),
        ("index.json", index.as_bytes()),
    ])
}

fn docker(layer: &[u8]) -> Vec<u8> {
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer)]}})
    .to_string();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["old:1"], "Layers": ["l/layer.tar"]}]);
    tar_of(&[
        ("c.json", config.as_bytes()),
        ("l/layer.tar", layer),
        ("manifest.json", manifest.to_string().as_bytes()),
    ])
}

#[test]
fn both_formats_are_taken_and_a_second_import_does_no_work_twice() {
    let site = site();
    let layer = tar_of(&[
        ("usr/bin/python3.11", b"#!"),
        ("etc/os-release", b"ID=debian"),
    ]);
    let first = import(&site, "debian", &layout(&layer, false)).unwrap();
    assert_eq!(first.known_layers, 0);
    assert_eq!(first.image.tools.python[0].version, "3.11");
    assert_eq!(first.image.env, ["A=1"]);
    let dir = crate::layer_dir(site.store.dir(), &first.image.layers[0].diff_id);
    assert_eq!(
        std::fs::read(dir.join("etc/os-release")).unwrap(),
        b"ID=debian"
    );

    let again = import(&site, "debian", &layout(&layer, false)).unwrap();
    assert_eq!((again.known_layers, again.image.id), (1, first.image.id));
    let other = import(&site, "old", &docker(&layer)).unwrap();
    assert_ne!(other.image.id, first.image.id);
    let count = site.store.read(crate::images).unwrap().len();
    assert_eq!(count, 2);
}

#[test]
fn a_lie_about_a_digest_leaves_nothing() {
    let site = site();
    let layer = tar_of(&[("a", b"1")]);
    let wrong_diff = import(&site, "x", &layout(&layer, true)).unwrap_err();
    assert!(
        matches!(wrong_diff, ImportError::Layer { .. }),
        "{wrong_diff}"
    );
    let whole = layout(&layer, false);
    let mut flipped = whole.clone();
    flipped[512 + 512] ^= 1;
    assert!(matches!(
        import(&site, "x", &flipped),
        Err(ImportError::Archive(_))
    ));
    assert!(import(&site, "x", &whole[..whole.len() / 2]).is_err());
    assert!(site.store.blobs().list().unwrap().is_empty());
    let layers = site.store.dir().join("layers");
    assert_eq!(std::fs::read_dir(layers).unwrap().count(), 0);
    assert!(site.store.read(crate::images).unwrap().is_empty());
}

#[test]
fn labels_mean_what_the_settings_say_else_the_first_image() {
    let site = site();
    let none = site.store.read(|db| {
        Ok::<_, store::StoreError>(
            crate::resolve_labels(db, &BTreeMap::new(), &["linux".into()], None).is_err(),
        )
    });
    assert!(none.unwrap());
    import(&site, "first", &layout(&tar_of(&[("a", b"1")]), false)).unwrap();
    import(&site, "second", &layout(&tar_of(&[("b", b"2")]), false)).unwrap();
    let mapping = BTreeMap::from([("gcc".to_owned(), "second".to_owned())]);
    for (label, image) in [
        ("ubuntu-latest", "first"),
        ("gcc", "second"),
        ("SECOND", "second"),
    ] {
        let found: Result<_, crate::NoImage> = site
            .store
            .read(|db| crate::resolve_labels(db, &mapping, &[label.to_owned()], None));
        assert_eq!(found.unwrap().names, [image], "{label}");
    }
}

#[test]
fn a_removed_image_is_swept_and_a_shared_layer_stays() {
    let site = site();
    let layer = tar_of(&[("a", b"1")]);
    import(&site, "one", &layout(&layer, false)).unwrap();
    import(&site, "two", &docker(&layer)).unwrap();
    let remove = |name: &str| {
        site.store
            .write::<_, audit_error::Any>(|tx| {
                Ok(crate::remove(tx, &site.auditor, &Who::system(), name)?.is_some())
            })
            .unwrap()
    };
    assert!(remove("one"));
    assert!(!remove("one"));
    assert_eq!(crate::sweep(&site.store).unwrap().layers, 0);
    assert!(remove("two"));
    assert_eq!(crate::sweep(&site.store).unwrap().layers, 1);
    assert!(site.store.blobs().list().unwrap().is_empty());
}

mod audit_error {
    //! One error for a transaction that both the store and the audit log may refuse.

    #[derive(Debug)]
    pub(super) struct Any(#[expect(dead_code, reason = "shown by Debug when a test fails")] String);

    impl From<store::StoreError> for Any {
        fn from(e: store::StoreError) -> Self {
            Self(e.to_string())
        }
    }

    impl From<audit::AppendError> for Any {
        fn from(e: audit::AppendError) -> Self {
            Self(e.to_string())
        }
    }
}
