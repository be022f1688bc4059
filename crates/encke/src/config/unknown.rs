//! Names that no setting has, and which setting was meant.

use super::keys::{DIALECTS, KEYS, REMOVED, variable};

/// What the variables of this program begin with.
const PREFIX: &str = "ENCKE_";
/// What its commands read besides the settings.
const OF_COMMANDS: &[&str] = &["ENCKE_API_KEY_FILE", "ENCKE_CONFIG", "ENCKE_TOKEN", "ENCKE_URL"];

/// A line for each of these environment variables that looks like a setting and is none. Those of an
/// orchestrator for a service whose name begins with `encke` are left alone.
pub(crate) fn unknown_variables(
    names: impl IntoIterator<Item = String>,
    dialects: &[&'static str],
) -> Vec<String> {
    let settings = KEYS.iter().map(|(key, _)| variable(key));
    let dialects = dialects.iter().map(|name| variable(&format!("{DIALECTS}.{name}")));
    let all: Vec<String> =
        settings.chain(dialects).chain(OF_COMMANDS.iter().map(|name| (*name).to_owned())).collect();
    let is_removed = |name: &str| REMOVED.iter().any(|(key, _)| variable(key) == name);
    let mut unknown: Vec<String> = names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && !is_service_link(name))
        .filter(|name| !all.contains(name) && !is_removed(name))
        .collect();
    unknown.sort_unstable();
    let told = |name: String| {
        let meant = nearest(&name, all.iter().map(String::as_str)).map(hint).unwrap_or_default();
        format!("`{name}` in the environment is no setting{meant}")
    };
    unknown.into_iter().map(told).collect()
}

/// The key that was meant by one that is none.
pub(crate) fn meant(key: &str) -> Option<&'static str> {
    nearest(key, KEYS.iter().map(|(known, _)| *known))
}

/// How a name that was meant is told.
pub(crate) fn hint(meant: &str) -> String {
    format!("; did you mean `{meant}`?")
}

/// Whether an orchestrator sets a variable of this name for a service: `ENCKE_SERVICE_HOST`, `ENCKE_PORT`,
/// `ENCKE_PORT_8080_TCP_ADDR`, and those of services with a longer name.
fn is_service_link(name: &str) -> bool {
    let is_port = |rest: &str| {
        let (number, protocol) = rest.split_once('_').unwrap_or((rest, ""));
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && ["TCP", "UDP", "SCTP"].iter().any(|known| protocol.starts_with(known))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name.rsplit_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
}

/// The known name that takes the fewest changes, if they are few for its length; of several the first.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).len();
    let most = 1 + bare(name) / 4;
    let all = known.map(|known| (changes(name.as_bytes(), known.as_bytes()), known));
    all.filter(|(count, _)| *count <= most).min_by_key(|(count, _)| *count).map(|(_, known)| known)
}

/// How many bytes have to be put in, taken out, replaced or swapped with their neighbour to make one text of
/// the other (the optimal string alignment distance).
fn changes(from: &[u8], to: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, byte) in from.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, wanted) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(byte != wanted);
            let mut least = replaced.min(last[column + 1] + 1).min(next[column] + 1);
            if row > 0 && column > 0 && *byte == to[column - 1] && from[row - 1] == *wanted {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str]) -> Vec<String> {
        unknown_variables(names.iter().map(|name| (*name).to_owned()), &["classic", "other"])
    }

    #[test]
    fn a_variable_that_is_no_setting_is_told_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("ENCKE_HOLD", "ENCKE_HOLD_S"),
            ("ENCKE_APIKEY", "ENCKE_API_KEY"),
            ("ENCKE_LISTNE", "ENCKE_LISTEN"),
            ("ENCKE_SLOW_DEADLINE_MS", "ENCKE_SLOW_DEADLINE_S"),
            ("ENCKE_DIALECTS_CLASIC", "ENCKE_DIALECTS_CLASSIC"),
            ("ENCKE_DIALECT_OTHER", "ENCKE_DIALECTS_OTHER"),
            ("ENCKE_CONFIGS", "ENCKE_CONFIG"),
        ] {
            let words = format!("`{name}` in the environment is no setting; did you mean `{meant}`?");
            assert_eq!(told(&[name]), [words]);
        }
        for name in ["ENCKE_DIALECTS_FOO", "ENCKE_", "ENCKE_SHARDS_PER_CORE", "ENCKE_listen"] {
            assert_eq!(told(&[name]), [format!("`{name}` in the environment is no setting")]);
        }
    }

    #[test]
    fn what_is_known_or_not_ours_is_not_told() {
        let known: Vec<String> = KEYS
            .iter()
            .chain([&("dialects.classic", super::super::keys::Kind::Switch)])
            .map(|(key, _)| variable(key))
            .chain(OF_COMMANDS.iter().map(|name| (*name).to_owned()))
            .chain(REMOVED.iter().map(|(key, _)| variable(key)))
            .collect();
        assert_eq!(unknown_variables(known, &["classic"]), [""; 0]);
        assert_eq!(
            told(&[
                "PATH",
                "ENCKE",
                "ENCKED_X",
                "ENCKE_SERVICE_HOST",
                "ENCKE_SERVICE_PORT",
                "ENCKE_SERVICE_PORT_HTTP",
                "ENCKE_PORT",
                "ENCKE_PORT_8080_TCP",
                "ENCKE_PORT_8080_TCP_ADDR",
                "ENCKE_REDIS_SERVICE_HOST",
                "ENCKE_REDIS_PORT_6379_TCP_PROTO",
            ]),
            [""; 0]
        );
    }

    #[test]
    fn changes_are_counted() {
        for (from, to, count) in
            [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "xbcd", 2)]
        {
            assert_eq!(changes(from.as_bytes(), to.as_bytes()), count, "{from} {to}");
            assert_eq!(changes(to.as_bytes(), from.as_bytes()), count, "{to} {from}");
        }
    }

    #[test]
    fn a_key_that_was_meant_is_found() {
        assert_eq!(meant("hold"), Some("hold_s"));
        assert_eq!(meant("slow.deadline"), Some("slow.deadline_s"));
        assert_eq!(meant("colour"), None);
    }
}
