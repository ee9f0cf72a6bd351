//! Helpers for the end-to-end stories beside this package.
