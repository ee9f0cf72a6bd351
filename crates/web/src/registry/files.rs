//! Files of a generation under their names.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bundle::Item;
use serde::Deserialize;

use super::Shelf;
use crate::fault::Fault;

#[derive(Deserialize)]
pub(crate) struct Named {
    name: String,
}

/// `GET /files/{name}`
pub(crate) async fn one(
    shelf: Shelf,
    Path(Named { name }): Path<Named>,
    asked: HeaderMap,
) -> Result<Response, Fault> {
    let Some(Item::File(file)) = shelf.item(format!("file:{name}")).await? else {
        return Err(shelf.absent("file", &name));
    };
    let mut response = shelf
        .blob(&file.d, "application/octet-stream", &asked)
        .await?;
    // A browser keeps it, whatever its bytes look like.
    response.headers_mut().insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment"),
    );
    Ok(response)
}
