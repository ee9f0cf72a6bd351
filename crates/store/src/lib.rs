//! SQLite with one writer, and content-addressed blobs.
