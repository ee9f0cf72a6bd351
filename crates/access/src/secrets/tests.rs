//! Tests of `secrets` on temporary stores.
