//! Repos on temporary stores.
