//! Faults: real hosts on real stores, killed, cut off and starved, and a judge that compares what
//! stands with what was asked and answered.

mod database_killed;
mod ground;
mod hosts_killed;
mod journal;
mod judge;
mod lost_answers;
mod proxy;
mod sizes;
mod sql;
mod storm;
mod tables;
