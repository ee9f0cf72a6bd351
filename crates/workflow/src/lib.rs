//! Workflow files: bytes in, types out.
