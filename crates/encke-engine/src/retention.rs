//! Retention rules: how much of which log is kept. Each engine does the trimming itself.

use encke_proto::{ChannelName, Time};

/// How much of a log is kept. Whatever is over any of the three goes, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most this many messages; at least 1.
    pub max_messages: u64,
    /// At most this many bytes of message bodies; the newest message is kept whatever its size.
    pub max_bytes: u64,
    /// No message older than this, in seconds.
    pub max_age_s: u64,
}

impl Retention {
    /// Whether a log of this many messages and bytes holds more than it may.
    pub(crate) fn is_over(&self, messages: u64, bytes: u64) -> bool {
        // The newest message is kept whatever its size and whatever the rule says.
        messages > 1 && (messages > self.max_messages || bytes > self.max_bytes)
    }

    /// From when on a message is too old to be kept, or past its expiry.
    pub(crate) fn due(&self, time: Time, expires: Option<Time>) -> Time {
        // A message of exactly the greatest age is not older than it, hence the millisecond.
        let too_old = Time(time.plus_seconds(self.max_age_s).0.saturating_add(1));
        expires.map_or(too_old, |end| end.min(too_old))
    }
}

/// Which retention holds for which channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionTable {
    /// Patterns of public channels (`*`: any run of characters), the first that fits wins.
    pub rules: Vec<(String, Retention)>,
    /// For public channels that no rule fits.
    pub public: Retention,
    /// For users' own channels. A push's own time to live holds besides.
    pub own: Retention,
}

impl Default for RetentionTable {
    fn default() -> Self {
        const WEEK_S: u64 = 7 * 24 * 3600;
        Self {
            rules: Vec::new(),
            public: Retention { max_messages: 1000, max_bytes: 16 << 20, max_age_s: 24 * 3600 },
            own: Retention { max_messages: 1000, max_bytes: 16 << 20, max_age_s: WEEK_S },
        }
    }
}

/// What is kept of an internal channel. Its messages say themselves when they end, at most ten years later,
/// and no setting concerns them.
const INTERNAL: Retention = Retention { max_messages: 1000, max_bytes: 16 << 20, max_age_s: 315_360_000 };

/// The name of the internal channel in which events wait until the application has taken them.
pub const EVENT_LOG: &str = "hooks/facts";

/// What is kept of it: as much as comes while the application takes nothing for days.
const EVENTS: Retention = Retention { max_messages: 1_000_000, max_bytes: 1 << 30, ..INTERNAL };

/// What the names of the internal channels begin with in which it stands which pushes end when. As much is
/// kept of each as of events.
pub const EXPIRY_LOGS: &str = "hooks/expiries/";

/// The name of the internal channel in which it stands which pushes were accepted.
pub const PUSH_LOG: &str = "pushes";

/// What is kept of it: some hundred thousand pushes, each for as long as there are receipts of it.
const PUSHES: Retention = Retention { max_messages: 1_000_000, max_bytes: 64 << 20, ..INTERNAL };

/// What the names of the internal channels begin with that hold one session each, whose last message counts.
pub const SESSION_LOGS: &str = "dialects/sessions/";

/// What the names of the internal channels begin with in which it stands where clients stood that are gone.
pub const PLACE_LOGS: &str = "dialects/places/";

/// The most messages of each that are kept.
pub const PLACES_MAX: usize = 256;

/// What is kept of each: nothing of it is asked for after an hour.
const PLACES: Retention = Retention { max_messages: PLACES_MAX as u64, max_bytes: 4 << 20, max_age_s: 4_000 };

/// What the names of the internal channels begin with in which a server writes where clients of a dialect
/// stand that are here, in each all of some browser or user. The last message counts.
pub const HERE_LOGS: &str = "dialects/here/";

/// What is kept of each: what is there is written anew every 25 minutes, and asked for for an hour.
const HERE: Retention = Retention { max_messages: 2, max_bytes: 1 << 20, max_age_s: 5_400 };

/// What the names of the internal channels begin with in which servers say that clients of some browser or
/// user are there. Each message says it of all servers that are known, so that the last few count together.
pub const RUN_LOGS: &str = "dialects/runs/";

/// How many messages of such a log are kept: more than servers that write to it at the same moment.
pub const RUN_LOG_MESSAGES: usize = 8;

/// What is kept of each.
const RUNS: Retention = Retention { max_messages: RUN_LOG_MESSAGES as u64, max_bytes: 1 << 16, ..HERE };

/// What is kept of each: a session whose client is away for so long is over.
const SESSION: Retention = Retention { max_messages: 4, max_bytes: 1 << 20, max_age_s: 604_800 };

/// What the names of the internal channels begin with that hold the places of one user's devices each. The
/// last messages count together.
pub const DEVICE_LOGS: &str = "devices/";

/// How many messages of such a log are kept: more than nodes that write to it at the same moment.
pub const DEVICE_LOG_MESSAGES: u64 = 8;

impl RetentionTable {
    /// The retention of `channel`.
    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> Retention {
        if channel.is_internal() {
            return match channel.as_str() {
                name if name.ends_with(EVENT_LOG) => EVENTS,
                name if name.trim_start_matches('\0') == PUSH_LOG => PUSHES,
                name if name.trim_start_matches('\0').starts_with(EXPIRY_LOGS) => EVENTS,
                name if name.trim_start_matches('\0').starts_with(SESSION_LOGS) => SESSION,
                name if name.trim_start_matches('\0').starts_with(PLACE_LOGS) => PLACES,
                name if name.trim_start_matches('\0').starts_with(HERE_LOGS) => HERE,
                name if name.trim_start_matches('\0').starts_with(RUN_LOGS) => RUNS,
                // As long as pushes: what a device had by then is not kept any more either.
                name if name.trim_start_matches('\0').starts_with(DEVICE_LOGS) => Retention {
                    max_messages: DEVICE_LOG_MESSAGES,
                    max_bytes: 1 << 20,
                    max_age_s: self.own.max_age_s,
                },
                _ => INTERNAL,
            };
        }
        if channel.is_own() {
            return self.own;
        }
        let fitting =
            self.rules.iter().find(|(pattern, _)| encke_proto::pattern::fits(pattern, channel.as_str()));
        fitting.map_or(self.public, |(_, retention)| *retention)
    }
}
