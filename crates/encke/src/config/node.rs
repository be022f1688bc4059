//! The node's name.

/// The host's name as far as it is one for a node, or `node-1`.
pub(crate) fn default_name() -> String {
    let host =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    host.map(|name| name.trim().to_owned())
        .filter(|name| is_name(name))
        .unwrap_or_else(|| "node-1".to_owned())
}

/// Whether this names a node: 1 to 64 ASCII letters, digits, `.`, `-`, `_`.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        assert!(is_name(&default_name()));
        assert!(is_name("node-1.rack_2"));
        for bad in ["", "a b", "a/b", "\u{e4}", "a\n", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
