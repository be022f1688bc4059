//! The applications of the dialect `pusher`: their bounds, and that no two are one.

use encke_proto::codec::pusher::is_app_id;

use super::{Checker, hooks::url_problem};
use crate::config::{Config, PusherApp};

const APPS_MAX: usize = 100;
const KEY_MAX_BYTES: usize = 128;
/// As short as they are elsewhere: secrets are taken over with their applications.
const SECRET_MIN_BYTES: usize = 8;
const SECRET_MAX_BYTES: usize = 512;

pub(super) fn check(config: &Config, checker: &Checker<'_>) {
    let apps = &config.pusher_apps;
    checker.rule("pusher_apps", apps.len() <= APPS_MAX, || format!("must have at most {APPS_MAX} entries"));
    let is_on = config.dialects.says("pusher") == Some(true);
    checker.relation(&["dialects.pusher", "pusher_apps"], !is_on || !apps.is_empty(), || {
        "needs pusher_apps, since its clients name an application".to_owned()
    });
    for (at, app) in apps.iter().enumerate() {
        let problem = problem(app, &apps[..at]);
        checker.rule(&format!("pusher_apps[{at}]"), problem.is_none(), || {
            format!("application {:?}: {}", app.id, problem.unwrap_or_default())
        });
    }
}

fn problem(app: &PusherApp, others: &[PusherApp]) -> Option<String> {
    if !is_app_id(&app.id) {
        return Some("the id must be 1 to 64 ASCII letters, digits, `-`, `_`".to_owned());
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if app.key.is_empty() || app.key.len() > KEY_MAX_BYTES || !app.key.bytes().all(fits) {
        return Some(format!("the key must be 1 to {KEY_MAX_BYTES} ASCII letters, digits, `-`, `_`"));
    }
    if others.iter().any(|other| other.id == app.id) {
        return Some("this id is taken".to_owned());
    }
    if others.iter().any(|other| other.key == app.key) {
        return Some("this key is taken".to_owned());
    }
    if app.secret.expose().len() > SECRET_MAX_BYTES {
        return Some(format!("the secret must have at most {SECRET_MAX_BYTES} bytes"));
    }
    if app.secret.expose() == app.key {
        return Some("the secret must not be the key, which every page shows".to_owned());
    }
    if let Some(problem) = app
        .webhook
        .as_deref()
        .and_then(|url| url_problem(url, app.webhook_allow_private, "webhook_allow_private"))
    {
        return Some(format!("webhook {problem}"));
    }
    app.secret.weakness(SECRET_MIN_BYTES).map(|problem| format!("the secret {problem}"))
}

#[cfg(test)]
mod tests {
    use crate::config::Layers;

    fn load(apps: &str) -> Result<(), String> {
        let table: toml::Table = format!("apps = [{apps}]").parse().unwrap();
        let layers = Layers::new(Vec::new()).option("pusher_apps", "--option", table["apps"].clone());
        layers.load().map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn an_application_has_an_id_a_key_and_a_secret_of_its_own() {
        let app = |more: &str| format!(r#"{{ id = "1", key = "app-key", secret = "app-secret"{more} }}"#);
        assert_eq!(load(&app("")), Ok(()));
        assert_eq!(load(&app(r#", webhook = "https://app.example.com/pusher""#)), Ok(()));
        let private = r#", webhook = "http://127.0.0.1:1/", webhook_allow_private = true"#;
        assert_eq!(load(&app(private)), Ok(()));
        let other = r#"{ id = "2", key = "app-key", secret = "other-secret" }"#;
        let long = "x1y2z3".repeat(100);
        for (apps, word) in [
            (format!("{}, {}", app(""), app("")), "this id is taken"),
            (format!("{}, {other}", app("")), "this key is taken"),
            (r#"{ id = "a:b", key = "k", secret = "app-secret" }"#.to_owned(), "the id must be"),
            (r#"{ id = "1", key = "a/b", secret = "app-secret" }"#.to_owned(), "the key must be"),
            (r#"{ id = "1", key = "k", secret = "short" }"#.to_owned(), "at least 8 bytes"),
            (r#"{ id = "1", key = "app-secret", secret = "app-secret" }"#.to_owned(), "must not be the key"),
            (format!(r#"{{ id = "1", key = "k", secret = "{long}" }}"#), "at most 512 bytes"),
            (app(", client_event = true"), "client_event: is no such key; did you mean"),
            (app(", activity_timeout_s = 9"), "must be from 10 to 600"),
            (app(", event_max_bytes = 65537"), "must be from 1 to 65536"),
            (app(", presence_max_members = 0"), "must be from 1 to 10000"),
            (app(r#", webhook = "http://app.example.com/""#), "plain http needs webhook_allow_private"),
            (app(r#", webhook = "https://127.0.0.1/""#), "must not be a private address"),
            (app(r#", webhook = "https://[::ffff:10.0.0.1]/""#), "must not be a private address"),
            (app(r#", webhook = "https://169.254.169.254/latest/""#), "must not be a private address"),
            (app(r#", webhook = "https://a:b@app.example.com/""#), "without a user"),
            (app(r#", webhook_events = ["channel_occupied", "pushed"]"#), "must be channel_occupied"),
        ] {
            let refusal = load(&apps).unwrap_err();
            assert!(
                refusal.starts_with("--option: pusher_apps") && refusal.contains(word),
                "{apps}: {refusal}"
            );
            assert!(!refusal.contains("app-secret"), "{refusal}");
        }
    }
}
