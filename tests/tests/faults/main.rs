//! Faults: real hosts on real stores, killed, cut off and starved, and a judge that compares what
//! stands with what was asked and answered.

mod cancellation;
mod crew;
mod database_killed;
mod endings;
mod four_hosts;
mod full_disks;
mod ground;
mod hosts_killed;
mod journal;
mod judge;
mod keys;
mod lost_answers;
mod migrations;
mod outages;
mod poison;
mod proxy;
mod sizes;
mod sql;
mod storm;
mod swaps;
mod tables;
