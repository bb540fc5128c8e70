//! Process metrics from Linux's /proc (proc(5)), with the names that the client libraries of Prometheus use. On other
//! systems they are omitted.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Unit, describe_counter, describe_gauge, gauge};

/// Clock ticks per second in /proc: `USER_HZ`, which is always 100 for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

const CPU: &str = "process_cpu_seconds_total";
const CPU_HELP: &str = "Time on a CPU, user and system";

pub(super) fn describe_metrics() {
    describe_counter!(CPU, Unit::Seconds, CPU_HELP);
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Resident memory");
    describe_gauge!("process_open_fds", Unit::Count, "Open file descriptors, sockets included");
    describe_gauge!("process_start_time_seconds", Unit::Seconds, "Start time of the process, since 1970");
}

/// Sets the gauges, and returns the counter of CPU time in the text format. The exporter's counters are whole
/// numbers, and a second is too coarse for CPU time.
pub(super) fn measure() -> String {
    let mut counter = String::new();
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) {
        let seconds = stat.cpu_ticks as f64 / TICKS_PER_SECOND;
        counter = format!("# HELP {CPU} {CPU_HELP}\n# TYPE {CPU} counter\n{CPU} {seconds}\n\n");
        if let Some(started) = start_time_seconds(stat.start_ticks) {
            gauge!("process_start_time_seconds").set(started);
        }
    }
    if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().and_then(|text| resident_bytes(&text)) {
        gauge!("process_resident_memory_bytes").set(bytes as f64);
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(descriptors.count() as f64);
    }
    counter
}

struct Stat {
    cpu_ticks: u64,
    /// Ticks since the machine started.
    start_ticks: u64,
}

impl Stat {
    /// Parses the fields by their position after the command's name, which may contain spaces and brackets.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // proc(5) counts from 1, and the first field here is its third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)? })
    }
}

fn start_time_seconds(start_ticks: u64) -> Option<f64> {
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some((now - uptime + start_ticks as f64 / TICKS_PER_SECOND).round())
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn cpu_time_is_a_counter_with_a_fraction() {
        let counter = measure();
        let [help, kind, sample] = counter.lines().take(3).collect::<Vec<_>>()[..] else { panic!("{counter:?}") };
        assert_eq!(help, "# HELP process_cpu_seconds_total Time on a CPU, user and system");
        assert_eq!(kind, "# TYPE process_cpu_seconds_total counter");
        let seconds = sample.strip_prefix("process_cpu_seconds_total ").unwrap();
        assert!(seconds.parse::<f64>().unwrap() >= 0.0, "{sample}");
    }

    #[test]
    fn linux_proc_files_are_parsed() {
        let stat = "7 (out hook) 2) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 4 0 12345 1 2 3";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.cpu_ticks, stat.start_ticks), (300, 12345));
        assert_eq!(resident_bytes("Name:\toh\nVmRSS:\t   2048 kB\n"), Some(2048 * 1024));
    }
}
