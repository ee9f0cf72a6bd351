//! What a generation serves, to the clients that people have: pip, uv, skopeo, podman, git, jobs.
//!
//! Each appliance is the real binary over a data directory into which a test has put a generation
//! by hand. What the generation holds comes from the Debian image and from a package index that
//! is asked once, while the wheels are gathered; everything after that happens on loopback.

mod actions;
mod content;
mod door;
mod images;
mod jobs;
mod packages;
mod site;
mod tools;
mod uses;
