//! The git object store and wire protocol, server side.
