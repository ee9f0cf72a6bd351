//! Owners, repos, refs and pushes.
