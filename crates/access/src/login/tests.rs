//! Tests of `login` on temporary stores.
