//! Whether keys and secrets are strong enough, and each is used for one thing.

use super::Checker;
use crate::config::{ApiKeyEntry, Config, Scopes, Secret, node};

/// How long a key of the server API is, outside dev mode.
const API_KEY_MIN_BYTES: usize = 16;
/// See [`API_KEY_MIN_BYTES`]; longer ones do not fit into the head of a request beside what else it has.
const API_KEY_MAX_BYTES: usize = 512;
const API_KEYS_MAX: usize = 100;

pub(super) fn check(config: &Config, checker: &Checker<'_>) {
    // Dev mode is for this machine only, so a key that is easy to type does no harm there. The signature's
    // secret stays one in any case.
    let api_key_min = if config.dev { 1 } else { API_KEY_MIN_BYTES };
    for (key, secret, min_bytes) in
        [("api_key", &config.api_key, api_key_min), ("token_secret", &config.token_secret, 32)]
    {
        if let Some(problem) = secret.as_ref().and_then(|secret| secret.weakness(min_bytes)) {
            checker.rule(key, false, || problem);
        }
    }
    let is_alone = !["redis", "nats"].iter().any(|scheme| config.engine.expose().starts_with(scheme));
    let has_others = config.auth.has_keys();
    checker.relation(
        &["token_secret", "engine", "auth.keys"],
        is_alone || config.token_secret.is_some() || !has_others,
        || "is needed where there are several nodes: tickets of one are good at all by it".to_owned(),
    );
    let is_short = |key: &Secret| key.expose().len() <= API_KEY_MAX_BYTES;
    checker.rule("api_key", config.api_key.as_ref().is_none_or(is_short), || {
        format!("must have at most {API_KEY_MAX_BYTES} bytes")
    });
    // Each is given to others: the one to all backends, the other to what makes tokens.
    checker.relation(
        &["api_key", "token_secret"],
        config.api_key.is_none() || config.api_key != config.token_secret,
        || "must not be the same as token_secret".to_owned(),
    );
    checker.rule("api_keys", config.api_keys.len() <= API_KEYS_MAX, || {
        format!("must have at most {API_KEYS_MAX} entries")
    });
    for (at, entry) in config.api_keys.iter().enumerate() {
        let others = &config.api_keys[..at];
        let problem = api_key_problem(config, entry, api_key_min).or_else(|| {
            others.iter().any(|other| other.name == entry.name).then(|| "this name is taken".to_owned())
        });
        let is_twin = |other: &ApiKeyEntry| other.sha256() == entry.sha256();
        let problem =
            problem.or_else(|| others.iter().any(is_twin).then(|| "it is the same as another".to_owned()));
        if let Some(problem) = problem {
            checker.rule(&format!("api_keys[{at}]"), false, || format!("key {:?}: {problem}", entry.name));
        }
    }
}

/// What is wrong with a key of the server API, if anything is.
fn api_key_problem(config: &Config, entry: &ApiKeyEntry, min_bytes: usize) -> Option<String> {
    if !node::is_name(&entry.name) {
        return Some("the name must be 1 to 64 ASCII letters, digits, `.`, `-`, `_`".to_owned());
    }
    if entry.scopes == Scopes::NONE {
        return Some("it has no scopes, so it allows nothing".to_owned());
    }
    if entry.key.is_some() == entry.key_sha256.is_some() {
        return Some("it needs either key or key_sha256".to_owned());
    }
    let mut secrets = [&config.api_key, &config.token_secret].into_iter().flatten();
    if secrets.any(|secret| Some(secret.sha256()) == entry.sha256()) {
        return Some("must be neither api_key nor token_secret".to_owned());
    }
    let key = entry.key.as_ref()?;
    if key.expose().len() > API_KEY_MAX_BYTES {
        return Some(format!("must have at most {API_KEY_MAX_BYTES} bytes"));
    }
    key.weakness(min_bytes)
}

#[cfg(test)]
mod tests {
    use crate::config::{Layers, limits::tests::refusal};

    #[test]
    fn weak_secrets_are_refused() {
        assert!(refusal("api_key", "short").starts_with("--option: api_key: "));
        for weak in ["aaaaaaaaaaaaaaab", "abcababcabcabcabc", "1212121212121212"] {
            assert!(refusal("api_key", weak).contains("a few characters"), "{weak}");
        }
        assert!(refusal("api_key", "4f1c9be07d3a".repeat(50)).contains("at most 512 bytes"));
        assert!(refusal("token_secret", "changeme").contains("placeholder"));
        assert!(
            !refusal("token_secret", "4f1c9be07d3a").contains("4f1c9be07d3a"),
            "a secret is not in the words of its refusal"
        );
    }

    #[test]
    fn each_api_key_has_a_name_scopes_and_one_form() {
        let digest = "0f4e8c1b".repeat(8);
        let load = |keys: &str| {
            let table: toml::Table = format!("keys = {keys}").parse().unwrap();
            let layers = Layers::new(Vec::new()).option("api_key", "--option", "4f1c9be07d3a4f1c");
            layers.option("api_keys", "--option", table["keys"].clone()).load()
        };
        let key = |fields: &str| format!("[{{ {fields} }}]");
        let good = [
            key(r#"name = "a", key = "7d3a4f1c9be07d3a", scopes = ["push"]"#),
            key(&format!(r#"name = "a", key_sha256 = "{digest}", scopes = ["admin"]"#)),
            key(&format!(
                r#"name = "a", key_sha256 = "{digest}", scopes = ["read"], expires = "2027-01-31T00:00:00Z""#
            )),
        ];
        for keys in good {
            assert!(load(&keys).is_ok(), "{keys}");
        }
        let a = r#"{ name = "a", key = "7d3a4f1c9be07d3a", scopes = ["push"] }"#;
        for (keys, word) in [
            (key(r#"name = "a", scopes = ["push"]"#), "either key or key_sha256"),
            (
                key(&format!(
                    r#"name = "a", key = "7d3a4f1c9be07d3a", key_sha256 = "{digest}", scopes = ["push"]"#
                )),
                "either key or key_sha256",
            ),
            (key(r#"name = "a", key = "7d3a4f1c9be07d3a", scopes = []"#), "no scopes"),
            (key(r#"name = "a", key = "7d3a4f1c9be07d3a", scopes = ["all"]"#), "must be push, publish"),
            (key(r#"name = "a b", key = "7d3a4f1c9be07d3a", scopes = ["push"]"#), "the name must be"),
            (key(r#"name = "a", key = "4f1c9be07d3a4f1c", scopes = ["push"]"#), "neither api_key nor"),
            (key(r#"name = "a", key = "short", scopes = ["push"]"#), "at least 16 bytes"),
            (key(r#"name = "a", key_sha256 = "0f4e", scopes = ["push"]"#), "64 hexadecimal digits"),
            (format!("[{a}, {a}]"), "this name is taken"),
        ] {
            let refusal = load(&keys).unwrap_err().to_string();
            assert!(refusal.starts_with("--option: api_keys") && refusal.contains(word), "{keys}: {refusal}");
            assert!(!refusal.contains("7d3a4f1c9be07d3a"), "{refusal}");
        }
        let same = Layers::new(Vec::new()).option("api_key", "--option", "4f1c9be07d3a".repeat(3));
        let same = same.option("token_secret", "--option", "4f1c9be07d3a".repeat(3)).load().unwrap_err();
        assert!(same.to_string().contains("must not be the same as token_secret"), "{same}");
    }

    #[test]
    fn in_dev_mode_a_short_api_key_will_do() {
        let dev = Layers::new(Vec::new()).option("dev", "--dev", true);
        assert!(dev.option("api_key", "--option", "test-key").load().is_ok());
    }
}
