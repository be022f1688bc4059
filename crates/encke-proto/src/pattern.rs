//! Patterns of channel names, in tokens and in the configuration: `*` stands for any run of characters,
//! everything else for itself.

/// Whether `name` fits `pattern`. Takes time in the product of the two lengths at worst.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The earliest place is as good as any later one: what follows may be any run of characters.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "x"),
            ("news", "news"),
            ("news:*", "news:"),
            ("news:*", "news:a:b"),
            ("*:b", "a:b"),
            ("a*c*e", "abcde"),
            ("a**b", "ab"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "x"),
            ("news", "newsx"),
            ("news", "xnews"),
            ("news:*", "news"),
            ("a*a", "a"),
            ("a*c*e", "ace2"),
            ("a*bc*c", "abc"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
        assert!(fits("", ""));
    }
}
