//! Tests of Tollgate as a whole; the programs they start are in `src/bin`.
