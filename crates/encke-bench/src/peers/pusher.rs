//! The protocol of Pusher Channels, as far as a subscriber of a public channel and a backend need it.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

use super::{Greeting, post};

/// The application of a server that is started to be measured. It listens at this machine's own address
/// alone.
pub(super) const APP_ID: &str = "1";
pub(super) const KEY: &str = "bench-key";
pub(super) const SECRET: &str = "bench-secret";

/// Writes the request that opens a connection.
pub(super) fn open(out: &mut Vec<u8>, host: SocketAddr) {
    let path = format!("/app/{KEY}?protocol=7&client=encke-bench&version=0");
    let upgrade = crate::websocket::UPGRADE;
    out.extend_from_slice(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n").as_bytes());
}

/// What follows a channel from then on.
pub(super) fn greeting(channel: &str) -> Greeting {
    Greeting {
        says: format!("{{\"event\":\"pusher:subscribe\",\"data\":{{\"channel\":\"{channel}\"}}}}"),
        answered_by: b"pusher_internal:subscription_succeeded",
    }
}

/// Writes a request of the application's backend that publishes an event. The payload is a JSON string, as
/// the data of events is.
pub(super) fn publish(out: &mut Vec<u8>, host: SocketAddr, channel: &str, payload: &str) {
    let body = format!("{{\"name\":\"e\",\"channel\":\"{channel}\",\"data\":{payload}}}");
    let path = format!("/apps/{APP_ID}/events");
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let md5 = digits(&Md5::digest(body.as_bytes()));
    let query = format!("auth_key={KEY}&auth_timestamp={now_s}&auth_version=1.0&body_md5={md5}");
    let signature = sign(&format!("POST\n{path}\n{query}"));
    let address = format!("{path}?{query}&auth_signature={signature}");
    post(out, &address, host, "Content-Type: application/json\r\n", &body);
}

/// HMAC-SHA256 by the secret, which may have any length.
fn sign(text: &str) -> String {
    Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).map_or_else(
        |_| String::new(),
        |mut mac| {
            mac.update(text.as_bytes());
            digits(&mac.finalize().into_bytes())
        },
    )
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_over_its_query_and_its_body() {
        let mut out = Vec::new();
        publish(&mut out, SocketAddr::from(([127, 0, 0, 1], 1)), "c0", "\"x\"");
        let text = String::from_utf8(out).unwrap();
        let (query, body) = (text.split(['?', ' ']).nth(2).unwrap(), text.split("\r\n\r\n").nth(1).unwrap());
        let (signed, signature) = query.split_once("&auth_signature=").unwrap();
        assert_eq!(signature, sign(&format!("POST\n/apps/1/events\n{signed}")));
        assert_eq!(signature.len(), 64);
        assert!(signed.ends_with(&digits(&Md5::digest(body))), "{signed}");
        assert_eq!(body, "{\"name\":\"e\",\"channel\":\"c0\",\"data\":\"x\"}");
    }
}
