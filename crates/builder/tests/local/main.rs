//! Recipes of what lies on this host: locked, built, built again, carried as a delta.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod site;
