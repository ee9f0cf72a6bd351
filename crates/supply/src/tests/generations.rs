//! Images of generations: unpacked, meant by labels, kept while they are needed.

use bundle::Item;
use bundle::manifest::{Action, FileItem, Oci, Origin};

use super::*;
use crate::testing::Draft;
use crate::{GenerationId, NoImage, Unpacked, Wants, generation, served_labels};

/// Adds an image of one layer with the file `word`; `lie` gives it a wrong diff id.
fn add(draft: &mut Draft, site: &Site, name: &str, labels: &[&str], lie: bool) -> Digest {
    let layer = tar_of(&[("word", name.as_bytes())]);
    let diff_id = Digest::of(if lie { b"other" } else { &layer });
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]}})
    .to_string();
    let manifest = json!({"schemaVersion": 2,
        "config": {"digest": Digest::of(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": Digest::of(&layer), "size": layer.len()}]})
    .to_string();
    let all = [manifest.as_bytes(), config.as_bytes(), &layer];
    let blobs: Vec<Digest> = all.iter().map(|b| draft.blob(&site.store, b)).collect();
    draft.item(Item::Oci(Oci {
        name: name.to_owned(),
        tag: "1".to_owned(),
        digest: blobs[0],
        platform: "linux/amd64".to_owned(),
        blobs: blobs.clone(),
        unpacked_bytes: 0,
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        source: Origin::default(),
    }));
    blobs[0]
}

fn unpack(site: &Site, generation: GenerationId) -> Unpacked {
    let (who, mut quiet) = (Who::system(), |_: &crate::Unpacking<'_>| {});
    let (store, auditor) = (&site.store, &site.auditor);
    crate::unpack_images(store, auditor, &who, &Plain, generation, &mut quiet).unwrap()
}

fn meaning(site: &Site, mapping: &BTreeMap<String, String>, label: &str) -> String {
    let active = site.store.read(generation::active).unwrap();
    let found: Result<_, NoImage> = site
        .store
        .read(|db| crate::resolve_labels(db, mapping, &[label.to_owned()], active));
    match found {
        Ok(image) => image.shown_name(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn labels_mean_images_of_the_generation_before_those_imported_by_hand() {
    let site = site();
    import(&site, "app", &layout(&tar_of(&[("a", b"1")]), false)).unwrap();
    import(&site, "old", &layout(&tar_of(&[("b", b"2")]), false)).unwrap();
    let mut draft = Draft::default();
    add(
        &mut draft,
        &site,
        "docker.io/lab/app",
        &["ubuntu-latest"],
        false,
    );
    add(&mut draft, &site, "lab/gcc", &[], false);
    let generation = draft.activate(&site.store, 1).unwrap();
    let none = BTreeMap::new();
    let wait = "image docker.io/lab/app:1 is being unpacked";
    assert_eq!(meaning(&site, &none, "ubuntu-latest"), wait);
    assert_eq!(unpack(&site, generation).images.len(), 2);
    assert!(unpack(&site, generation).images.is_empty(), "done once");

    let mapping = BTreeMap::from([
        ("tools".to_owned(), "gcc".to_owned()),
        ("by-hand".to_owned(), "old".to_owned()),
        ("nothing".to_owned(), "gone".to_owned()),
    ]);
    for (label, means) in [
        ("ubuntu-latest", "docker.io/lab/app:1"),
        ("app", "docker.io/lab/app:1"),
        ("docker.io/lab/app", "docker.io/lab/app:1"),
        ("gcc:1", "lab/gcc:1"),
        ("tools", "lab/gcc:1"),
        ("by-hand", "old"),
        ("old", "old"),
        // A common label that nobody gave a meaning: the image that was first by hand.
        ("linux", "app"),
    ] {
        assert_eq!(meaning(&site, &mapping, label), means, "{label}");
    }
    assert!(meaning(&site, &mapping, "nothing").contains("'gone', which is not here"));
    let listed = site.store.read(crate::images).unwrap();
    assert_eq!(
        listed.len(),
        2,
        "images of generations are not among those by hand"
    );
}

#[test]
fn an_image_that_cannot_be_unpacked_keeps_no_other_back_and_says_why() {
    let site = site();
    let mut draft = Draft::default();
    add(&mut draft, &site, "lab/bad", &[], true);
    add(&mut draft, &site, "lab/good", &["ubuntu-latest"], false);
    let generation = draft.activate(&site.store, 1).unwrap();
    let done = unpack(&site, generation);
    assert_eq!(done.images, ["lab/good:1"]);
    assert_eq!(done.failed[0].0, "lab/bad:1");
    let none = BTreeMap::new();
    let served: Result<_, NoImage> = site
        .store
        .read(|db| served_labels(db, &none, Some(generation)));
    let served = served.unwrap();
    let pending = served.pending.iter().find(|p| p.label == "bad").unwrap();
    assert!(
        pending.reason.contains("could not be unpacked") && pending.reason.contains("unpacks to"),
        "{}",
        pending.reason
    );
    assert!(served.labels.contains(&"linux".to_owned()), "{served:?}");
    assert_eq!(meaning(&site, &none, "linux"), "lab/good:1");
}

#[test]
fn what_a_retained_generation_needs_is_kept_and_the_rest_goes() {
    let site = site();
    let mut draft = Draft::default();
    add(&mut draft, &site, "lab/app", &[], false);
    let action = Action {
        name: "lab/greet".to_owned(),
        refs: BTreeMap::new(),
        pack: draft.blob(&site.store, b"pack"),
        shallow: Vec::new(),
        source: Origin::default(),
    };
    draft.item(Item::Action(action.clone()));
    let first = draft.activate(&site.store, 1).unwrap();
    unpack(&site, first);
    let dir = crate::action_dir(site.store.dir(), &action);
    std::fs::create_dir_all(&dir).unwrap();
    let mut next = Draft::default();
    let file = FileItem {
        name: "f".to_owned(),
        d: next.blob(&site.store, b"file"),
        source: Origin::default(),
    };
    next.item(Item::File(file));
    next.activate(&site.store, 2).unwrap();
    site.store.blobs().put(&b"nobody's"[..], None, 100).unwrap();
    let swept = crate::sweep(&site.store).unwrap();
    assert_eq!((swept.blobs, swept.layers, swept.actions), (1, 0, 0));

    let retire = |tx: &mut store::Tx<'_>| crate::sql::testing::retire(tx, first);
    site.store.write(retire).unwrap();
    let swept = crate::sweep(&site.store).unwrap();
    assert_eq!((swept.blobs, swept.layers, swept.actions), (4, 1, 1));
    assert!(!dir.exists());
    assert_eq!(site.store.blobs().list().unwrap(), [Digest::of(b"file")]);
}

#[test]
fn an_image_by_hand_outlives_the_generation_that_has_it_too() {
    let site = site();
    let layer = tar_of(&[("word", b"lab/app")]);
    let mut draft = Draft::default();
    add(&mut draft, &site, "lab/app", &[], false);
    let first = draft.activate(&site.store, 1).unwrap();
    unpack(&site, first);
    let by_hand = import(&site, "mine", &docker(&layer)).unwrap();
    assert_eq!(by_hand.known_layers, 1, "the layer is shared");
    site.store
        .write(|tx| crate::sql::testing::retire(tx, first))
        .unwrap();
    crate::sweep(&site.store).unwrap();
    let dir = crate::layer_dir(site.store.dir(), &by_hand.image.layers[0].diff_id);
    assert!(dir.exists());
}

#[test]
fn wants_are_counted_in_one_write_and_bounded() {
    let site = site();
    let wants = Wants::default();
    let job = vocab::JobId(7);
    for _ in 0..1000 {
        wants.note("pypi", "requests", Some(job));
    }
    wants.note("pypi", "bad\u{1b}[31mname", None);
    for n in 0..2000 {
        wants.note("file", &format!("f{n}"), None);
    }
    assert!(wants.wait(std::time::Duration::ZERO));
    assert_eq!(wants.flush(&site.store, 5).unwrap(), 1000);
    assert!(!wants.wait(std::time::Duration::ZERO));
    wants.note("pypi", "requests", Some(vocab::JobId(8)));
    wants.flush(&site.store, 9).unwrap();
    let found = site.store.read(generation::wants).unwrap();
    let first = &found[0];
    assert_eq!((first.name.as_str(), first.asks), ("requests", 1001));
    assert_eq!(
        (first.first_job, first.first_ms, first.last_ms),
        (Some(job), 5, 9)
    );
    assert!(found.iter().all(|want| !want.name.contains('\u{1b}')));
}
