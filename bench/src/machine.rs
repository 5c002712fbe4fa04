//! The machine, and what processes use of it, from `/proc`.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The unit of times in `/proc`: `USER_HZ`, which is 100 on every architecture that `serve` runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Lets this process and its children open as many files as they may.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // What needs more than there is says so when it opens its connections.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// What the figures are of: processor, cores, memory, kernel.
pub fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or("unknown", |(_, value)| value.trim())
            .to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let virtual_machine = if field("flags").contains("hypervisor") {
        "virtual machine"
    } else {
        "machine"
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = kilobytes(&memory, "MemTotal:") / (1 << 20);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{virtual_machine}, {cores} cores ({}), {memory} GiB, Linux {}",
        field("model name"),
        kernel.split(['-', '\n']).next().unwrap_or_default()
    )
}

/// User and system time of a process and of those it started.
pub fn cpu_time(pid: u32) -> Duration {
    let ticks: u64 = family(pid).into_iter().map(own_ticks).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Resident memory of a process and of those it started, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let of = |pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes: u64 = family(pid)
        .into_iter()
        .map(|pid| kilobytes(&of(pid), "VmRSS:"))
        .sum();
    kilobytes * 1024
}

fn family(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut next = vec![pid];
    while let Some(pid) = next.pop() {
        found.push(pid);
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            next.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    found
}

fn own_ticks(pid: u32) -> u64 {
    ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

/// `utime` and `stime` of a line of `/proc/PID/stat`; the name in it may have blanks.
fn ticks(stat: &str) -> u64 {
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return 0;
    };
    let fields = rest.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_blanks() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 300 40 5 6 20 0";
        assert_eq!(ticks(stat), 340);
        assert_eq!(ticks(""), 0);
    }

    #[test]
    fn memory_is_read_with_its_unit() {
        assert_eq!(kilobytes("Name: x\nVmRSS:\t  1234 kB\n", "VmRSS:"), 1234);
        assert_eq!(kilobytes("", "VmRSS:"), 0);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_bytes(std::process::id()) > 0);
    }
}
