//! Bayeux by long-polling, as far as a subscriber needs it: a handshake, a subscription with the first
//! connect, which is answered at once, and then connects that wait. Where a client goes on is what stage it
//! is at, and its id.

use std::net::SocketAddr;

use serde::Deserialize;

use super::post;

/// What stands before the id of a client that has shaken hands, and of one that has subscribed.
const SHAKEN: &str = "shaken ";
const WAITS: &str = "waits ";

/// What is read of a reply.
#[derive(Deserialize)]
struct Reply<'a> {
    channel: &'a str,
    successful: Option<bool>,
    #[serde(rename = "clientId")]
    client: Option<&'a str>,
}

/// Whether the next request is answered at once.
pub(super) fn is_answered_at_once(resume: &str) -> bool {
    !resume.starts_with(WAITS)
}

/// Writes the next request of a client that follows this channel. `fields` say who it is.
pub(super) fn subscribe(
    out: &mut Vec<u8>,
    (host, path): (SocketAddr, &str),
    fields: &str,
    channel: &str,
    resume: &str,
) {
    let connect = |id: &str, more: &str| {
        let kind = "\"connectionType\":\"long-polling\"";
        format!("{{\"channel\":\"/meta/connect\",\"id\":\"2\",\"clientId\":\"{id}\",{kind}{more}}}")
    };
    let body = if let Some(id) = resume.strip_prefix(WAITS) {
        format!("[{}]", connect(id, ""))
    } else if let Some(id) = resume.strip_prefix(SHAKEN) {
        let subscription = format!("\"id\":\"1\",\"clientId\":\"{id}\",\"subscription\":\"{channel}\"");
        format!(
            "[{{\"channel\":\"/meta/subscribe\",{subscription}}},{}]",
            connect(id, ",\"advice\":{\"timeout\":0}")
        )
    } else {
        "[{\"channel\":\"/meta/handshake\",\"id\":\"0\",\"version\":\"1.0\",\
         \"supportedConnectionTypes\":[\"long-polling\"]}]"
            .to_owned()
    };
    post(out, path, host, &format!("Content-Type: application/json\r\n{fields}"), &body);
}

/// Takes note of what was answered.
///
/// # Errors
/// When something was refused, or is no answer.
pub(super) fn resume(body: &[u8], resume: &mut String) -> Result<(), String> {
    let replies: Vec<Reply<'_>> =
        serde_json::from_slice(body).map_err(|error| format!("a poll's answer: {error}"))?;
    for Reply { channel, successful, client } in replies {
        match (channel, successful, client) {
            (_, Some(false), _) => return Err(format!("{channel} was refused")),
            ("/meta/handshake", Some(true), Some(client)) => *resume = format!("{SHAKEN}{client}"),
            ("/meta/connect", Some(true), _) => {
                if let Some(id) = resume.strip_prefix(SHAKEN) {
                    *resume = format!("{WAITS}{id}");
                }
            }
            _ => {}
        }
    }
    if resume.is_empty() { Err("a handshake without an id".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_shakes_hands_subscribes_and_waits() {
        let host = SocketAddr::from(([127, 0, 0, 1], 1));
        let asks = |at: &str| {
            let mut out = Vec::new();
            subscribe(&mut out, (host, "/cometd"), "", "/c0", at);
            String::from_utf8(out).unwrap()
        };
        let mut at = String::new();
        assert!(asks(&at).contains("/meta/handshake") && is_answered_at_once(&at));
        resume(b"[{\"channel\":\"/meta/handshake\",\"successful\":true,\"clientId\":\"x\"}]", &mut at)
            .unwrap();
        assert!(asks(&at).contains("\"subscription\":\"/c0\"") && is_answered_at_once(&at));
        let both = b"[{\"channel\":\"/meta/subscribe\",\"successful\":true},
            {\"channel\":\"/meta/connect\",\"successful\":true}]";
        resume(both, &mut at).unwrap();
        assert!(!asks(&at).contains("subscription") && !is_answered_at_once(&at));
        let told = b"[{\"channel\":\"/c0\",\"data\":1},{\"channel\":\"/meta/connect\",\"successful\":true}]";
        resume(told, &mut at).unwrap();
        assert!(!is_answered_at_once(&at));
        assert!(resume(b"[{\"channel\":\"/meta/connect\",\"successful\":false}]", &mut at).is_err());
        assert!(resume(b"[]", &mut String::new()).is_err());
    }
}
