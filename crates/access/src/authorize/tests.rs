//! Tests of `authorize` on temporary stores.
