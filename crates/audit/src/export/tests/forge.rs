//! Exports made anew by whoever has the keys: other content, with digests and signatures that fit.

use super::*;

/// The files of an export in their order, but for the manifest and what signs it.
pub(super) type Files = Vec<Extra>;

/// One of them.
pub(super) fn part<'a>(files: &'a mut [Extra], name: &str) -> &'a mut Vec<u8> {
    let found = files.iter_mut().find(|(own, _)| own == name);
    found.map(|(_, bytes)| bytes).unwrap()
}

/// The export that is `wanted`, changed and signed again with the keys of `bed`.
pub(super) fn remade(
    bed: &Bed,
    wanted: Wanted,
    change: impl FnOnce(&mut Manifest, &mut Files),
) -> PathBuf {
    let (_, bytes) = bed.bytes(wanted).unwrap();
    let mut from = std::io::Cursor::new(&bytes);
    let places = evidence::archive::list(&mut from, bytes.len() as u64).unwrap();
    let mut files = Files::new();
    for place in &places {
        let content = evidence::archive::content(&mut from, place, 1 << 30).unwrap();
        files.push((place.name.clone(), content));
    }
    let mut manifest: Manifest = serde_json::from_slice(part(&mut files, "MANIFEST.json")).unwrap();
    files.retain(|(name, _)| !name.starts_with("MANIFEST"));
    manifest.files.clear();
    change(&mut manifest, &mut files);
    let mut writer = Writer::new(Vec::new());
    for (name, content) in &files {
        writer.file(name, content).unwrap();
    }
    for file in writer.files() {
        let facts = FileFacts {
            size: file.size,
            sha256: hex::encode(file.sha256),
        };
        manifest.files.insert(file.name.clone(), facts);
    }
    let text = json(&manifest).unwrap();
    let digest: Hash = Sha256::digest(text.as_bytes()).into();
    writer.file("MANIFEST.json", text.as_bytes()).unwrap();
    let note = bed.seal.note(&statement(&manifest.origin, &digest));
    writer.file("MANIFEST.json.note", note.as_bytes()).unwrap();
    let minisig = bed.seal.minisign(text.as_bytes(), "x").unwrap();
    writer
        .file("MANIFEST.json.minisig", minisig.as_bytes())
        .unwrap();
    let path = bed.dir.path().join("forged.cfa");
    fs::write(&path, writer.finish().unwrap()).unwrap();
    path
}

/// What is said of an export of everything whose entries are changed, line by line.
pub(super) fn forged(bed: &Bed, change: impl Fn(&mut Vec<String>)) -> Verdict {
    forged_in(bed, "events/", change)
}

/// The same, where the files that begin with `names` are changed, line by line.
pub(super) fn forged_in(bed: &Bed, names: &str, change: impl Fn(&mut Vec<String>)) -> Verdict {
    let path = remade(bed, Wanted::default(), |_, files| {
        for (_, content) in files.iter_mut().filter(|(name, _)| name.starts_with(names)) {
            let text = String::from_utf8(content.clone()).unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            change(&mut lines);
            *content = lines
                .iter()
                .flat_map(|line| [line.as_bytes(), b"\n"].concat())
                .collect();
        }
    });
    judged(&path, &bed.anchors())
}

/// Where a file of the export at `path` begins.
pub(super) fn offset(path: &Path, name: &str) -> u64 {
    let mut file = fs::File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let places = evidence::archive::list(&mut file, length).unwrap();
    let place = places.iter().find(|place| place.name == name);
    place.unwrap().offset
}

/// That `path` is refused for the one reason `what`, in the file `name` and where that begins.
pub(super) fn refused_at(path: &Path, anchors: &Anchors, name: &str, what: &str) {
    let verdict = judged(path, anchors);
    let all = words(&verdict);
    assert!(!verdict.good && verdict.findings.len() == 1, "{all}");
    let finding = &verdict.findings[0];
    assert!(finding.what.contains(what), "{what}: {all}");
    assert_eq!(
        (finding.file.as_str(), finding.offset),
        (name, offset(path, name))
    );
}
