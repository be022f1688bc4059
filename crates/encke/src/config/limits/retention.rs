//! How much is kept: the bounds of the rules of retention.

use super::{Checker, YEAR_S};
use crate::config::{Config, ConfigError, RetentionSection};

pub(super) fn check(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    check_section(checker, "retention_default", config.retention_default)?;
    check_section(checker, "retention_users", config.retention_users)?;
    let users_age = config.retention_users.max_age_s;
    checker.rule(
        "retention_users.max_age_s",
        users_age.is_none_or(|age| age >= config.push_ttl_s),
        || {
            format!(
                "must be at least push_ttl_s ({}), or pushes would be trimmed while they wait",
                config.push_ttl_s
            )
        },
    )?;
    checker
        .rule("retention", config.retention.len() <= 1000, || "must have at most 1000 rules".to_owned())?;
    for rule in &config.retention {
        checker.rule("retention", (1..=255).contains(&rule.channel.len()), || {
            "each channel must have 1 to 255 bytes".to_owned()
        })?;
        checker.rule("retention", !rule.channel.starts_with('@'), || {
            format!("channel {:?}: users' own channels have [retention_users]", rule.channel)
        })?;
        check_section(checker, "retention", rule.keep())?;
    }
    Ok(())
}

fn check_section(checker: &Checker<'_>, table: &str, section: RetentionSection) -> Result<(), ConfigError> {
    checker.range(&format!("{table}.max_messages"), section.max_messages, 1, 1_000_000_000)?;
    checker.range(&format!("{table}.max_bytes"), section.max_bytes, 65_536, 1 << 40)?;
    checker.range(&format!("{table}.max_age_s"), section.max_age_s, 1, 10 * YEAR_S)
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
                    refusal.starts_with(&format!(
                        "`retention.{key}` from --option: must be from {} to ",
                        below + 1
                    )),
                    "{refusal}"
                );
            }
            assert!(rule(below + 1).is_ok() && rule(above - 1).is_ok(), "{key}");
            for table in ["retention_default", "retention_users"] {
                let key = format!("{table}.{key}");
                assert!(refusal(&key, below).starts_with(&format!("`{key}`")), "{key}");
                assert!(refusal(&key, above).starts_with(&format!("`{key}`")), "{key}");
            }
        }
        let rule = |channel: &str| toml::Table::from_iter([("channel".into(), channel.into())]);
        for channel in [String::new(), "a".repeat(256), "@alice".to_owned()] {
            assert!(
                refusal("retention", vec![Value::Table(rule(&channel))]).starts_with("`retention`"),
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
