//! A bound for warnings and errors: what clients can provoke must not fill a disk with lines.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::SETTINGS;
use crate::config::LogFormat;

/// How long a line keeps back the others of its kind.
const EVERY: Duration = Duration::from_secs(1);

/// What has written a line: a place in the code. So there are as many as the code has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    callsite: Identifier,
    /// Of libraries that log by the crate `log`, which have all one callsite.
    logged: Logged,
}

/// Where a line of the crate `log` is from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Logged {
    target: String,
    line: u64,
}

impl Visit for Logged {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            value.clone_into(&mut self.target);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "log.line" {
            self.line = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Kind {
    fn of(event: &Event<'_>) -> Self {
        let mut logged = Logged::default();
        event.record(&mut logged);
        Self { callsite: event.metadata().callsite(), logged }
    }
}

/// When the last line of a kind was written, and how many were left out since.
#[derive(Debug)]
struct Last {
    at: Instant,
    left_out: u64,
}

/// The kinds of which lines were written.
#[derive(Debug, Default)]
struct Kinds(HashMap<Kind, Last>);

impl Kinds {
    /// Whether a line may be written now: then how many were left out before it.
    fn take(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        let Some(last) = self.0.get_mut(&kind) else {
            self.0.insert(kind, Last { at: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(last.at) < EVERY {
            last.left_out += 1;
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.left_out))
    }
}

/// Lines of which a second has one warning or error of each kind at most. The next one of a kind says how
/// many were left out, as `left_out`.
pub(super) struct Limited<F, C> {
    lines: F,
    format: LogFormat,
    clock: C,
    kinds: Mutex<Kinds>,
}

impl<F, C: Fn() -> Instant> Limited<F, C> {
    pub(super) fn new(lines: F, format: LogFormat, clock: C) -> Self {
        Self { lines, format, clock, kinds: Mutex::default() }
    }

    /// Whether an event may be written now: then how many of its kind were left out before it.
    fn take(&self, event: &Event<'_>) -> Option<u64> {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == SETTINGS {
            return Some(0);
        }
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.take(Kind::of(event), (self.clock)())
    }
}

impl<S, N, F, C> FormatEvent<S, N> for Limited<F, C>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
    C: Fn() -> Instant,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let left_out = match self.take(event) {
            None => return Ok(()),
            Some(0) => return self.lines.format_event(context, writer, event),
            Some(left_out) => left_out,
        };
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match (self.format, line.strip_suffix('}')) {
            (LogFormat::Json, Some(line)) => writeln!(writer, "{line},\"left_out\":{left_out}}}"),
            _ => writeln!(writer, "{line} left_out={left_out}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
    };

    use tracing_subscriber::fmt;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `events` writes; it is given what sets the clock, in milliseconds.
    fn lines(format: LogFormat, events: impl FnOnce(&dyn Fn(u64))) -> Vec<String> {
        let (sink, began, passed) = (Sink::default(), Instant::now(), Arc::new(AtomicU64::new(0)));
        let (writer, told) = (sink.clone(), Arc::clone(&passed));
        let clock = move || began + Duration::from_millis(told.load(Ordering::Relaxed));
        let lines = fmt().with_writer(move || writer.clone()).with_ansi(false);
        let set = |ms| passed.store(ms, Ordering::Relaxed);
        match format {
            LogFormat::Text => {
                let lines = lines.map_event_format(|lines| Limited::new(lines, format, clock)).finish();
                tracing::subscriber::with_default(lines, || events(&set));
            }
            LogFormat::Json => {
                let lines = lines.json().flatten_event(true);
                let lines = lines.map_event_format(|lines| Limited::new(lines, format, clock)).finish();
                tracing::subscriber::with_default(lines, || events(&set));
            }
        }
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// One place in the code, whatever it says.
    fn refused(number: u32) {
        tracing::warn!(number, "refused");
    }

    #[test]
    fn a_second_has_one_line_of_a_kind_and_the_next_says_how_many_were_left_out() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = lines(format, |set| {
                (0..10).for_each(refused);
                set(999);
                refused(10);
                tracing::error!("another kind");
                set(1_000);
                (11..13).for_each(refused);
                set(5_000);
                refused(13);
                set(6_000);
                refused(14);
            });
            let said = |line: &String, number: u32| match format {
                LogFormat::Text => line.contains(&format!("number={number}")),
                LogFormat::Json => {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    line["number"] == number
                }
            };
            let left_out = |line: &String| match format {
                LogFormat::Text => line.rsplit_once(" left_out=").map(|(_, count)| count.parse().unwrap()),
                LogFormat::Json => {
                    serde_json::from_str::<serde_json::Value>(line).unwrap()["left_out"].as_u64()
                }
            };
            assert_eq!(lines.len(), 5, "{lines:?}");
            assert!(said(&lines[0], 0) && lines[1].contains("another kind"), "{lines:?}");
            assert!(said(&lines[2], 11) && said(&lines[3], 13) && said(&lines[4], 14), "{lines:?}");
            let counts: Vec<Option<u64>> = lines.iter().map(left_out).collect();
            assert_eq!(counts, [None, None, Some(10), Some(1), None], "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_warning_and_what_is_said_of_settings_is_written_each_time() {
        let lines = lines(LogFormat::Text, |_| {
            for number in 0..3 {
                tracing::info!(number, "news");
                tracing::warn!(target: SETTINGS, "`{number}` is no setting");
            }
        });
        assert_eq!(lines.len(), 6, "{lines:?}");
    }
}
