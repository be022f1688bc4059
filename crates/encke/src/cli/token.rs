//! `encke token`

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use encke_proto::{Time, UserId};

use super::server::local_config;
use super::{CliError, output};
use crate::auth::{Claims, Grant, TokenKey};
use crate::config::{Config, ConfigError, DevKeys, Secret};

/// Sign a client's token with the server's secret, without asking the server
///
/// The secret is ENCKE_TOKEN_SECRET, token_secret in the configuration file, or what `serve --dev` made in
/// the data directory (ENCKE_DATA).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke token --user alice --ttl 3600
  encke token --user alice --channel news 'room-*' --publish 'room-*'")]
pub(crate) struct Args {
    /// The user whose token it is
    #[arg(long, value_parser = user)]
    user: UserId,
    /// Channels that it may subscribe to; `*` stands for any run of characters [default: none]
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    channel: Vec<String>,
    /// Channels that it may publish to [default: none]
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    publish: Vec<String>,
    /// How long it is good, in seconds, at most a year [default: token_ttl_s, a day]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    ttl: Option<u64>,
    /// Print a JSON object with the token, its user and when it ends
    #[arg(long)]
    json: bool,
    /// The server's configuration file
    #[arg(long, env = "ENCKE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Reads the id of a user.
pub(crate) fn user(text: &str) -> Result<UserId, String> {
    UserId::new(text).map_err(|error| error.to_string())
}

pub(crate) fn run(args: Args) -> Result<(), CliError> {
    let config = local_config(args.config)?;
    let secret = match config.token_secret.clone() {
        Some(secret) => Some(secret),
        None => DevKeys::read(&config.data).map_err(ConfigError::DevKeys)?.map(|keys| keys.token_secret),
    };
    let hint = "set ENCKE_TOKEN_SECRET, or name the configuration file with --config, or the data directory of a server in dev mode with ENCKE_DATA";
    let secret = secret.ok_or(CliError::NoKey { key: "token_secret", hint })?;
    let (channels, publish) = (Grant::of(args.channel), Grant::of(args.publish));
    let signed = sign(&config, &secret, args.user.clone(), channels, publish, args.ttl)?;
    if args.json {
        let expires = Time(signed.expires_s.saturating_mul(1000));
        return output::json(
            &serde_json::json!({ "token": signed.token, "user": args.user, "expires": expires }),
        );
    }
    output::line(&signed.token)
}

/// A token and when it ends.
pub(crate) struct Signed {
    pub(crate) token: String,
    /// In seconds since 1970.
    pub(crate) expires_s: u64,
}

/// Signs a token that is good from now on, for `ttl_s` or as long as the configuration says.
pub(crate) fn sign(
    config: &Config,
    secret: &Secret,
    user: UserId,
    channels: Grant,
    publish: Grant,
    ttl_s: Option<u64>,
) -> Result<Signed, CliError> {
    // A clock before 1970 makes a token that has expired, which is right: it is not known when it would.
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let expires_s = now_s + ttl_s.unwrap_or(config.token_ttl_s);
    let key = TokenKey::hs256(secret).with_rules(config.auth.clone());
    let claims = Claims { user, expires_s, issued_s: Some(now_s), jti: None, channels, publish };
    let token = key.sign(&claims)?;
    Ok(Signed { token, expires_s })
}
