//! Tests of `session` on temporary stores.
