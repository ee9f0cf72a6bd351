//! What the tests of this crate have in common.

use store::StoreError;

use crate::AppendError;

/// Whatever a transaction of a test can end with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}
