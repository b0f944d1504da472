//! Tests of Tollgate as a whole; the programs they start are in `src/bin`, what several of them
//! need is here.

pub mod postgres;
