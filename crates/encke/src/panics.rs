//! Panics: each is a bug. It ends the connection or the part in which it happens, which tokio and the
//! [`supervisor`](crate::supervisor) see to; here it is counted and told in the log as a line like any
//! other.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{self, PanicHookInfo},
    sync::Once,
    thread,
};

use crate::metrics::Metrics;

/// Counts and tells the panics of this process from now on. Where nothing is logged, as in a program of
/// tests, the hook that was there before tells them.
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            Metrics::global().panics.inc();
            if tracing::enabled!(tracing::Level::ERROR) {
                tell(info);
            } else {
                former(info);
            }
        }));
    });
}

fn tell(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let message =
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let location = info.location().map(ToString::to_string);
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    // It is there if the environment asks for it (`RUST_BACKTRACE`).
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        panic = message,
        location,
        thread,
        backtrace,
        "a panic, which is a bug; please report it"
    );
}
