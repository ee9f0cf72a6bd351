//! What signed bundles keep to, and what is refused.

mod outside;
mod signed;
mod site;
