//! The stories: each file drives the real binary, real git and HTTP through one of them.

mod power_cut;
