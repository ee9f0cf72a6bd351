//! Images from a registry.

use super::{Means, SourceError};
use crate::lock::Pin;
use crate::recipe::Oci;

pub(super) fn resolve(_: &Oci, _: &Means<'_>) -> Result<Pin, SourceError> {
    Err(SourceError::Refused("x".to_owned()))
}

pub(super) fn fetch(_: &Oci, _: &Pin, _: &Means<'_>) -> Result<(), SourceError> {
    Err(SourceError::Refused("x".to_owned()))
}
