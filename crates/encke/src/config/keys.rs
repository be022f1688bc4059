//! The table of all keys, for the environment and for naming unknown ones.

/// How the text of an environment variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it is.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Parts with commas between.
    List,
    /// A TOML value, for what has an inner form.
    Toml,
}

/// Every key, its table in front of a dot, and how it is read from the environment.
pub(crate) const KEYS: &[(&str, Kind)] = &[
    ("listen", Kind::Text),
    ("admin_listen", Kind::Text),
    ("trusted_proxies", Kind::List),
    ("proxy_protocol", Kind::Switch),
    ("console", Kind::Switch),
    ("demo", Kind::Switch),
    ("tls_listen", Kind::Text),
    ("tls_cert", Kind::Text),
    ("tls_key", Kind::Text),
    ("tls_certificates", Kind::Toml),
    ("tls_acme", Kind::List),
    ("tls_acme_contact", Kind::Text),
    ("tls_acme_directory", Kind::Text),
    ("tls_acme_root", Kind::Text),
    ("tls_alpn", Kind::List),
    ("tls_redirect", Kind::Switch),
    ("tls_redirect_port", Kind::Number),
    ("tls_hsts_s", Kind::Number),
    ("data", Kind::Text),
    ("engine", Kind::Text),
    ("dev", Kind::Switch),
    ("api_key", Kind::Text),
    ("api_keys", Kind::Toml),
    ("token_secret", Kind::Text),
    ("node", Kind::Text),
    ("hold_s", Kind::Number),
    ("heartbeat_s", Kind::Number),
    ("session_grace_s", Kind::Number),
    ("push_ttl_s", Kind::Number),
    ("token_ttl_s", Kind::Number),
    ("allowed_origins", Kind::List),
    ("url_allow_list", Kind::List),
    ("max_connections", Kind::Number),
    ("max_connections_per_address", Kind::Number),
    ("max_sessions_per_user", Kind::Number),
    ("max_channels_per_user", Kind::Number),
    ("max_new_channels_per_hour", Kind::Number),
    ("websocket_compression", Kind::Switch),
    ("workers", Kind::Number),
    ("log", Kind::Text),
    ("log_format", Kind::Text),
    ("audit", Kind::Text),
    ("audit_channel", Kind::Text),
    ("shutdown_drain_s", Kind::Number),
    ("shutdown_spread_s", Kind::Number),
    ("retention", Kind::Toml),
    ("retention_default.max_messages", Kind::Number),
    ("retention_default.max_bytes", Kind::Number),
    ("retention_default.max_age_s", Kind::Number),
    ("retention_users.max_messages", Kind::Number),
    ("retention_users.max_bytes", Kind::Number),
    ("retention_users.max_age_s", Kind::Number),
    ("rules", Kind::Toml),
    ("slow.policy", Kind::Text),
    ("slow.max_messages", Kind::Number),
    ("slow.max_bytes", Kind::Number),
    ("slow.deadline_s", Kind::Number),
    ("limits.address_logins_per_s", Kind::Number),
    ("limits.address_requests_per_s", Kind::Number),
    ("limits.address_failures_per_s", Kind::Number),
    ("limits.user_connects_per_s", Kind::Number),
    ("limits.user_requests_per_s", Kind::Number),
    ("limits.user_publishes_per_s", Kind::Number),
    ("limits.user_publish_bytes_per_s", Kind::Number),
    ("limits.burst_s", Kind::Number),
    ("linger_ms", Kind::Number),
    ("batched_sends", Kind::Switch),
    ("auth.issuer", Kind::Text),
    ("auth.audience", Kind::List),
    ("auth.user_claim", Kind::Text),
    ("auth.channels_claim", Kind::Text),
    ("auth.publish_claim", Kind::Text),
    ("auth.leeway_s", Kind::Number),
    ("auth.revocations_kept_s", Kind::Number),
    ("auth.jwks_url", Kind::Text),
    ("auth.keys", Kind::Toml),
];

/// The keys of former versions that have no effect any more, and what has become of each. A server still
/// starts with one, and warns of it: an upgrade is no reason to be down.
pub(crate) const REMOVED: &[(&str, &str)] = &[
    ("turn_us", "no worker lets work gather before it does it any more, whatever the load"),
    (
        "sqlite_gather_ms",
        "there is no engine `sqlite` any more, and the engine `log` waits for no other writes",
    ),
];

/// The environment variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("ENCKE_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The table whose keys are the names of dialects, each a [`Kind::Switch`].
pub(crate) const DIALECTS: &str = "dialects";

/// Whether `key` exists at the top of the file.
pub(crate) fn is_top_level(key: &str) -> bool {
    key == DIALECTS || KEYS.iter().any(|(known, _)| known.split('.').next() == Some(key))
}
