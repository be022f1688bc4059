//! Lines for the journal of systemd, which stamps each line with the time and keeps its priority by itself.

use std::{env, fmt, fs, os::unix::fs::MetadataExt};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// Whether the journal reads standard error: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)).
pub(super) fn reads_stderr() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    // Whose descriptor it is, whatever lies behind it.
    fs::metadata("/proc/self/fd/2").is_ok_and(|stderr| is_stream(&stream, stderr.dev(), stderr.ino()))
}

fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(a, b)| a.parse() == Ok(device) && b.parse() == Ok(inode))
}

/// The time in front of a line; in the journal there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub(super) in_journal: bool,
}

impl FormatTime for Timer {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        if self.in_journal { Ok(()) } else { SystemTime.format_time(writer) }
    }
}

/// Lines; in the journal each begins with its priority (sd-daemon(3)), which is not shown.
pub(super) struct Lines<F> {
    pub(super) lines: F,
    pub(super) in_journal: bool,
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.in_journal {
            return self.lines.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        write!(writer, "<{}>{}", priority(*event.metadata().level()), line.trim_start())
    }
}

/// The priority of a level, as syslog(3) counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_is_named_is_the_journal() {
        assert!(is_stream("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", ":", "8:1234:5", "x:y"] {
            assert!(!is_stream(other, 8, 1234), "{other}");
        }
    }
}
