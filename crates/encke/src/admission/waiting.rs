//! A request that may wait, as it stands in the bytes of its head.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use encke_proto::{codec::ws::Handshake, limits::BODY_MAX_BYTES};

use super::{Address, Method};

/// A request that waits, as it stands in the bytes of its head.
#[derive(Debug)]
pub struct Waiting<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its query, without the question mark.
    pub query: &'a str,
    /// Whether the client keeps the connection afterwards.
    pub keep_alive: bool,
    /// Whether it speaks HTTP/1.0.
    pub http_10: bool,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Cookie`.
    pub cookie: Option<Cow<'a, str>>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub sec_fetch_site: Option<&'a str>,
    /// `Host`.
    pub host: Option<&'a str>,
    /// `X-Forwarded-Proto`; the first of several.
    pub forwarded_proto: Option<&'a str>,
    /// `Last-Event-ID`.
    pub last_event_id: Option<&'a str>,
    /// `Accept`; the first of several.
    pub accept: Option<&'a str>,
    /// What it says of the change of protocol, where there is one.
    pub handshake: Option<Box<Handshake>>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// How many bytes of body follow the head, at most [`BODY_MAX_BYTES`].
    pub body_bytes: usize,
    /// The body, once all of it is there.
    pub body: &'a [u8],
    /// The address of its client, for what it asks to be done before it waits; none in the native protocol,
    /// where nothing is, and where it is not known.
    pub from: Option<IpAddr>,
    /// The fields that the configuration names for the application.
    pub chosen: Vec<(&'a str, &'a str)>,
    /// Their names, in lower case.
    chosen_names: Option<Arc<[String]>>,
    /// Whether it may have one.
    takes_body: bool,
    /// Whether its length was said.
    has_length: bool,
}

/// A request that waits, kept beyond the bytes of its head.
#[derive(Debug)]
pub struct KeptWaiting {
    texts: [Option<String>; 9],
    path: String,
    query: String,
    handshake: Option<Box<Handshake>>,
    body: Vec<u8>,
    from: Option<IpAddr>,
    chosen: Vec<(String, String)>,
    keep_alive: bool,
    http_10: bool,
    takes_body: bool,
    has_length: bool,
}

impl KeptWaiting {
    /// The request again.
    #[must_use]
    pub fn waiting(&self) -> Waiting<'_> {
        let [
            authorization,
            cookie,
            origin,
            sec_fetch_site,
            host,
            forwarded_proto,
            last_event_id,
            accept,
            content_type,
        ] = self.texts.each_ref().map(Option::as_deref);
        Waiting {
            path: &self.path,
            query: &self.query,
            keep_alive: self.keep_alive,
            http_10: self.http_10,
            authorization,
            cookie: cookie.map(Cow::Borrowed),
            origin,
            sec_fetch_site,
            host,
            forwarded_proto,
            last_event_id,
            accept,
            handshake: self.handshake.clone(),
            content_type,
            body_bytes: self.body.len(),
            body: &self.body,
            from: self.from,
            chosen: self.chosen.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            chosen_names: None,
            takes_body: self.takes_body,
            has_length: self.has_length,
        }
    }
}

impl<'a> Waiting<'a> {
    /// The same, to be decided on later.
    #[must_use]
    pub fn to_kept(&self) -> KeptWaiting {
        let texts = [
            self.authorization,
            self.cookie.as_deref(),
            self.origin,
            self.sec_fetch_site,
            self.host,
            self.forwarded_proto,
            self.last_event_id,
            self.accept,
            self.content_type,
        ];
        KeptWaiting {
            texts: texts.map(|text| text.map(str::to_owned)),
            path: self.path.to_owned(),
            query: self.query.to_owned(),
            handshake: self.handshake.clone(),
            body: self.body.to_vec(),
            from: self.from,
            chosen: self
                .chosen
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            keep_alive: self.keep_alive,
            http_10: self.http_10,
            takes_body: self.takes_body,
            has_length: self.has_length,
        }
    }

    /// A request without header fields.
    #[must_use]
    pub fn new(address: &Address, path: &'a str, query: &'a str) -> Self {
        Self {
            path,
            query,
            keep_alive: true,
            http_10: false,
            authorization: None,
            cookie: None,
            origin: None,
            sec_fetch_site: None,
            host: None,
            forwarded_proto: None,
            last_event_id: None,
            accept: None,
            handshake: address.websocket.then(Box::default),
            content_type: None,
            body_bytes: 0,
            body: &[],
            from: None,
            chosen: Vec::new(),
            chosen_names: None,
            takes_body: address.method == Method::Post,
            has_length: false,
        }
    }

    /// Keeps the fields of these names besides, of those that it takes in from now on; they are in lower
    /// case.
    pub fn choose(&mut self, names: Option<Arc<[String]>>) {
        self.chosen_names = names;
    }

    /// Whether it brings something that may show who sends it; without, nothing is guessed.
    #[must_use]
    pub fn brings_credentials(&self) -> bool {
        self.authorization.is_some()
            || self.cookie.is_some()
            || !self.chosen.is_empty()
            || self.query.contains("ticket=")
    }

    /// Takes in a header field. False when the request is none to wait with: it has a body, wants a protocol
    /// that is not spoken there, or says something twice.
    #[must_use]
    pub fn take(&mut self, name: &'a str, value: &'a str) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let closes = || value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
        if let Some(handshake) = &mut self.handshake
            && handshake.take(name, value)
        {
            self.keep_alive &= !is("connection") || !closes();
            return true;
        }
        let place = if is("host") {
            &mut self.host
        } else if is("authorization") {
            &mut self.authorization
        } else if is("origin") {
            &mut self.origin
        } else if is("sec-fetch-site") {
            &mut self.sec_fetch_site
        } else if is("x-forwarded-proto") {
            // Each proxy on the way may add one, and the first is what the browser used.
            self.forwarded_proto.get_or_insert(value);
            return true;
        } else if is("accept") {
            // Several mean the same as one list (RFC 9110 section 5.3); nothing is refused for the others.
            self.accept.get_or_insert(value);
            return true;
        } else if is("last-event-id") {
            &mut self.last_event_id
        } else if is("cookie") {
            // Several cookie fields mean the same as one (RFC 6265 section 5.4 lets only HTTP/2 send them,
            // RFC 9113 section 8.2.3 joins them so).
            match &mut self.cookie {
                Some(cookie) => {
                    let cookie = cookie.to_mut();
                    cookie.push_str("; ");
                    cookie.push_str(value);
                }
                None => self.cookie = Some(Cow::Borrowed(value)),
            }
            return true;
        } else if is("connection") {
            self.keep_alive &= !closes();
            return true;
        } else if is("content-length") {
            return self.take_length(value);
        } else if self.takes_body && is("content-type") {
            &mut self.content_type
        } else {
            if self.chosen_names.iter().flat_map(|names| names.iter()).any(|chosen| is(chosen)) {
                self.chosen.push((name, value));
            }
            // An offer to change the protocol may be passed over (RFC 9110 section 7.8): some clients make it
            // with every request.
            return !(is("transfer-encoding") || is("expect") || (self.takes_body && is("content-encoding")));
        };
        if place.is_some() {
            return false;
        }
        *place = Some(value);
        true
    }

    /// Digits and nothing else, once (RFC 9112 section 6.3): two readers who disagree on where a body ends
    /// are how requests are smuggled.
    fn take_length(&mut self, value: &str) -> bool {
        if !self.takes_body {
            // Some clients say that they have no body.
            return value == "0";
        }
        let digits = !value.is_empty() && value.len() <= 6 && value.bytes().all(|byte| byte.is_ascii_digit());
        let length = value.parse().ok().filter(|length| digits && *length <= BODY_MAX_BYTES);
        self.body_bytes = length.unwrap_or_default();
        length.is_some() && !std::mem::replace(&mut self.has_length, true)
    }
}
