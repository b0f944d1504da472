//! Faults: real hosts on real stores, killed, cut off and starved, and a judge that compares what
//! stands with what was asked and answered.

mod ground;
mod hosts_killed;
mod journal;
mod judge;
mod sizes;
mod storm;
mod tables;
