//! Bundles packed and signed here, taken in as an appliance would, and attacked.

mod import;
mod site;
