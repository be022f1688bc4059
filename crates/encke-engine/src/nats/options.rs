//! The address of the NATS servers as an operator writes it, parsed and checked. It connects to nothing.

use std::{fmt, path::PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

/// The most servers that an address may name.
const SERVERS_MAX: usize = 32;
/// The longest prefix, in characters.
const PREFIX_MAX: usize = 32;
/// The most replicas that JetStream keeps of a stream.
const REPLICAS_MAX: usize = 5;
/// Where NATS listens unless told otherwise.
const PORT: u16 = 4222;

/// Where the NATS servers are, and what is kept there.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsOptions {
    /// The servers, as `nats://host:port` or `tls://host:port`. One that answers tells of the others.
    pub servers: Vec<String>,
    /// Who to be there.
    pub login: Option<Login>,
    /// Whether nothing is said before TLS is agreed on.
    pub tls: bool,
    /// Certificates of authorities to trust besides those of the machine, as a PEM file.
    pub authorities: Option<PathBuf>,
    /// What the names of streams and subjects begin with, so that several sites can share servers: messages,
    /// digits, `-` and `_`.
    pub prefix: String,
    /// On how many servers everything is kept: 1, 3 or 5.
    pub replicas: usize,
}

/// Who to be.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and its password.
    User {
        /// The name.
        name: String,
        /// The password.
        password: String,
    },
    /// A token alone.
    Token(String),
}

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NatsOptionsError {
    /// It has another form than `nats://user:password@host:port,host:port/?option=value`.
    #[error("a NATS address looks like nats://user:password@host:4222,host:4222/?replicas=3&prefix=encke")]
    Form,
    /// No server, or more than [`SERVERS_MAX`].
    #[error("a NATS address names 1 to {SERVERS_MAX} servers")]
    Servers,
    /// There is no such option.
    #[error("a NATS address has no option {0:?}; it has replicas, prefix and tls_ca")]
    Option(String),
    /// JetStream agrees by majority.
    #[error("replicas is 1, 3 or 5")]
    Replicas,
    /// It becomes part of subjects and of file names.
    #[error("prefix is 1 to {PREFIX_MAX} letters, digits, - and _")]
    Prefix,
}

impl NatsOptions {
    /// Reads an address:
    /// `nats://user:password@host:4222,host:4222/?replicas=3&prefix=encke&tls_ca=/etc/ca.pem`. With `tls://`
    /// everything is encrypted. What stands for the user and the password is percent-encoded; a name alone is
    /// a token.
    ///
    /// # Errors
    /// [`NatsOptionsError`] says what is wrong, and repeats nothing of it that may be secret.
    pub fn parse(address: &str) -> Result<Self, NatsOptionsError> {
        let (scheme, rest) = address.split_once("://").ok_or(NatsOptionsError::Form)?;
        let tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err(NatsOptionsError::Form),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(Login::parse(login)?), hosts),
            None => (None, authority),
        };
        let servers: Vec<String> =
            hosts.split(',').map(|host| server(scheme, host)).collect::<Result<_, _>>()?;
        if servers.len() > SERVERS_MAX {
            return Err(NatsOptionsError::Servers);
        }
        let mut options =
            Self { servers, login, tls, authorities: None, prefix: "encke".to_owned(), replicas: 1 };
        let tail = tail.strip_prefix('/').unwrap_or(tail);
        if tail.is_empty() {
            return Ok(options);
        }
        // The standard's own parser reads the pairs; the address around them does not matter to it.
        let query = Url::parse(&format!("nats://x/{tail}")).map_err(|_| NatsOptionsError::Form)?;
        if query.path() != "/" || query.fragment().is_some() {
            return Err(NatsOptionsError::Form);
        }
        for (name, value) in query.query_pairs() {
            options.set(&name, &value)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), NatsOptionsError> {
        match name {
            "replicas" => {
                let replicas = value.parse().map_err(|_| NatsOptionsError::Replicas)?;
                if replicas > REPLICAS_MAX || replicas % 2 == 0 {
                    return Err(NatsOptionsError::Replicas);
                }
                self.replicas = replicas;
            }
            "prefix" => {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                if value.is_empty() || value.len() > PREFIX_MAX || !value.bytes().all(fits) {
                    return Err(NatsOptionsError::Prefix);
                }
                value.clone_into(&mut self.prefix);
            }
            "tls_ca" => self.authorities = Some(PathBuf::from(value)),
            other => return Err(NatsOptionsError::Option(other.chars().take(32).collect())),
        }
        Ok(())
    }
}

/// Nothing of it may get into a log.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("servers", &self.servers)
            .field("login", &self.login)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, NatsOptionsError> {
        let decode = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| NatsOptionsError::Form)?;
            if text.is_empty() { Err(NatsOptionsError::Form) } else { Ok(text.into_owned()) }
        };
        match text.split_once(':') {
            Some((name, password)) => Ok(Self::User { name: decode(name)?, password: decode(password)? }),
            None => Ok(Self::Token(decode(text)?)),
        }
    }
}

fn server(scheme: &str, host: &str) -> Result<String, NatsOptionsError> {
    let url = Url::parse(&format!("{scheme}://{host}")).map_err(|_| NatsOptionsError::Servers)?;
    let name = url.host_str().filter(|name| !name.is_empty()).ok_or(NatsOptionsError::Servers)?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none();
    if !plain || url.fragment().is_some() {
        return Err(NatsOptionsError::Servers);
    }
    Ok(format!("{scheme}://{name}:{}", url.port().unwrap_or(PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_everything() {
        let options =
            NatsOptions::parse("tls://us%3Aer:p%40ss@one,two:4333,[::1]:9/?replicas=3&prefix=site-1")
                .unwrap();
        assert_eq!(options.servers, ["tls://one:4222", "tls://two:4333", "tls://[::1]:9"]);
        assert_eq!(
            options.login,
            Some(Login::User { name: "us:er".to_owned(), password: "p@ss".to_owned() })
        );
        assert_eq!((options.tls, options.replicas, options.prefix.as_str()), (true, 3, "site-1"));
        assert!(!format!("{options:?}").contains("p@ss"));
        let plain = NatsOptions::parse("nats://127.0.0.1").unwrap();
        assert_eq!((plain.login, plain.replicas, plain.prefix.as_str()), (None, 1, "encke"));
        assert_eq!(
            NatsOptions::parse("nats://secret@h?prefix=a").unwrap().login,
            Some(Login::Token("secret".to_owned()))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        use NatsOptionsError as E;
        for (address, error) in [
            ("redis://h", E::Form),
            ("h:4222", E::Form),
            ("nats://", E::Servers),
            ("nats://a,,b", E::Servers),
            ("nats://a/b", E::Form),
            ("nats://:p@h", E::Form),
            ("nats://h/?replicas=2", E::Replicas),
            ("nats://h/?replicas=7", E::Replicas),
            ("nats://h/?prefix=a.b", E::Prefix),
            ("nats://h/?prefix=", E::Prefix),
            ("nats://h/?prefix=%3E", E::Prefix),
            ("nats://h/?nonsense=1", E::Option("nonsense".to_owned())),
        ] {
            assert_eq!(NatsOptions::parse(address), Err(error), "{address}");
        }
    }
}
