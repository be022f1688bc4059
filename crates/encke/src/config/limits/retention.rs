//! How much is kept: the bounds of the rules of retention.

use super::Checker;
use crate::config::Config;

pub(super) fn check(config: &Config, checker: &Checker<'_>) {
    let users_age = config.retention_users.max_age_s;
    let paths = ["retention_users.max_age_s", "push_ttl_s"];
    checker.relation(&paths, users_age.is_none_or(|age| age >= config.push_ttl_s), || {
        format!(
            "must be at least push_ttl_s ({}), or pushes would be trimmed while they wait",
            config.push_ttl_s
        )
    });
    checker.rule("retention", config.retention.len() <= 1000, || "must have at most 1000 rules".to_owned());
    for (index, rule) in config.retention.iter().enumerate() {
        let path = format!("retention[{index}].channel");
        checker
            .rule(&path, (1..=255).contains(&rule.channel.len()), || "must have 1 to 255 bytes".to_owned());
        checker.rule(&path, !rule.channel.starts_with('@'), || {
            format!("{:?}: users' own channels have [retention_users]", rule.channel)
        });
    }
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use crate::config::{Layers, limits::tests::refusal};

    #[test]
    fn the_bounds_of_a_rule_in_the_list_are_those_of_the_tables() {
        for (key, below, above) in [
            ("max_messages", 0, 1_000_000_001_i64),
            ("max_bytes", 65_535, (1 << 40) + 1),
            ("max_age_s", 0, 10 * 31_536_000 + 1),
        ] {
            let rule = |value: i64| {
                let rule =
                    toml::Table::from_iter([("channel".into(), "news*".into()), (key.into(), value.into())]);
                let plain = toml::Table::from_iter([("channel".into(), "a".into())]);
                // The second of two, so that it is not the first alone that is looked at.
                Layers::new(Vec::new())
                    .option("retention", "--option", vec![Value::Table(plain), Value::Table(rule)])
                    .load()
            };
            for wrong in [below, above] {
                let refusal = rule(wrong).unwrap_err().to_string();
                assert!(
                    refusal
                        .starts_with(&format!("--option: retention.{key}: must be from {} to ", below + 1)),
                    "{refusal}"
                );
            }
            assert!(rule(below + 1).is_ok() && rule(above - 1).is_ok(), "{key}");
            for table in ["retention_default", "retention_users"] {
                let key = format!("{table}.{key}");
                assert!(refusal(&key, below).starts_with(&format!("--option: {key}: ")), "{key}");
                assert!(refusal(&key, above).starts_with(&format!("--option: {key}: ")), "{key}");
            }
        }
        let rule = |channel: &str| toml::Table::from_iter([("channel".into(), channel.into())]);
        for channel in [String::new(), "a".repeat(256), "@alice".to_owned()] {
            assert!(
                refusal("retention", vec![Value::Table(rule(&channel))])
                    .starts_with("--option: retention.channel: "),
                "{channel}"
            );
        }
        assert!(refusal("retention", vec![Value::Table(rule("a")); 1001]).contains("1000 rules"));
    }

    #[test]
    fn pushes_are_kept_as_long_as_they_wait() {
        assert!(refusal("retention_users.max_age_s", 60).contains("push_ttl_s"));
    }
}
