//! The failure that any operation on people and keys may have: the database's or the log's.

/// The database or the audit log refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The audit log refused.
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}
