//! Files and documents as they lie in the recipe's folder.

use bundle::Item;
use bundle::manifest::{FileItem, Origin};

use super::{Means, SourceError, blob};
use crate::lock::Pin;
use crate::recipe::Plain;

pub(super) fn resolve(
    want: &Plain,
    item: fn(FileItem) -> Item,
    means: &Means<'_>,
) -> Result<Pin, SourceError> {
    let kept = means.cache.keep_file(&means.folder.join(&want.path))?;
    let kind = match want.path.extension().and_then(|e| e.to_str()) {
        Some("md") => "text/markdown",
        Some("txt") => "text/plain; charset=utf-8",
        Some("html") => "text/html",
        Some("pdf") => "application/pdf",
        _ => "application/octet-stream",
    };
    Ok(Pin {
        blobs: vec![blob(kept, kind)],
        items: vec![item(FileItem {
            name: want.name.clone(),
            d: kept.digest,
            source: Origin {
                uri: format!("file:{}", want.path.display()),
                checked: "read from the recipe's folder".to_owned(),
            },
        })],
        ..Pin::default()
    })
}
