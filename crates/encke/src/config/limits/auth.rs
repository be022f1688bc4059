//! How tokens are verified: the bounds of the keys and rules of `[auth]`.

use super::Checker;
use crate::config::{ApiKeyEntry, AuthKey, Config, Secret};

pub(super) fn check(config: &Config, checker: &Checker<'_>) {
    let auth = &config.auth;
    let backend_keys: Vec<_> = config.all_api_keys().iter().filter_map(ApiKeyEntry::sha256).collect();
    for (key, claim) in [
        ("auth.user_claim", &auth.user_claim),
        ("auth.channels_claim", &auth.channels_claim),
        ("auth.publish_claim", &auth.publish_claim),
    ] {
        checker.rule(key, (1..=255).contains(&claim.len()), || "must have 1 to 255 bytes".to_owned());
    }
    checker.rule("auth.issuer", auth.issuer.as_ref().is_none_or(|issuer| !issuer.is_empty()), || {
        "must not be empty".to_owned()
    });
    checker.rule(
        "auth.audience",
        auth.audience.len() <= 100 && auth.audience.iter().all(|one| !one.is_empty()),
        || "must have at most 100 entries, none of them empty".to_owned(),
    );
    checker.rule("auth.jwks_url", auth.jwks_url.as_ref().is_none_or(|url| is_safe(url)), || {
        "must be an https URL without a user, or an http one of this machine".to_owned()
    });
    checker.rule("auth.keys", auth.keys.len() <= 32, || "must have at most 32 entries".to_owned());
    for (index, key) in auth.keys.iter().enumerate() {
        let name = key.kid.as_ref().map_or(format!("key {}", index + 1), |kid| format!("{kid:?}"));
        let problem = key_problem(key, &auth.keys[..index]).or_else(|| {
            let is_given_to_backends = |secret: &Secret| backend_keys.contains(&secret.sha256());
            let is_shared = key.secret.as_ref().is_some_and(is_given_to_backends);
            is_shared.then(|| "must not be a key of the server API".to_owned())
        });
        let path = format!("auth.keys[{index}]");
        checker.rule(&path, problem.is_none(), || format!("{name} {}", problem.unwrap_or_default()));
    }
}

/// Whether nothing between the server and an address can put keys of its own in the place of those there.
fn is_safe(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    !has_user && (url.scheme() == "https" || (url.scheme() == "http" && is_here))
}

/// What is wrong with a key that tokens are verified with, as far as it can be seen here. `before` are those
/// that stand before it.
fn key_problem(key: &AuthKey, before: &[AuthKey]) -> Option<String> {
    let sources = [key.file.is_some(), key.secret.is_some(), key.jwk.is_some()];
    if sources.iter().filter(|is_there| **is_there).count() != 1 {
        return Some("must have one of file, secret and jwk".to_owned());
    }
    if key.kid.as_ref().is_some_and(|kid| !(1..=255).contains(&kid.len())) {
        return Some("must have a kid of 1 to 255 bytes, or none".to_owned());
    }
    let is_twin = |other: &AuthKey| other.kid == key.kid && other.algorithm == key.algorithm;
    if key.kid.is_some() && before.iter().any(is_twin) {
        return Some("stands there twice".to_owned());
    }
    key.secret.as_ref().and_then(|secret| secret.weakness(32))
}

#[cfg(test)]
mod tests {
    use crate::config::{Layers, limits::tests::refusal};

    #[test]
    fn keys_come_from_safe_addresses_alone() {
        for url in [
            "http://id.example.com/k",
            "ftp://id.example.com/k",
            "https://a:b@id.example.com/k",
            "/k",
            "http://127.0.0.1.example.com/k",
        ] {
            assert!(refusal("auth.jwks_url", url).starts_with("--option: auth.jwks_url: "), "{url}");
        }
        for url in
            ["https://id.example.com/k", "http://127.0.0.1:81/k", "http://localhost/k", "http://[::1]/k"]
        {
            assert!(Layers::new(Vec::new()).option("auth.jwks_url", "--option", url).load().is_ok(), "{url}");
        }
    }
}
