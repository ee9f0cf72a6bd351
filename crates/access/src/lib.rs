//! People, keys and tokens, and the one place that says who may.
