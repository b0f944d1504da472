//! What processes take of the machine, as the kernel tells.

use std::fs;

/// Linux tells processor time in hundredths of a second, whatever its own clock ticks at.
const TICKS_PER_S: f64 = 100.0;

/// The words of `/proc/PID/stat` from the parent on, by their places.
const PARENT: usize = 0;
const OWN: [usize; 2] = [10, 11];
/// Of children that have ended.
const CHILDREN: [usize; 2] = [12, 13];

/// Memory that is resident, in MB.
#[must_use]
pub fn resident_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kb: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    (kb / 102.4).round() / 10.0
}

/// Processor time that a process has had, in seconds.
#[must_use]
pub fn processor_s(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| seconds(&stat, &OWN))
}

/// The same with the processes that it has started.
#[must_use]
pub fn family_s(pid: u32) -> f64 {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = pids.filter_map(stat).filter(|stat| stat.get(PARENT) == Some(&u64::from(pid)));
    let children: f64 = children.map(|stat| seconds(&stat, &OWN)).sum();
    let parent = stat(pid).map_or(0.0, |stat| seconds(&stat, &OWN) + seconds(&stat, &CHILDREN));
    parent + children
}

fn seconds(stat: &[u64], places: &[usize]) -> f64 {
    let ticks: u64 = places.iter().filter_map(|&place| stat.get(place)).sum();
    ticks as f64 / TICKS_PER_S
}

fn stat(pid: u32) -> Option<Vec<u64>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name may hold anything, but it ends with the last parenthesis; then comes a letter.
    let words = stat.rsplit(')').next()?.split_whitespace().skip(1);
    Some(words.map(|word| word.parse().unwrap_or(0)).collect())
}
