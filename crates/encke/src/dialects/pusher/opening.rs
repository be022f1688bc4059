//! Whether a connection is served that a client asks for, over whichever transport: its application, the
//! version of the protocol, and how many there are.

use std::sync::Arc;

use encke_proto::codec::pusher::PROTOCOLS;

use super::{
    connection::Connection,
    said::{PusherClose, Said},
    server::Server,
};
use crate::{app::App, http::refusal::Refused};

/// The connection that is asked for, or why it is not served.
pub(super) fn connection(
    app: &Arc<App>,
    server: &Arc<Server>,
    key: &str,
    query: &str,
) -> Result<Result<Connection, Said>, Refused> {
    let Some(application) = server.applications.by_key(key) else {
        let message = "there is no application of this key";
        return Ok(Err(Said::closing(PusherClose::UnknownApplication, message)));
    };
    if let Err(said) = check_version(query) {
        return Ok(Err(said));
    }
    let connection = Connection::new(app, server, application)?;
    Ok(connection.ok_or_else(|| {
        Said::closing(PusherClose::OverQuota, "the application has as many connections as it may")
    }))
}

/// Whether the version of the protocol that a client names is spoken.
fn check_version(query: &str) -> Result<(), Said> {
    let named = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "protocol");
    let Some((_, version)) = named.filter(|(_, version)| !version.is_empty()) else {
        return Err(Said::closing(PusherClose::NoVersion, "the query names no `protocol`"));
    };
    match version.parse::<u32>() {
        Ok(version) if PROTOCOLS.contains(&version) => Ok(()),
        Ok(_) => Err(Said::closing(
            PusherClose::UnsupportedVersion,
            &format!("`protocol` may be {} to {}", PROTOCOLS.start(), PROTOCOLS.end()),
        )),
        Err(_) => Err(Said::closing(PusherClose::VersionFormat, "`protocol` is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_to_be_named_and_spoken() {
        let close = |query: &str| check_version(query).err().map(|said| said.close.unwrap().status.number());
        assert_eq!(close("protocol=7&client=js&version=8.6.0&flash=false"), None);
        assert_eq!(close("client=py&protocol=5"), None);
        for (query, number) in [
            ("", 4008),
            ("protocol=", 4008),
            ("protocol=x", 4006),
            ("protocol=-1", 4006),
            ("protocol=4", 4007),
            ("protocol=8", 4007),
        ] {
            assert_eq!(close(query), Some(number), "{query}");
        }
    }
}
