//! Taking in: what is served then, what is kept when it breaks off, what is told.

use testkit::noise;

use super::site::{Here, Lab, NOW_MS};

#[test]
fn a_bundle_is_verified_taken_in_and_served() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::at(data.path(), NOW_MS);
    let big = noise(1, 50_000);
    let files: &[(&str, &[u8])] = &[("a", b"a"), ("big", &big), ("empty", b"")];
    let dir = lab.good(1, files);
    assert_eq!(here.code(&dir), "E_NO_TRUST");
    here.trust(&lab);
    let done = here.import(&dir).unwrap();
    assert!(here.serves(files));
    assert_eq!(done.generation, Some(1));
    assert_eq!(done.blobs.done, done.blobs.total);
    assert_eq!(done.bytes.done, done.bytes.total);
    assert_eq!(*here.activated.lock().unwrap(), [here.active().unwrap()]);
    let told = here.told();
    let kinds = [
        "bundle.rejected E_NO_TRUST",
        "key.root_rotated",
        "bundle.verified",
        "bundle.staged",
        "key.root_rotated",
        "key.release_added",
        "key.release_added",
        "bundle.committed",
        "epoch.raised",
    ];
    assert_eq!(told, kinds);
    let again = here.import(&dir).unwrap();
    assert!(again.notices[0].contains("active already"), "{again:?}");
    assert_eq!(here.told().len(), kinds.len());
}
