//! What the kernel knows about a process and those it began: processor time and memory.

use std::{collections::HashMap, fs, time::Duration};

/// A clock tick of /proc/PID/stat in milliseconds; USER_HZ is 100 on every Linux that this runs on.
const TICK_MS: u64 = 10;
/// How far the time of a process in ticks may be beyond that of its threads that are there.
const TICKS_BEYOND_MS: u64 = 3 * TICK_MS;

/// Processor time used up to a moment.
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    /// Nanoseconds by thread.
    threads: HashMap<u32, u64>,
    /// Nanoseconds of the kernel's threads that do the network's work.
    softirq_ns: u64,
    user_ms: u64,
    system_ms: u64,
    /// Ticks of the whole machine that the hypervisor took away, and all ticks.
    stolen: u64,
    all: u64,
    /// Ticks in which the machine's processors were at work.
    busy: u64,
}

/// Processor time used between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuUse {
    /// Of all threads.
    pub total: Duration,
    /// Of the kernel's threads that do the network's work, for whomever.
    pub softirq: Duration,
    /// The share of it spent outside the kernel, from 0 to 1. Sampled by ticks, hence a hint.
    pub user_share: f64,
    /// The share of the machine's time that the hypervisor took away.
    pub stolen_share: f64,
    /// Of all processes of the machine.
    pub machine: Duration,
}

impl Cpu {
    /// The time used so far by these processes.
    #[must_use]
    pub fn of(pids: &[u32]) -> Self {
        let mut cpu = Self::default();
        for pid in pids {
            for thread in numbers_in(&format!("/proc/{pid}/task")) {
                cpu.threads.insert(thread, run_ns(&format!("/proc/{pid}/task/{thread}/schedstat")));
            }
            let (user, system) = stat_ms(*pid);
            cpu.user_ms += user;
            cpu.system_ms += system;
        }
        for pid in numbers_in("/proc") {
            if fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with("ksoftirqd/"))
            {
                cpu.softirq_ns += run_ns(&format!("/proc/{pid}/schedstat"));
            }
        }
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or("")
            .split_whitespace()
            .skip(1)
            .filter_map(|text| text.parse().ok())
            .collect();
        cpu.stolen = ticks.get(7).copied().unwrap_or(0);
        cpu.all = ticks.iter().take(8).sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        cpu.busy = cpu.all.saturating_sub(idle + cpu.stolen);
        cpu
    }

    /// What was used since `before`. It is that of the threads that are there, to the nanosecond. When the
    /// process has used more, threads have ended in between, as those of a JVM do; then it is what the
    /// process has used, in ticks.
    #[must_use]
    pub fn since(&self, before: &Self) -> CpuUse {
        let used =
            |(thread, ns): (&u32, &u64)| ns.saturating_sub(before.threads.get(thread).copied().unwrap_or(0));
        let (user, system) =
            (self.user_ms.saturating_sub(before.user_ms), self.system_ms.saturating_sub(before.system_ms));
        let of_threads = Duration::from_nanos(self.threads.iter().map(used).sum());
        let of_all = Duration::from_millis(user + system);
        let has_ended = of_all > of_threads + Duration::from_millis(TICKS_BEYOND_MS);
        CpuUse {
            total: if has_ended { of_all } else { of_threads },
            softirq: Duration::from_nanos(self.softirq_ns.saturating_sub(before.softirq_ns)),
            user_share: share(user, user + system),
            machine: Duration::from_millis(self.busy.saturating_sub(before.busy) * TICK_MS),
            stolen_share: share(
                self.stolen.saturating_sub(before.stolen),
                self.all.saturating_sub(before.all),
            ),
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The proportional set size of these processes, in bytes.
#[must_use]
pub fn pss_bytes(pids: &[u32]) -> u64 {
    let pss = |pid: &u32| {
        field_kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default(), "Pss:") * 1024
    };
    pids.iter().map(pss).sum()
}

/// Memory that the kernel's own objects take, sockets among them, in bytes.
#[must_use]
pub fn kernel_slab_bytes() -> u64 {
    field_kib(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "SUnreclaim:") * 1024
}

/// This process and all that it began, and so on.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        for thread in numbers_in(&format!("/proc/{parent}/task")) {
            let children =
                fs::read_to_string(format!("/proc/{parent}/task/{thread}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|text| text.parse::<u32>().ok()));
        }
        next += 1;
    }
    found
}

/// How many of the machine's processors are at work for others: the load of the last minute.
#[must_use]
pub fn load() -> String {
    fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .split_whitespace()
        .next()
        .unwrap_or("?")
        .to_owned()
}

fn numbers_in(directory: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn run_ns(path: &str) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn stat_ms(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    user_and_system(&text)
}

/// The 14th and 15th field. The second is a name in brackets that may hold anything, so they are counted from
/// its end.
fn user_and_system(stat: &str) -> (u64, u64) {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = rest.split_whitespace().skip(11).map(|text| text.parse::<u64>().unwrap_or(0) * TICK_MS);
    (fields.next().unwrap_or(0), fields.next().unwrap_or(0))
}

fn field_kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_used_that_have_ended_is_counted() {
        let before = Cpu { threads: [(1, 5), (2, 5)].into(), user_ms: 100, system_ms: 10, ..Cpu::default() };
        let mut after = Cpu { threads: [(1, 7_000_005), (2, 5)].into(), ..before.clone() };
        after.user_ms += 30;
        assert_eq!(after.since(&before).total, Duration::from_millis(7), "ticks are coarse");
        after.threads.remove(&2);
        after.system_ms += 400;
        assert_eq!(after.since(&before).total, Duration::from_millis(430));
    }

    #[test]
    fn fields_are_found() {
        let stat = "12 (a) b) c) S 1 12 12 0 -1 4194560 1 2 3 4 170 30 5 6 20 0 3 0 99";
        assert_eq!(user_and_system(stat), (1700, 300));
        assert_eq!(field_kib("Rss: 9 kB\nPss:     123 kB\nPss_Anon: 4 kB\n", "Pss:"), 123);
    }

    #[test]
    fn this_process_is_there() {
        let pids = family(std::process::id());
        let before = Cpu::of(&pids);
        let mut sum = 0_u64;
        for number in 0..3_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
        let used = Cpu::of(&pids).since(&before);
        assert!(used.total > Duration::ZERO && used.total < Duration::from_secs(60), "{used:?}");
        assert!(pss_bytes(&pids) > 100_000);
    }
}
