//! HTTP: API, git transport, pages.
