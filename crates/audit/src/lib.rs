//! The transparency log: entries appended with the action they speak of.
