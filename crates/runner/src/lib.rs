//! Runs one job over an executor; never sees the store.
