//! The stories: each file drives the real binary, real git and HTTP through one of them.

mod attested;
mod audit;
mod audit_pages;
mod audit_story;
mod bad_images;
mod bad_jobs;
mod bad_pushes;
mod bad_workflows;
mod bundle_build;
mod bundle_keys;
mod bundle_pages;
mod bundles;
mod command_line;
mod demo;
mod expressions;
mod install;
mod kill;
mod no_server;
mod pages;
mod power_cut;
mod repo_files;
mod self_update;
mod serving;
mod static_binary;
mod tls;
mod workflows;
