//! `encke listen`

use std::cell::RefCell;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use encke_client::{Client, Error, Event, Listen, Listener, SessionHandle, Transport};
use encke_proto::UserId;

use super::server::ApiArgs;
use super::token::{sign, user};
use super::{CliError, history, output};
use crate::auth::Grant;

/// How long closing the session may take when the program is told to stop.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Print what a user is given, one JSON object a line
///
/// With a key of the server API this looks on: at what waits for the user and at what comes, and nothing is
/// taken from the user. With --token, --channel, --device or --transport, or without a key, it is one of the
/// user's clients: the user is online by it, and what it prints was delivered.
///
/// Gaps, losses of the connection and the end are told on stderr. SIGINT and SIGTERM close the session.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke listen --user alice
  encke listen --user alice --transport sse
  encke listen --user alice --channel news sport --transport ws
  ENCKE_TOKEN=$(encke token --user alice) encke listen --user alice")]
pub(crate) struct Args {
    /// The user
    #[arg(long, value_parser = user)]
    user: UserId,
    /// Channels to subscribe to besides the user's own
    #[arg(long, num_args = 1..)]
    channel: Vec<String>,
    /// A name for this device: it goes on where it was, whatever other devices of the user were given
    #[arg(long)]
    device: Option<String>,
    /// How messages come to a client of the user; sse when not given
    #[arg(long, value_enum)]
    transport: Option<By>,
    /// The user's token. When not given, a client of the user has one that is signed here if the token secret
    /// is configured, else by a login without proof, which dev mode allows
    #[arg(long, env = "ENCKE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Args {
    /// The key to look on with, unless this is to be a client of the user.
    fn looking_key(&self) -> Result<Option<String>, CliError> {
        let has_token = self.token.as_deref().is_some_and(|token| !token.is_empty());
        let as_user = has_token || self.device.is_some() || self.transport.is_some();
        if as_user || !self.channel.is_empty() {
            return Ok(None);
        }
        self.api.key()
    }
}

/// The transports that the client can.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Poll,
    Sse,
    Ndjson,
    Ws,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let mut stop = Stop::new()?;
    let current = RefCell::new(None);
    let looking_key = args.looking_key()?;
    let mut following = std::pin::pin!(follow(&args, looking_key.as_deref(), &current));
    let followed = tokio::select! {
        followed = &mut following => followed,
        () = stop.told() => {
            let Some(handle) = current.borrow().clone().filter(|_| looking_key.is_none()) else {
                return Ok(());
            };
            let closing = tokio::spawn(close(handle));
            // What is already under way is printed while the session closes; then the listener ends by
            // itself, unless closing failed.
            let failed = async {
                if !matches!(closing.await, Ok(true)) {
                    return;
                }
                tokio::time::sleep(CLOSE_TIMEOUT).await;
            };
            let followed = tokio::select! {
                followed = following => Some(followed),
                () = failed => None,
            };
            return match followed {
                Some(Err(error @ CliError::Output(_))) => Err(error),
                _ => Ok(()),
            };
        }
    };
    if looking_key.is_none() && matches!(followed, Err(CliError::Output(_))) {
        let handle = current.borrow().clone();
        if let Some(handle) = handle {
            close(handle).await;
        }
    }
    followed
}

/// Listens and prints until the session is closed. A token that was made here is made anew when it has
/// expired.
async fn follow(
    args: &Args,
    looking_key: Option<&str>,
    current: &RefCell<Option<SessionHandle>>,
) -> Result<(), CliError> {
    let transport = match args.transport {
        Some(By::Poll) => Transport::Poll,
        Some(By::Sse) | None => Transport::Sse,
        Some(By::Ndjson) => Transport::Ndjson,
        Some(By::Ws) => Transport::Ws,
    };
    let renewable = args.token.as_deref().is_none_or(str::is_empty);
    let mut was_open = false;
    loop {
        // What is printed is for other programs, which may want each member.
        let mut listen = Listen::new().whole().channels(args.channel.iter().cloned()).transport(transport);
        if let Some(device) = &args.device {
            listen = listen.device(device);
        }
        if looking_key.is_some() {
            listen = listen.looking_at(args.user.as_str());
        }
        let before = current.borrow().clone();
        if let Some((session, cursor)) = before.and_then(|handle| handle.session().zip(handle.cursor())) {
            listen = listen.session(session).cursor(cursor);
        }
        let mut listener = client(args, looking_key).await?.listen(listen);
        current.replace(Some(listener.handle()));
        let mut is_open = false;
        let printed = print(&mut listener, was_open, &mut is_open).await;
        was_open |= is_open;
        match printed {
            // A token that never worked would not work the next time either.
            Err(CliError::Client(ref error))
                if renewable && is_open && error.code() == Some("token_expired") =>
            {
                output::note(&"the token has expired; going on with a new one");
            }
            done => return done,
        }
    }
}

/// Closes the session on purpose, so that the server need not wait for its grace time. False if that failed.
async fn close(handle: SessionHandle) -> bool {
    match tokio::time::timeout(CLOSE_TIMEOUT, handle.close(Some("the listener was stopped"))).await {
        Ok(Ok(_)) => return true,
        Ok(Err(error)) => output::note(&format_args!("the session was not closed: {error}")),
        Err(_) => output::note(&"the session was not closed: the server did not answer in time"),
    }
    false
}

async fn client(args: &Args, looking_key: Option<&str>) -> Result<Client, CliError> {
    let address = args.api.server().address();
    if let Some(key) = looking_key {
        return Ok(Client::new(address, key)?);
    }
    if let Some(token) = args.token.as_deref().filter(|token| !token.is_empty()) {
        if let Some(other) = claimed_user(token).filter(|user| user != args.user.as_str()) {
            return Err(CliError::Usage(format!(
                "the token is of the user {other:?}, not of {:?}: give --user {other}, or a token of that user",
                args.user.as_str()
            )));
        }
        return Ok(Client::new(address, token)?);
    }
    let config = args.api.server().config()?;
    if let Some(secret) = &config.token_secret {
        let signed =
            sign(&config, secret, args.user.clone(), Grant::of(args.channel.clone()), Grant::none(), None)?;
        return Ok(Client::new(address, &signed.token)?);
    }
    match Client::login(address, args.user.as_str()).await {
        Ok((client, _)) => Ok(client),
        Err(error) if error.code() == Some("login_disabled") => {
            let hint =
                "the server is not in dev mode, so give --token, or set ENCKE_TOKEN or ENCKE_TOKEN_SECRET";
            Err(CliError::NoKey { key: "token_secret", hint })
        }
        Err(error) => Err(error.into()),
    }
}

/// The user whom a token names, if it does so in the usual claim (RFC 7519 section 4.1.2). Whether the token
/// is good, the server says.
fn claimed_user(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims.get("sub")?.as_str().map(str::to_owned)
}

/// Prints until the session is closed. `was_open` says whether another listener of this run was connected;
/// `is_open` becomes true when this one is.
async fn print(listener: &mut Listener, was_open: bool, is_open: &mut bool) -> Result<(), CliError> {
    while let Some(event) = listener.next().await {
        match event? {
            Event::Open(_) => {
                if was_open || *is_open {
                    output::note(&"connected again");
                }
                *is_open = true;
            }
            Event::Message(message) => output::line(&message.to_json_line())?,
            Event::Gap(gap) => {
                output::note(&history::told(&gap));
            }
            Event::Unsubscribed(told) => {
                output::note(&format_args!("unsubscribed from {}: {}", told.channel, told.reason));
            }
            Event::Expiring(told) => output::note(&format_args!("the token ends in {} s", told.in_s)),
            Event::Close(close) => {
                let reason =
                    if close.reason.is_empty() { String::new() } else { format!(": {}", close.reason) };
                output::note(&format_args!("closed ({}){reason}", close.code));
            }
            // A server that is not there at all is for the caller to know at once; one that was there is
            // waited for.
            Event::Lost(lost) if !was_open && !*is_open && matches!(lost.cause, Error::Unreachable(_)) => {
                return Err(lost.cause.into());
            }
            Event::Lost(lost) => output::note(&format_args!(
                "{}; trying again in {:.1} s",
                lost.cause,
                lost.retry_in.as_secs_f64()
            )),
            _ => {}
        }
    }
    Ok(())
}

/// Waits for the signals that ask a program to stop.
struct Stop {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    fn new() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
        let terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
        Ok(Self { interrupt, terminate })
    }

    #[cfg(not(unix))]
    fn new() -> Result<Self, CliError> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn told(&mut self) {
        // Without signals there is only the interrupt of the console; should it not be there either, nothing
        // tells to stop.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
