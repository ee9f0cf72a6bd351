//! Open pushes in each state a crash can leave.
