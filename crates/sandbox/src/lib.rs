//! One jail: launcher, init and proofs.
