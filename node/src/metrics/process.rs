//! The process, as the system tells of it, and the runtime that the actors run on. Names are those that Prometheus' own clients use.
//! What the system does not tell is left out.

use std::fs;
use std::time::Duration;

use super::Family;

/// Clock ticks a second in what the kernel tells programs; the same on every machine that we run on.
const TICKS: u64 = 100;

/// What the system tells of the process. Reads files.
pub(super) fn families() -> Vec<Family> {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let status = fs::read_to_string("/proc/self/status").ok();
    let limits = fs::read_to_string("/proc/self/limits").ok();
    let boot = fs::read_to_string("/proc/stat").ok();
    let one = |family: Family, value: Option<u64>| match value {
        Some(value) => family.of(value),
        None => family,
    };
    let mut cpu = Family::counter("process_cpu_seconds_total", "processor time that the process used");
    let mut started = Family::gauge("process_start_time_seconds", "when the process started, in Unix time");
    if let Some(times) = stat.as_deref().and_then(Times::read) {
        cpu = cpu.of(Duration::from_millis(times.ticks * 1000 / TICKS));
        if let Some(boot) = boot.as_deref().and_then(|boot| number(boot, "btime")) {
            started = started.of(Duration::from_secs(boot) + Duration::from_millis(times.started * 1000 / TICKS));
        }
    }
    let kilobytes = |name| Some(number(status.as_deref()?, name)? * 1024);
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
    vec![
        cpu,
        started,
        one(
            Family::gauge("process_resident_memory_bytes", "memory of the process that is in RAM"),
            kilobytes("VmRSS:"),
        ),
        one(
            Family::gauge("process_virtual_memory_bytes", "address space of the process"),
            kilobytes("VmSize:"),
        ),
        one(Family::gauge("process_open_fds", "open file descriptors"), open),
        one(
            Family::gauge("process_max_fds", "most file descriptors that may be open"),
            limits.as_deref().and_then(|limits| number(limits, "Max open files")),
        ),
        one(
            Family::gauge("process_threads", "threads of the process"),
            status.as_deref().and_then(|status| number(status, "Threads:")),
        ),
    ]
}

/// The runtime.
///
/// # Panics
/// Outside of a Tokio runtime.
pub(super) fn runtime() -> Vec<Family> {
    let metrics = tokio::runtime::Handle::current().metrics();
    let busy: Duration = (0..metrics.num_workers())
        .map(|worker| metrics.worker_total_busy_duration(worker))
        .sum();
    vec![
        Family::gauge("caside_runtime_workers", "threads that run tasks").of(metrics.num_workers()),
        Family::gauge("caside_runtime_tasks", "tasks that have not ended").of(metrics.num_alive_tasks()),
        Family::gauge("caside_runtime_queue", "tasks that wait in the queue of all threads")
            .of(metrics.global_queue_depth()),
        Family::counter("caside_runtime_busy_seconds_total", "time that the threads ran tasks").of(busy),
    ]
}

/// What `/proc/self/stat` tells of times.
#[derive(Debug, PartialEq, Eq)]
struct Times {
    /// Of the processor, ours and the kernel's.
    ticks: u64,
    /// After the machine's start.
    started: u64,
}

impl Times {
    fn read(stat: &str) -> Option<Self> {
        // The name of the program may have anything in it; what follows it has only numbers.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (user, kernel): (u64, u64) = (fields.nth(11)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self {
            ticks: user + kernel,
            started: fields.nth(6)?.parse().ok()?,
        })
    }
}

/// The first number in the line that begins so.
fn number(text: &str, start: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(start))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_they_are() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 9 0 1234 5000 200 18446744073709551615 1";
        let want = Times {
            ticks: 300,
            started: 1234,
        };
        assert_eq!(Times::read(stat), Some(want));
        assert_eq!(Times::read("7 (a) S 1"), None);
        let limits = "Limit      Soft Limit  Hard Limit\nMax open files            1024    4096    files\n";
        assert_eq!(number(limits, "Max open files"), Some(1024));
        assert_eq!(number("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(number("Max open files unlimited", "Max open files"), None);
    }
}
