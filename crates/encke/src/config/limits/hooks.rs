//! The bounds of `[hooks]`.

use super::Checker;
use crate::{config::Config, public_addresses::is_public, signing_secret::SigningSecret};

/// The most secrets besides the one in use.
const FORMER_SECRETS_MAX: usize = 4;
/// The most header fields that the endpoint is told.
const HEADERS_MAX: usize = 16;
/// Fields that are told always, or that would hand the endpoint what proves a client to this server.
const NOT_CHOSEN: [&str; 3] = ["cookie", "origin", "authorization"];

pub(super) fn check(config: &Config, checker: &Checker<'_>) {
    let hooks = &config.hooks;
    checker.relation(&["hooks.decide", "hooks.url"], hooks.url.is_some() || hooks.decide.is_empty(), || {
        "needs hooks.url, the endpoint that decides".to_owned()
    });
    checker.relation(&["hooks.events", "hooks.url"], hooks.url.is_some() || hooks.events.is_empty(), || {
        "needs hooks.url, the endpoint that is told".to_owned()
    });
    if let Some(problem) =
        hooks.url.as_deref().and_then(|url| url_problem(url, hooks.allow_private, "hooks.allow_private"))
    {
        checker.rule("hooks.url", false, || problem);
    }
    checker.relation(&["hooks.secret", "hooks.url"], hooks.url.is_none() || hooks.secret.is_some(), || {
        "is needed, or the endpoint could not know who asks: make one with `openssl rand -base64 32`, and \
         write `whsec_` in front"
            .to_owned()
    });
    checker.rule("hooks.former_secrets", hooks.former_secrets.len() <= FORMER_SECRETS_MAX, || {
        format!("must have at most {FORMER_SECRETS_MAX} entries")
    });
    for (key, secrets) in
        [("hooks.secret", hooks.secret.as_slice()), ("hooks.former_secrets", hooks.former_secrets.as_slice())]
    {
        for problem in secrets.iter().filter_map(|secret| SigningSecret::read(secret.expose()).err()) {
            checker.rule(key, false, || problem.to_string());
        }
    }
    let is_field = |name: &String| {
        http::HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| !NOT_CHOSEN.contains(&name.as_str()))
    };
    checker.rule(
        "hooks.headers",
        hooks.headers.len() <= HEADERS_MAX && hooks.headers.iter().all(is_field),
        || {
            format!(
                "must be at most {HEADERS_MAX} names of header fields; Cookie and Origin are told always, \
                 Authorization never"
            )
        },
    );
}

/// Why nothing is sent to an address, as far as it can be seen in it. `key` permits private ones.
pub(super) fn url_problem(url: &str, allow_private: bool, key: &str) -> Option<String> {
    let Ok(url) = url::Url::parse(url) else { return Some("must be an https URL".to_owned()) };
    if !url.username().is_empty() || url.password().is_some() || !matches!(url.scheme(), "https" | "http") {
        return Some("must be an https URL without a user".to_owned());
    }
    if allow_private {
        return None;
    }
    if url.scheme() == "http" {
        return Some(format!("must be an https URL; plain http needs {key}"));
    }
    let is_public = match url.host() {
        Some(url::Host::Ipv4(address)) => is_public(address.into()),
        Some(url::Host::Ipv6(address)) => is_public(address.into()),
        // What a name leads to is looked at whenever it is connected to.
        Some(url::Host::Domain(name)) => name != "localhost" && !name.ends_with(".localhost"),
        None => false,
    };
    (!is_public).then(|| format!("must not be a private address; {key} permits it"))
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use crate::config::{ConfigError, Layers};

    const SECRET: &str = "whsec_9b1d4e7f20c35a6881e0d2f4b6a79c13";

    fn load(changes: &[(&str, Value)]) -> Result<(), ConfigError> {
        let decide = Value::Array(vec!["subscribe".into()]);
        let whole = [
            ("hooks.url", Value::from("https://app.example.com/hooks")),
            ("hooks.secret", SECRET.into()),
            ("hooks.decide", decide),
        ];
        let layers = whole.into_iter().chain(changes.iter().cloned());
        let put = |layers: Layers, (key, value): (&str, Value)| layers.option(key, "--option", value);
        layers.fold(Layers::new(Vec::new()), put).load().map(drop)
    }

    #[test]
    fn t18_an_endpoint_is_public_and_knows_who_asks_unless_it_is_said_otherwise() {
        assert!(load(&[]).is_ok());
        for url in [
            "http://app.example.com/",
            "https://127.0.0.1/",
            "https://10.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/",
            "https://localhost/",
        ] {
            let refusal = load(&[("hooks.url", url.into())]).unwrap_err().to_string();
            assert!(refusal.starts_with("--option: hooks.url: "), "{url}: {refusal}");
            let allowed = [("hooks.url", url.into()), ("hooks.allow_private", true.into())];
            assert!(load(&allowed).is_ok(), "{url}");
        }
        for url in ["", "ftp://app.example.com/", "https://a:b@app.example.com/"] {
            let changes = [("hooks.url", url.into()), ("hooks.allow_private", true.into())];
            assert!(load(&changes).is_err(), "{url}");
        }
    }

    #[test]
    fn every_setting_has_bounds_and_its_key_is_named() {
        let many = |text: &str, count| Value::Array(vec![text.into(); count]);
        for (key, value) in [
            ("hooks.secret", Value::from("9b1d4e7f20c35a6881e0d2f4b6a79c13")),
            ("hooks.secret", "whsec_changeme".into()),
            ("hooks.former_secrets", many(SECRET, 5)),
            ("hooks.former_secrets", many("whsec_", 1)),
            ("hooks.decide", many("login", 1)),
            ("hooks.events", many("push", 1)),
            ("hooks.events_kept_s", 3_599.into()),
            ("hooks.on_failure", "ignore".into()),
            ("hooks.headers", many("x-a", 17)),
            ("hooks.headers", many("a b", 1)),
            ("hooks.headers", many("Authorization", 1)),
            ("hooks.timeout_ms", 49.into()),
            ("hooks.max_concurrent", 0.into()),
        ] {
            let refusal = load(&[(key, value.clone())]).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("--option: {key}: ")), "{key} {value}: {refusal}");
        }
    }
}
