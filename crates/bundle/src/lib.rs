//! Carried formats: image archives and layouts, bytes in, types out.
