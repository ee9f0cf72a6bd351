//! A registry on loopback: what it gives is pinned by digest, and what it changes is noticed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use builder::Update;
use bundle::Item;
use serde_json::json;
use vocab::Digest;

use super::site::Site;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Path to media type and content.
type Pages = Arc<Mutex<BTreeMap<String, (String, Vec<u8>)>>>;

/// Serves `pages` until the test ends; gives its address.
fn serve(pages: Pages) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let path = first.split(' ').nth(1).unwrap();
            let found = pages.lock().unwrap().get(path).cloned();
            let (status, kind, body) = match found {
                Some((kind, body)) => ("200 OK", kind, body),
                None if path == "/v2/" => ("200 OK", "text/plain".to_owned(), Vec::new()),
                None => ("404 Not Found", "text/plain".to_owned(), b"no".to_vec()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    address
}

/// Puts an image of two platforms at `lab/app:1`; gives the digest of ours and of its layer.
fn image(pages: &Pages) -> (Digest, Digest) {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(3);
    header.set_cksum();
    layer
        .append_data(&mut header, "hello", &b"hi\n"[..])
        .unwrap();
    let layer = layer.into_inner().unwrap();
    let config = json!({ "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer)] } })
    .to_string()
    .into_bytes();
    let put = |path: String, kind: &str, body: &[u8]| {
        let page = (kind.to_owned(), body.to_vec());
        pages
            .lock()
            .unwrap()
            .insert(format!("/v2/lab/app/{path}"), page);
    };
    let part = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len() });
    for blob in [&layer, &config] {
        put(
            format!("blobs/{}", Digest::of(blob)),
            "application/octet-stream",
            blob,
        );
    }
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST,
        "config": part("application/vnd.oci.image.config.v1+json", &config),
        "layers": [part("application/vnd.oci.image.layer.v1.tar", &layer)] })
    .to_string();
    let digest = Digest::of(manifest.as_bytes());
    put(format!("manifests/{digest}"), MANIFEST, manifest.as_bytes());
    let mut ours = part(MANIFEST, manifest.as_bytes());
    ours["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let mut other = part(MANIFEST, b"other");
    other["platform"] = json!({ "os": "linux", "architecture": "arm64" });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other, ours] });
    put(
        "manifests/1".to_owned(),
        INDEX,
        index.to_string().as_bytes(),
    );
    (digest, Digest::of(&layer))
}

fn recipe(address: &str) -> String {
    format!(
        "[[oci]]\nname = \"lab/app\"\nfrom = \"{address}/lab/app\"\ntags = [\"1\"]\nlabels = [\"app\"]\n"
    )
}

#[test]
fn an_image_is_pinned_by_digest_and_fetched_again_by_it() {
    let pages = Pages::default();
    let (digest, _) = image(&pages);
    let address = serve(pages.clone());
    let site = Site::new(&recipe(&address));
    let locked = site.lock();
    let items = locked.lock.items().unwrap();
    let Item::Oci(item) = &items[0] else { panic!() };
    assert_eq!((item.digest, item.unpacked_bytes), (digest, 2048));
    assert_eq!(item.blobs.len(), 3);
    // Its tag is gone: another cache still gets it, by digest.
    pages.lock().unwrap().remove("/v2/lab/app/manifests/1");
    site.build("out", "other-cache");
}

#[test]
fn a_registry_that_sends_other_bytes_is_noticed() {
    let pages = Pages::default();
    let (_, layer) = image(&pages);
    let path = format!("/v2/lab/app/blobs/{layer}");
    pages.lock().unwrap().get_mut(&path).unwrap().1[0] ^= 1;
    let address = serve(pages);
    let site = Site::new(&recipe(&address));
    let locked = site.try_lock(Update::Nothing).unwrap();
    assert_eq!(locked.failures.len(), 1);
    let said = locked.failures[0].error.to_string();
    assert!(
        said.to_lowercase().contains("digest") || said.contains("came as"),
        "{said}"
    );
}
