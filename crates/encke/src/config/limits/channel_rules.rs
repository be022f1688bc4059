//! Rules for channels: their bounds, and what cannot be meant.

use encke_proto::Who;

use super::Checker;
use crate::config::Config;

/// Each place at which a client names a channel goes through them until one fits.
const RULES_MAX: usize = 100;

pub(super) fn check(config: &Config, checker: &Checker<'_>) {
    checker
        .rule("rules", config.rules.len() <= RULES_MAX, || format!("must have at most {RULES_MAX} entries"));
    for (index, entry) in config.rules.iter().enumerate() {
        let path = format!("rules[{index}]");
        let problem = entry.rule().err();
        checker.rule(&path, problem.is_none(), || {
            format!(
                "channel {:?}: {}",
                entry.channel,
                problem.map(|problem| problem.to_string()).unwrap_or_default()
            )
        });
        let is_of_users = entry.channel.contains("{user}");
        let whom = [entry.subscribe, entry.publish, entry.presence, entry.history.unwrap_or_default()];
        checker.rule(&path, is_of_users || !whom.contains(&Who::Owner), || {
            format!("channel {:?}: \"owner\" needs {{user}} in the pattern", entry.channel)
        });
    }
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
            ("subscribe = \"users\"", "rules.channel: is missing"),
            ("channel = \"in-{users}\"", "channel \"in-{users}\": may hold {user} once"),
            ("channel = \"@alice\"", "do not begin with @"),
            ("channel = \"{user}*\"", "may hold one * beside {user}"),
            ("channel = \"\"", "must have 1 to 255 bytes"),
            ("channel = \"a\"\nsubscribe = \"owner\"", "\"owner\" needs {user} in the pattern"),
            ("channel = \"a\"\nhistory = \"owner\"", "\"owner\" needs {user} in the pattern"),
            ("channel = \"a\"\nsubscribe = \"all\"", "must be anyone, users"),
            ("channel = \"a\"\nread = \"users\"", "rules.read: is no such key"),
            ("channel = \"a\"\nmessage_max_bytes = 0", "must be from 1 to 65536"),
            ("channel = \"a\"\nmessage_max_bytes = 65537", "must be from 1 to 65536"),
            ("channel = \"a\"\nfollowers_max = 0", "must be from 1 to "),
            ("channel = \"a\"\nmessages_per_s = 0", "must be from 1 to "),
        ] {
            let refusal = rule(more).unwrap_err().to_string();
            assert!(refusal.starts_with("--option: rules") && refusal.contains(problem), "{more}: {refusal}");
        }
        assert!(rule("channel = \"in-{user}\"\nsubscribe = \"owner\"\nfollowers_max = 1").is_ok());
        let many = "[[rules]]\nchannel = \"a\"\n".repeat(101);
        assert!(load(&many).unwrap_err().to_string().contains("at most 100 entries"));
    }
}
