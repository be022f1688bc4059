//! What the process takes of the machine, under the names that all Prometheus clients give it. The kernel is
//! asked when it is told; what it does not say is left out.

use std::{
    fmt, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    began_s: f64,
}

impl Process {
    /// It has begun just now, or so.
    pub(super) fn begun_now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self { began_s: now.map_or(0.0, |now| now.as_secs_f64()) }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (seconds, bytes) = (Unit::Seconds, Unit::Bytes);
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
        };
        gauge(
            "process_start_time",
            "When the process began, since 1970.",
            Some(&seconds),
            Some(self.began_s),
        )?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = in_bytes(&status, "VmRSS:");
        gauge("process_resident_memory", "Memory that is in use, resident.", Some(&bytes), resident)?;
        let virtual_memory = in_bytes(&status, "VmSize:");
        gauge("process_virtual_memory", "Memory that is reserved, virtual.", Some(&bytes), virtual_memory)?;
        gauge("process_threads", "Threads.", None, field(&status, "Threads:"))?;
        gauge("process_open_fds", "File descriptors that are open.", None, open_files())?;
        let most = getrlimit(Resource::Nofile).current;
        // Far below what a float holds exactly.
        gauge("process_max_fds", "File descriptors that may be open.", None, most.map(|most| most as f64))?;
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_s = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let help = "Processor time that was taken, of the program and of the kernel for it.";
        let metric = encoder.encode_descriptor("process_cpu", help, Some(&seconds), MetricType::Counter)?;
        ConstCounter::new(cpu_s).encode(metric)
    }
}

/// A field of `/proc/self/status` in kilobytes, in bytes.
fn in_bytes(status: &str, name: &str) -> Option<f64> {
    field(status, name).map(|kilobytes| kilobytes * 1024.0)
}

fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many files are open. Since Linux 6.2 the size of the directory says so; before, they are counted.
fn open_files() -> Option<f64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    let count = if size > 0 { size } else { fs::read_dir("/proc/self/fd").ok()?.count() as u64 };
    Some(count as f64)
}
