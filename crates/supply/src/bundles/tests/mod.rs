//! Bundles packed and signed here, taken in as an appliance would, and attacked.

mod breaking;
mod custody;
mod import;
mod keeping;
mod media;
mod mutations;
mod rules;
mod site;
