//! The engines that this build has: a table from the schemes of an address to what opens it. Only this file
//! names concrete engines.
//!
//! A new engine is a folder in `encke-engine`, a feature, and here a module with its opener and a line in
//! [`OPENERS`]. What an address means besides its scheme, its engine knows.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc};

use encke_engine::{Cluster, Engine, EngineError, EngineEvents, RetentionTable};
use encke_proto::Epoch;

/// Every engine of this build, in the order in which they are told.
const OPENERS: &[Opener] = &[
    memory::OPENER,
    #[cfg(feature = "log")]
    log::OPENER,
    #[cfg(feature = "redis")]
    redis::OPENER,
    #[cfg(feature = "nats")]
    nats::OPENER,
];

/// Names that engines had in former versions, each with that of the one which has taken its place.
const FORMER: &[(&str, &str)] = &[("sqlite", "log")];

/// The longest scheme that is repeated to who wrote it, in bytes.
const SCHEME_MAX_BYTES: usize = 32;

/// What the server stands on.
pub struct Backing {
    /// Where the logs are.
    pub engine: Arc<dyn Engine>,
    /// How it finds other nodes, with engines that have several.
    pub cluster: Option<Arc<dyn Cluster>>,
}

impl Backing {
    fn alone(engine: impl Engine) -> Self {
        Self { engine: Arc::new(engine), cluster: None }
    }

    #[cfg(any(feature = "redis", feature = "nats"))]
    fn among_others<E: Engine + Cluster>(engine: Arc<E>) -> Self {
        Self { engine: Arc::clone(&engine) as Arc<dyn Engine>, cluster: Some(engine) }
    }
}

/// What an engine is opened with, besides its address. Each takes of it what it needs.
pub struct Opening {
    /// Who hears of what comes in elsewhere.
    pub events: EngineEvents,
    /// What is kept of which channel.
    pub retention: RetentionTable,
    /// The epoch of a store that is new.
    pub epoch: Epoch,
    /// The directory for what lies on this machine's disk. It exists.
    pub data: PathBuf,
    /// What the operator calls this node.
    pub node: String,
}

/// Why an address leads to no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has another form than addresses have.
    #[error("must be {forms}")]
    Form {
        /// The forms of the engines of this build.
        forms: String,
    },
    /// This build has no engine for its scheme.
    #[error("this build has no engine `{scheme}`; must be {forms}")]
    Scheme {
        /// The scheme.
        scheme: String,
        /// The forms of the engines of this build.
        forms: String,
    },
    /// The engine does not understand the rest of it.
    #[error("{0}")]
    Engine(String),
}

/// Why an engine is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// It cannot be worked with.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data directory has what the former engine `sqlite` kept, and no log store.
    #[error(
        "{} is the store of the former engine `sqlite`; take it over with `encke store import --data {}`{}, \
         or move it away to begin an empty one",
        file.display(), data.display(), IMPORTER
    )]
    OldStore {
        /// Its database.
        file: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
}

/// What has the command that takes an old store over, if this build has not.
const IMPORTER: &str =
    if cfg!(feature = "sqlite-import") { "" } else { " of a build with the feature `sqlite-import`" };

type Opened = Pin<Box<dyn Future<Output = Result<Backing, OpenError>> + Send>>;

/// What is known of an engine before it is opened.
struct Opener {
    /// What its addresses begin with; the first is the one that is told.
    schemes: &'static [&'static str],
    /// Whether hosts follow (`redis://HOST…`), or the scheme is all (`memory`).
    hosts: bool,
    /// Looks at a whole address, without connecting to it.
    check: fn(&str) -> Result<(), AddressError>,
    /// Opens the engine at an address.
    open: fn(String, Opening) -> Opened,
}

/// Looks at an address as far as that can be done without connecting to it.
///
/// # Errors
/// [`AddressError`]; it repeats nothing that may be secret.
pub fn check(address: &str) -> Result<(), AddressError> {
    check_among(OPENERS, address)
}

/// Opens the engine that an address leads to.
///
/// # Errors
/// [`OpenError`] says why it is not there.
pub async fn open(address: &str, opening: Opening) -> Result<Backing, OpenError> {
    let opener = find(OPENERS, address)?;
    (opener.open)(address.to_owned(), opening).await
}

/// The engine that has taken the place of the one that an address names, if there is one.
pub(crate) fn successor(address: &str) -> Option<&'static str> {
    FORMER.iter().find(|(former, _)| *former == address).map(|(_, now)| *now)
}

fn check_among(openers: &[Opener], address: &str) -> Result<(), AddressError> {
    (find(openers, address)?.check)(address)
}

fn find<'a>(openers: &'a [Opener], address: &str) -> Result<&'a Opener, AddressError> {
    let address = successor(address).unwrap_or(address);
    let (scheme, hosts) = match address.split_once("://") {
        Some((scheme, rest)) => (scheme, Some(hosts(rest))),
        None => (address, None),
    };
    let first =
        scheme.starts_with(|first: char| first.is_ascii_lowercase()) && scheme.len() <= SCHEME_MAX_BYTES;
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.');
    if !first || !scheme.bytes().all(fits) || hosts == Some("") {
        return Err(AddressError::Form { forms: forms(openers) });
    }
    match openers.iter().find(|opener| opener.schemes.contains(&scheme)) {
        Some(opener) if opener.hosts == hosts.is_some() => Ok(opener),
        Some(_) => Err(AddressError::Form { forms: forms(openers) }),
        None => Err(AddressError::Scheme { scheme: scheme.to_owned(), forms: forms(openers) }),
    }
}

/// The hosts of what stands behind a scheme, without who to be there and without settings.
pub(crate) fn hosts(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts)
}

/// How addresses of these engines are written: `memory, log or redis://HOST…`.
fn forms(openers: &[Opener]) -> String {
    let one = |opener: &Opener| {
        let scheme = opener.schemes.first().copied().unwrap_or_default();
        if opener.hosts { format!("{scheme}://HOST…") } else { scheme.to_owned() }
    };
    let forms: Vec<String> = openers.iter().map(one).collect();
    match forms.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

mod memory {
    use encke_engine::memory::MemoryEngine;

    use super::{Backing, Opener};

    pub(super) const OPENER: Opener = Opener {
        schemes: &["memory"],
        hosts: false,
        check: |_| Ok(()),
        open: |_, opening| {
            Box::pin(async move {
                Ok(Backing::alone(MemoryEngine::new(opening.events.feed, opening.retention, opening.epoch)))
            })
        },
    };
}

#[cfg(feature = "log")]
mod log {
    use std::path::Path;

    use encke_engine::log::LogEngine;

    use super::{Backing, OpenError, Opener};

    /// The directory of the store in the data directory.
    const DIRECTORY: &str = "log";
    /// What the former engine `sqlite` kept its logs in.
    const SQLITE_FILE: &str = "encke.sqlite3";

    pub(super) const OPENER: Opener = Opener {
        schemes: &["log"],
        hosts: false,
        check: |_| Ok(()),
        open: |_, opening| {
            Box::pin(async move {
                let directory = opening.data.join(DIRECTORY);
                refuse_old_store(&opening.data, &directory)?;
                let engine =
                    LogEngine::open(&directory, opening.events.feed, opening.retention, opening.epoch)?;
                Ok(Backing::alone(engine))
            })
        },
    };

    /// A server that finds what the former engine kept must not begin an empty store beside it without a
    /// word.
    fn refuse_old_store(data: &Path, directory: &Path) -> Result<(), OpenError> {
        let file = data.join(SQLITE_FILE);
        if directory.exists() || !file.exists() {
            return Ok(());
        }
        Err(OpenError::OldStore { file, data: data.to_owned() })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_the_former_engine_kept_is_not_passed_over() {
            let data = tempfile::tempdir().unwrap();
            let directory = data.path().join(DIRECTORY);
            assert!(refuse_old_store(data.path(), &directory).is_ok(), "a new directory");
            std::fs::write(data.path().join(SQLITE_FILE), "").unwrap();
            let told = refuse_old_store(data.path(), &directory).unwrap_err().to_string();
            assert!(told.contains(&format!("encke store import --data {}", data.path().display())), "{told}");
            std::fs::create_dir(&directory).unwrap();
            assert!(refuse_old_store(data.path(), &directory).is_ok(), "it was taken over");
        }
    }
}

#[cfg(feature = "redis")]
mod redis {
    use encke_engine::redis::{RedisEngine, RedisOptions};

    use super::{AddressError, Backing, Opener};

    pub(super) const OPENER: Opener = Opener {
        schemes: &["redis", "rediss"],
        hosts: true,
        check: |address| options(address).map(drop),
        open: |address, opening| {
            Box::pin(async move {
                let engine =
                    RedisEngine::open(options(&address)?, opening.events, opening.retention, opening.node)
                        .await?;
                Ok(Backing::among_others(engine))
            })
        },
    };

    fn options(address: &str) -> Result<RedisOptions, AddressError> {
        RedisOptions::parse(address).map_err(|error| AddressError::Engine(error.to_string()))
    }
}

#[cfg(feature = "nats")]
mod nats {
    use encke_engine::nats::{NatsEngine, NatsOptions};

    use super::{AddressError, Backing, Opener};

    pub(super) const OPENER: Opener = Opener {
        schemes: &["nats", "tls"],
        hosts: true,
        check: |address| options(address).map(drop),
        open: |address, opening| {
            Box::pin(async move {
                let engine =
                    NatsEngine::open(options(&address)?, opening.events, opening.retention, opening.node)
                        .await?;
                Ok(Backing::among_others(engine))
            })
        },
    };

    fn options(address: &str) -> Result<NatsOptions, AddressError> {
        NatsOptions::parse(address).map_err(|error| AddressError::Engine(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_a_build_lacks_is_named_beside_those_that_it_has() {
        let text = |address| check_among(&[memory::OPENER], address).unwrap_err().to_string();
        assert_eq!(text("redis://user:hush@host:6379/0"), "this build has no engine `redis`; must be memory");
        assert_eq!(text("sqlite"), "this build has no engine `log`; must be memory");
        assert_eq!(check_among(&[memory::OPENER], "memory"), Ok(()));
    }

    #[test]
    fn what_is_no_address_is_not_repeated() {
        for bad in [
            "",
            "Memory",
            "hush@host",
            "hush word",
            "memory://x",
            "redis://",
            "redis://user@",
            "Redis://hush",
            &"x".repeat(33),
        ] {
            assert_eq!(check(bad), Err(AddressError::Form { forms: forms(OPENERS) }), "{bad}");
        }
    }

    #[test]
    fn no_scheme_leads_to_two_engines() {
        let mut schemes: Vec<&str> = OPENERS.iter().flat_map(|opener| opener.schemes).copied().collect();
        schemes.sort_unstable();
        assert!(schemes.windows(2).all(|pair| pair[0] != pair[1]), "{schemes:?}");
        assert!(FORMER.iter().all(|(former, _)| !schemes.contains(former)), "a former name is no engine's");
    }

    #[cfg(all(feature = "log", feature = "redis", feature = "nats"))]
    #[test]
    fn all_engines_are_told_to_who_names_none() {
        assert_eq!(forms(OPENERS), "memory, log, redis://HOST… or nats://HOST…");
        for good in [
            "memory",
            "log",
            "sqlite",
            "redis://127.0.0.1:6379/0",
            "rediss://h",
            "nats://n1:4222",
            "tls://n1",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["redis://h/?nothing=1", "nats://n1/?replicas=2"] {
            assert!(matches!(check(bad), Err(AddressError::Engine(_))), "{bad}");
        }
    }
}
