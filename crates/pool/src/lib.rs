//! Turns queued jobs into running ones.
