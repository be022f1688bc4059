//! Rules for channels: their bounds, and what cannot be meant.

use encke_proto::{Who, limits::BODY_MAX_BYTES};

use super::Checker;
use crate::config::{Config, ConfigError};

/// Each place at which a client names a channel goes through them until one fits.
const RULES_MAX: usize = 100;

pub(super) fn check(config: &Config, checker: &Checker<'_>) -> Result<(), ConfigError> {
    checker.rule("rules", config.rules.len() <= RULES_MAX, || {
        format!("must have at most {RULES_MAX} entries")
    })?;
    for entry in &config.rules {
        let problem = entry.rule().err();
        checker.rule("rules", problem.is_none(), || {
            format!(
                "channel {:?}: {}",
                entry.channel,
                problem.map(|problem| problem.to_string()).unwrap_or_default()
            )
        })?;
        let is_of_users = entry.channel.contains("{user}");
        let whom = [entry.subscribe, entry.publish, entry.presence, entry.history.unwrap_or_default()];
        checker.rule("rules", is_of_users || !whom.contains(&Who::Owner), || {
            format!("channel {:?}: \"owner\" needs {{user}} in the pattern", entry.channel)
        })?;
        checker.range("rules.message_max_bytes", entry.message_max_bytes, 1, BODY_MAX_BYTES as u64)?;
        checker.range("rules.followers_max", entry.followers_max, 1, 10_000_000)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Layers;

    #[test]
    fn a_rule_for_channels_that_is_none_is_named() {
        let load = |rules: &str| {
            let rules: toml::Table = rules.parse().unwrap();
            Layers::new(Vec::new()).option("rules", "--option", rules["rules"].clone()).load()
        };
        let rule = |more: &str| load(&format!("[[rules]]\nchannel = \"a\"\n[[rules]]\n{more}"));
        for (more, problem) in [
            ("subscribe = \"users\"", "missing field `channel`"),
            ("channel = \"in-{users}\"", "channel \"in-{users}\": may hold {user} once"),
            ("channel = \"@alice\"", "do not begin with @"),
            ("channel = \"{user}*\"", "may hold one * beside {user}"),
            ("channel = \"\"", "must have 1 to 255 bytes"),
            ("channel = \"a\"\nsubscribe = \"owner\"", "\"owner\" needs {user} in the pattern"),
            ("channel = \"a\"\nhistory = \"owner\"", "\"owner\" needs {user} in the pattern"),
            ("channel = \"a\"\nsubscribe = \"all\"", "unknown variant `all`"),
            ("channel = \"a\"\nread = \"users\"", "unknown field `read`"),
            ("channel = \"a\"\nmessage_max_bytes = 0", "must be from 1 to 65536"),
            ("channel = \"a\"\nmessage_max_bytes = 65537", "must be from 1 to 65536"),
            ("channel = \"a\"\nfollowers_max = 0", "must be from 1 to "),
        ] {
            let refusal = rule(more).unwrap_err().to_string();
            assert!(refusal.starts_with("`rules") && refusal.contains(problem), "{more}: {refusal}");
        }
        assert!(rule("channel = \"in-{user}\"\nsubscribe = \"owner\"\nfollowers_max = 1").is_ok());
        let many = "[[rules]]\nchannel = \"a\"\n".repeat(101);
        assert!(load(&many).unwrap_err().to_string().contains("at most 100 entries"));
    }
}
