//! Which of the known words was meant by one that is none.

/// What the variables of this program begin with.
pub(super) const PREFIX: &str = "ENCKE_";

/// The level that was meant by a directive of the log that is taken for a part of the program.
pub(crate) fn meant_level(word: &str) -> Option<&'static str> {
    let levels = ["error", "warn", "info", "debug", "trace"];
    nearest(&word.to_ascii_lowercase(), levels.into_iter())
}

/// What was meant, by the words for a variant that is none: those in backticks are what was said, and behind
/// it what is known.
pub(crate) fn hint_of(problem: &str) -> String {
    let mut names = problem.split('`').skip(1).step_by(2);
    let Some(said) = names.next().filter(|_| problem.starts_with("unknown variant")) else {
        return String::new();
    };
    nearest(said, names).map(hint).unwrap_or_default()
}

/// How a name that was meant is told.
pub(crate) fn hint(meant: &str) -> String {
    format!("; did you mean `{meant}`?")
}

/// The known name that takes the fewest changes, if they are few for its length; of several the first.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
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

    #[test]
    fn changes_are_counted() {
        for (from, to, count) in
            [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "xbcd", 2)]
        {
            assert_eq!(changes(from.as_bytes(), to.as_bytes()), count, "{from} {to}");
            assert_eq!(changes(to.as_bytes(), from.as_bytes()), count, "{to} {from}");
        }
    }
}
