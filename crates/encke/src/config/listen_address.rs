//! An address to listen at: of the network, or a file of this machine.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer};

use super::layers::parse_address;

/// What the address of a unix socket begins with.
const UNIX: &str = "unix:";
/// The longest path of a unix socket, in bytes (unix(7): 108 with the zero byte at the end).
const PATH_MAX_BYTES: usize = 107;

/// Where to listen: `IP:PORT`, `localhost:PORT` or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port of TCP; 0 picks a free one.
    Tcp(SocketAddr),
    /// A unix socket, by an absolute path of at most 107 bytes.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// As the address of a server is written: `http://IP:PORT` or `unix:/PATH`.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(address) => format!("http://{address}"),
            Self::Unix(_) => self.to_string(),
        }
    }

    /// The address, if it is one of TCP.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix(UNIX) else { return parse_address(text).map(Self::Tcp) };
        if !Path::new(path).is_absolute() || path.ends_with('/') || path.contains('\0') {
            return Err(format!("{text:?} is no unix socket: write unix: and an absolute path"));
        }
        if path.len() > PATH_MAX_BYTES {
            return Err(format!("the path of a unix socket has at most {PATH_MAX_BYTES} bytes"));
        }
        Ok(Self::Unix(path.into()))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_tcp_or_a_file_and_is_written_as_it_is_read() {
        for (text, local) in [
            ("127.0.0.1:8081", true),
            ("[::1]:0", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:8081", false),
            ("10.0.0.1:8081", false),
            ("unix:/run/encke/admin.sock", true),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            let url = if text.starts_with("unix:") { text.to_owned() } else { format!("http://{text}") };
            assert_eq!(address.url(), url);
            assert_eq!((address.to_string().as_str(), address.is_local()), (text, local));
        }
        let long = format!("unix:/{}", "x".repeat(PATH_MAX_BYTES));
        for wrong in ["unix:", "unix:admin.sock", "unix:/run/", "unix:/a\0b", &long, "/run/a.sock", "8081"] {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
        assert!(long[..long.len() - 1].parse::<ListenAddress>().is_ok());
    }
}
