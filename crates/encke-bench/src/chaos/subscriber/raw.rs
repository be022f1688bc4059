//! A subscriber without our client library, by the protocol's rules: it drops repeats by position, and goes
//! on from its cursor on any transport.

use std::{io, time::Duration};

use encke_proto::Cursor;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{Mood, Plan, Whim, app::App, insist, rest};
use crate::{
    chaos::{
        http::Asker,
        phase::Look,
        wire::{Event, Reader, Transport},
    },
    websocket::UPGRADE,
};

/// The silence that is borne: a heartbeat comes every two seconds, and a poll is answered within five.
const SILENCE: Duration = Duration::from_secs(9);
/// The longest pause that a server which stops may ask for and get.
const RETRY_MAX: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);

/// How a connection came to its end.
enum End {
    Lost,
    /// The server ends it, and says to come back without the session, after so long.
    Session(Duration),
    Whim(Whim),
    Leave,
}

struct Raw {
    plan: Plan,
    app: App,
    look: Look,
    mood: Mood,
    session: Option<String>,
    control: Asker,
}

pub(super) async fn listen(plan: Plan, app: App, look: Look) {
    let control = Asker::new(plan.server, &plan.token);
    let mut raw = Raw { mood: Mood::new(&plan), plan, app, look, session: None, control };
    let mut transport = Plan::any_transport(&mut raw.mood.choice);
    loop {
        let end = raw.connection(transport).await.unwrap_or(End::Lost);
        raw.app.disconnected();
        match end {
            End::Leave => return,
            End::Lost => {}
            End::Session(pause) => {
                raw.session = None;
                tokio::time::sleep(pause).await;
            }
            End::Whim(Whim::Away(pause)) => {
                // The cursor alone is enough to go on.
                if raw.mood.choice.below(3) == 0 {
                    raw.session = None;
                }
                rest(pause, &raw.look).await;
            }
            End::Whim(Whim::Forget(pause)) => {
                raw.forget().await;
                rest(pause, &raw.look).await;
            }
            End::Whim(Whim::Ack) => {}
        }
        if raw.look.stage() >= raw.plan.leaves {
            return;
        }
        if raw.mood.choice.below(3) == 0 {
            transport = Plan::any_transport(&mut raw.mood.choice);
        }
        let pause = Duration::from_millis(u64::from(20 + raw.mood.choice.below(300)));
        tokio::time::sleep(pause).await;
    }
}

impl Raw {
    /// One connection; with long polling, one connection's polls.
    async fn connection(&mut self, transport: Transport) -> io::Result<End> {
        let mut socket = timeout(CONNECT, TcpStream::connect(self.plan.through)).await??;
        socket.set_nodelay(true)?;
        let fresh = !self.app.has_begun();
        let mut reader = Reader::new(transport);
        socket.write_all(self.request(transport).as_bytes()).await?;
        let end = self.read(transport, &mut socket, &mut reader).await;
        if fresh && !self.app.has_begun() {
            self.app.tried();
        }
        end
    }

    async fn read(
        &mut self,
        transport: Transport,
        socket: &mut TcpStream,
        reader: &mut Reader,
    ) -> io::Result<End> {
        let mut buffer = vec![0; 64 * 1024];
        let mut polled = Vec::new();
        let mut heard = Instant::now();
        loop {
            let (mut leaving, leaves) = (self.look.clone(), self.plan.leaves);
            let read = tokio::select! {
                read = socket.read(&mut buffer) => read,
                () = tokio::time::sleep_until(heard + SILENCE) => return Ok(End::Lost),
                () = tokio::time::sleep_until(self.mood.next), if self.look.is_storm() => {
                    match self.mood.whim() {
                        Whim::Ack => {
                            self.ack().await;
                            continue;
                        }
                        whim => return Ok(End::Whim(whim)),
                    }
                }
                () = leaving.reached(leaves) => return Ok(End::Leave),
            };
            let count = read?;
            if count == 0 {
                return Ok(End::Lost);
            }
            heard = Instant::now();
            let mut out = Vec::new();
            let events = match reader.feed(&buffer[..count], &mut out) {
                Ok(events) => events,
                Err(what) => {
                    self.app.evidence.note(self.plan.broken(&format!("{transport:?}: {what}")));
                    return Ok(End::Lost);
                }
            };
            if !out.is_empty() {
                socket.write_all(&out).await?;
            }
            for event in events {
                match event {
                    Event::Refused(status) => return Ok(self.refused(status)),
                    // A poll is understood when it is complete.
                    Event::End if transport == Transport::Poll => {
                        if let Some(end) = self.answered(std::mem::take(&mut polled)) {
                            return Ok(end);
                        }
                        socket.write_all(self.request(transport).as_bytes()).await?;
                    }
                    Event::End => return Ok(End::Lost),
                    event if transport == Transport::Poll => polled.push(event),
                    event => {
                        if let Some(end) = self.event(event) {
                            return Ok(end);
                        }
                    }
                }
            }
        }
    }

    /// The whole answer to a poll.
    fn answered(&mut self, events: Vec<Event>) -> Option<End> {
        if !self.app.has_begun() {
            let mut begin = Cursor::default();
            for event in &events {
                match event {
                    Event::Open { cursor, .. } => begin = cursor.clone(),
                    _ => continue,
                }
            }
            // It began before the first of what it brings.
            for event in events.iter().rev() {
                if let Event::Message { channel, position, .. } = event {
                    begin.set(channel, encke_proto::Position { offset: position.offset - 1, ..*position });
                }
            }
            self.app.begin(begin);
        }
        events.into_iter().find_map(|event| self.event(event))
    }

    fn event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Open { session, cursor } => {
                self.session = Some(session);
                if self.app.has_begun() { self.app.resume(&cursor) } else { self.app.begin(cursor) }
            }
            Event::Message { channel, position, id } => {
                if !self.app.had(&channel, position) {
                    self.app.message(channel, position, id);
                }
            }
            Event::Gap { channel, from, to } => self.app.gap(channel, from, to),
            Event::Close { code, reconnect, retry_ms } => {
                // An older request of ours may have been the slower one.
                if !reconnect && code != "taken_over" {
                    self.app.evidence.note(self.plan.broken(&format!("it was closed for good: {code}")));
                }
                let pause = Duration::from_millis(retry_ms).min(RETRY_MAX);
                return Some(if code == "taken_over" { End::Lost } else { End::Session(pause) });
            }
            Event::Refused(_) | Event::End => {}
        }
        None
    }

    fn refused(&mut self, status: u16) -> End {
        match status {
            409 | 429 | 500.. => End::Lost,
            _ => {
                self.app.evidence.note(self.plan.broken(&format!("it was refused: {status}")));
                End::Session(Duration::ZERO)
            }
        }
    }

    fn request(&self, transport: Transport) -> String {
        let (path, more) = transport.path();
        let mut query = vec![more.to_owned()];
        if self.app.has_begun() {
            query.push(format!("cursor={}", self.app.cursor()));
        } else {
            let names: Vec<&str> = self.plan.channels.iter().map(|channel| channel.as_str()).collect();
            query.push(format!("channels={}", names.join(",")));
            if transport == Transport::Poll {
                query[0] = "hold_s=0".to_owned();
            }
        }
        query.extend(self.session.as_ref().map(|session| format!("session={session}")));
        if transport == Transport::Iframe {
            query.push(format!("origin=http://{}", self.plan.server));
        }
        let query: Vec<String> = query.into_iter().filter(|part| !part.is_empty()).collect();
        let (server, token, upgrade) =
            (self.plan.server, &self.plan.token, if transport == Transport::Ws { UPGRADE } else { "" });
        format!(
            "GET {path}?{} HTTP/1.1\r\nHost: {server}\r\nAuthorization: Bearer {token}\r\n{upgrade}\r\n",
            query.join("&")
        )
    }

    async fn ack(&mut self) {
        let Some(session) = self.session.clone().filter(|_| self.app.has_begun()) else { return };
        let cursor = self.app.cursor();
        // Only what was answered counts.
        if let Ok((200, _)) = self
            .control
            .post("/v1/ack", &format!("{{\"session\":\"{session}\",\"cursor\":\"{cursor}\"}}"))
            .await
        {
            self.app.acked(cursor);
        }
    }

    async fn forget(&mut self) {
        let Some(session) = self.session.take() else { return };
        match insist(&mut self.control, "/v1/close", &format!("{{\"session\":\"{session}\"}}"), &self.look)
            .await
        {
            Some(200) => self.app.ended(),
            other => {
                self.app.evidence.note(self.plan.stuck(&format!("its session cannot be closed: {other:?}")))
            }
        }
    }
}
