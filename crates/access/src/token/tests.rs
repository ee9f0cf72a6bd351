//! Tests of `token` on temporary stores.
