//! What is known of a public log besides its messages and its producers. Each message and note of the log
//! says it from then on, so the last one of the subject tells it together with how the log stands.

use std::fmt::Write as _;

use encke_proto::{Offset, Time};

use super::names::{token, untoken};
use crate::{Configure, Lifetime, LogConfig, LogRefusal, TOUCH_STEP_MS, metadata};

/// What stands for what is not there.
const NONE: &str = "-";

/// What is known of a log besides its messages and its producers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogMetadata {
    pub(super) closed: bool,
    pub(super) config: LogConfig,
    /// When it was last used.
    touched: Time,
    /// The head of the log when something became known of it. What is stored of a producer at a head before
    /// that is of a log that was deleted.
    pub(super) since: Offset,
}

impl LogMetadata {
    /// What is known of a log of which nothing was known before.
    pub(super) fn begun(since: Offset, at: Time) -> Self {
        Self { closed: false, config: LogConfig::default(), touched: at, since }
    }

    /// When the log ends by itself.
    pub(super) fn ends(&self) -> Option<Time> {
        metadata::ends(&self.config, self.touched)
    }

    /// Why it takes no appends at this time.
    pub(super) fn refuses(&self, at: Time) -> Option<LogRefusal> {
        if self.ends().is_some_and(|end| end <= at) {
            return Some(LogRefusal::Ended);
        }
        self.closed.then_some(LogRefusal::Closed)
    }

    /// The log was used.
    pub(super) fn touch(&mut self, at: Time) {
        self.touched = self.touched.max(at);
    }

    /// Whether a use that is nothing else moves the end far enough to be written.
    pub(super) fn is_moved_by(&self, at: Time) -> bool {
        at.0 >= self.touched.0.saturating_add(TOUCH_STEP_MS)
    }

    /// Sets it to this.
    pub(super) fn configure(&mut self, configure: &Configure) {
        match configure {
            Configure::Keep => {}
            Configure::Create(config) | Configure::Replace(config) => self.config = config.clone(),
        }
    }

    /// One word, without blanks: whether it is closed, until when it lasts, for how long it may be idle, when
    /// it was last used, since when it is known, its content type.
    pub(super) fn write(metadata: Option<&Self>, head: &mut String) {
        let Some(Self { closed, config, touched, since }) = metadata else {
            head.push_str(NONE);
            return;
        };
        let (until, idle) = match config.lifetime() {
            None => (None, None),
            Some(Lifetime::Until(end)) => (Some(end.0), None),
            Some(Lifetime::Idle { seconds }) => (None, Some(seconds)),
        };
        let number = |number: Option<u64>| number.map_or(NONE.to_owned(), |number| number.to_string());
        let content_type = config.content_type().map_or(NONE.to_owned(), token);
        // Writing to a string cannot fail.
        let _ = write!(
            head,
            "{}:{}:{}:{}:{since}:{content_type}",
            u8::from(*closed),
            number(until),
            number(idle),
            touched.0
        );
    }

    /// What [`LogMetadata::write`] wrote; none when it cannot be understood.
    pub(super) fn read(word: &str) -> Option<Option<Self>> {
        if word == NONE {
            return Some(None);
        }
        let parts: Vec<&str> = word.split(':').collect();
        let [closed, until, idle, touched, since, content_type] = parts.as_slice() else { return None };
        let number = |text: &str| if text == NONE { Some(None) } else { text.parse::<u64>().ok().map(Some) };
        let lifetime = match (number(until)?, number(idle)?) {
            (None, None) => None,
            (Some(end), None) => Some(Lifetime::Until(Time(end))),
            (None, Some(seconds)) => Some(Lifetime::Idle { seconds }),
            (Some(_), Some(_)) => return None,
        };
        let content_type = if *content_type == NONE { None } else { Some(untoken(content_type)?) };
        Some(Some(Self {
            closed: number(closed)?? == 1,
            config: LogConfig::new(content_type.as_deref(), lifetime).ok()?,
            touched: Time(touched.parse().ok()?),
            since: since.parse().ok()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let config = |content_type, lifetime| LogConfig::new(content_type, lifetime).unwrap();
        let configs = [
            config(None, None),
            config(Some("a/b; c=\"d: e\""), Some(Lifetime::Until(Time(u64::MAX)))),
            config(Some("-/-"), Some(Lifetime::Idle { seconds: 0 })),
        ];
        for (closed, config) in [false, true].into_iter().zip(configs) {
            let metadata = LogMetadata { closed, config, touched: Time(5), since: 7 };
            let mut word = String::new();
            LogMetadata::write(Some(&metadata), &mut word);
            assert!(!word.contains(' '), "{word}");
            assert_eq!(LogMetadata::read(&word), Some(Some(metadata)));
        }
        let mut word = String::new();
        LogMetadata::write(None, &mut word);
        assert_eq!(LogMetadata::read(&word), Some(None));
        for odd in ["", "1", "1:-:-:5:7", "1:2:3:5:7:-", "1:x:-:5:7:-", "-:-:-:5:7:-", "1:-:-:5:7:!"] {
            assert_eq!(LogMetadata::read(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_log_refuses_what_comes_at_its_end_or_after_it_was_closed() {
        let mut metadata = LogMetadata::begun(0, Time(1_000));
        assert_eq!(metadata.refuses(Time(u64::MAX)), None);
        metadata.config = LogConfig::new(None, Some(Lifetime::Idle { seconds: 2 })).unwrap();
        assert_eq!((metadata.refuses(Time(2_999)), metadata.ends()), (None, Some(Time(3_000))));
        metadata.closed = true;
        assert_eq!(metadata.refuses(Time(2_999)), Some(LogRefusal::Closed));
        assert_eq!(metadata.refuses(Time(3_000)), Some(LogRefusal::Ended));
        metadata.touch(Time(2_500));
        metadata.touch(Time(2_000));
        assert_eq!(metadata.ends(), Some(Time(4_500)));
        assert!(!metadata.is_moved_by(Time(3_499)) && metadata.is_moved_by(Time(3_500)));
    }
}
