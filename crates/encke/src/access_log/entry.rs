//! One line of the access log.

use std::{io::Write, net::IpAddr, time::Duration};

use encke_proto::{Time, json};

use crate::config::LogFormat;

/// What there is to say of a request that was answered, or of a connection that waited.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// When it was over.
    pub time: Time,
    /// The address of the client, if it has one.
    pub client: Option<IpAddr>,
    /// The name of the key or of the user, if it was found out.
    pub who: Option<&'a str>,
    /// What it was.
    pub what: Subject<'a>,
    /// The status of the answer.
    pub status: u16,
    /// The bytes of the answer, if that is known: of a request those of its body, of a connection all that
    /// was written for it, modulo 2^32.
    pub bytes: Option<u64>,
    /// How long it took.
    pub took: Duration,
}

/// What was over.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A request, with its method and the route that it took, which names no values.
    Request(&'a str, &'a str),
    /// A connection that waited, by its transport, and how it ended if that was told: the code of its close.
    Held(&'a str, Option<&'a str>),
}

impl Access<'_> {
    /// The line, with its end: pairs of names and values, or one JSON object.
    #[must_use]
    pub(super) fn line(&self, format: LogFormat) -> Vec<u8> {
        let mut line = Line { out: Vec::with_capacity(192), format, is_empty: true };
        line.text("time", &self.time.to_string());
        line.text("client", &self.client.map_or_else(|| "-".to_owned(), |client| client.to_string()));
        line.text("who", self.who.unwrap_or("-"));
        match self.what {
            Subject::Request(method, route) => {
                line.text("method", method);
                line.text("route", route);
            }
            Subject::Held(transport, end) => {
                line.text("transport", transport);
                line.text("end", end.unwrap_or("-"));
            }
        }
        line.bare("status", &self.status.to_string());
        if let Some(bytes) = self.bytes {
            line.bare("bytes", &bytes.to_string());
        }
        let micros = self.took.as_micros();
        line.bare("took_ms", &format!("{}.{:03}", micros / 1000, micros % 1000));
        line.end()
    }
}

/// A line in the making.
struct Line {
    out: Vec<u8>,
    format: LogFormat,
    is_empty: bool,
}

impl Line {
    fn name(&mut self, name: &str) {
        let between = match (self.format, std::mem::take(&mut self.is_empty)) {
            (LogFormat::Json, true) => "{\"",
            (LogFormat::Json, false) => ",\"",
            (LogFormat::Text, true) => "",
            (LogFormat::Text, false) => " ",
        };
        let behind = if self.format == LogFormat::Json { "\":" } else { "=" };
        // Writing to a vector does not fail.
        let _ = write!(self.out, "{between}{name}{behind}");
    }

    /// Names may hold anything but control characters; in text those stand bare that cannot be mistaken.
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '=');
        if self.format == LogFormat::Text && !value.is_empty() && value.chars().all(is_plain) {
            self.out.extend_from_slice(value.as_bytes());
        } else {
            json::push_string(&mut self.out, value);
        }
    }

    fn bare(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.extend_from_slice(value.as_bytes());
    }

    fn end(mut self) -> Vec<u8> {
        self.out.extend_from_slice(if self.format == LogFormat::Json { b"}\n" } else { b"\n" });
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access<'a>(who: Option<&'a str>, what: Subject<'a>) -> Access<'a> {
        let client = Some("192.0.2.7".parse().unwrap());
        Access {
            time: Time(1_800_000_000_123),
            client,
            who,
            what,
            status: 202,
            bytes: Some(153),
            took: Duration::from_micros(1_500),
        }
    }

    #[test]
    fn t28_a_line_is_one_line_whatever_names_hold() {
        let text = |access: Access<'_>| String::from_utf8(access.line(LogFormat::Text)).unwrap();
        assert_eq!(
            text(access(Some("billing"), Subject::Request("POST", "/api/push"))),
            "time=2027-01-15T08:00:00.123Z client=192.0.2.7 who=billing method=POST route=/api/push \
             status=202 bytes=153 took_ms=1.500\n"
        );
        let odd = text(access(Some("a b=\"c\""), Subject::Held("sse", Some("slow"))));
        assert!(odd.contains(r#" who="a b=\"c\"" transport=sse end=slow status="#), "{odd}");
        assert!(text(access(None, Subject::Held("ws", None))).contains(" who=- transport=ws end=- "));
        for who in ["a b=\"c\"", "Ünï\\", ""] {
            let line = access(Some(who), Subject::Held("sse", None)).line(LogFormat::Json);
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(
                (&read["who"], &read["status"], &read["took_ms"]),
                (&who.into(), &202.into(), &1.5.into())
            );
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}
