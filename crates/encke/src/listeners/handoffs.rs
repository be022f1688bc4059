//! Connections that come from the table, and what serves each: hyper for some requests, hyper for good where
//! they speak HTTP/2, or what makes their handshake first.

use std::sync::Arc;

use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

use super::{
    handshake::Handshakes,
    http_2::Http2,
    hyper_bridge::HyperBridge,
    hyper_server::{HyperServer, times},
    hyper_socket::HyperSocket,
    request_limit::RequestLimit,
};
use crate::{
    connection::ListenerRole,
    http::DateLine,
    shards::{Handoff, Resting, count_failed_handshake, count_handshake},
};

/// What serves connections that the table gives away. Cheap to clone.
#[derive(Clone)]
pub struct Handoffs {
    hyper_server: HyperServer,
    http_2: Http2,
    handshakes: Handshakes,
    request_limit: RequestLimit,
}

impl Handoffs {
    /// Requests are answered as `hyper_server` does, on so many connections.
    #[must_use]
    pub fn new(hyper_server: HyperServer, request_limit: RequestLimit) -> Self {
        let HyperServer { routers, admit, endpoints, shards, clock, timeouts, https, stopping } =
            &hyper_server;
        let http_2 = Http2 {
            router: routers.main.clone(),
            hyper_bridge: HyperBridge::new(
                admit.clone(),
                Arc::clone(endpoints),
                shards.clone(),
                Arc::clone(clock),
            ),
            timeouts: *timeouts,
            https: https.clone(),
            stopping: stopping.clone(),
        };
        let handshakes = Handshakes::new(times(timeouts).head);
        Self { hyper_server, http_2, handshakes, request_limit }
    }

    /// Serves connections until their senders are gone and they are done. There are no more than have a
    /// permit of their listener.
    pub async fn run(self, mut handoffs: mpsc::Receiver<Handoff>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                handoff = handoffs.recv() => match handoff {
                    Some(handoff) => {
                        connections.spawn(self.clone().serve(handoff));
                    }
                    None => break,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        while connections.join_next().await.is_some() {}
    }

    async fn serve(self, handoff: Handoff) {
        match handoff {
            Handoff { tls: Some(ref tls), .. } if tls.is_handshaking() => self.make_handshake(handoff).await,
            Handoff { socket, tls: Some(tls), bytes, permit, .. } if tls.is_http_2() => {
                let Ok(socket) = TcpStream::from_std(socket) else { return };
                self.http_2.serve(socket, tls, bytes, permit).await;
            }
            // Clients do not take the places of operators, who have a listener of their own.
            handoff if handoff.permit.role() == ListenerRole::Admin => {
                self.hyper_server.serve(handoff, None).await;
            }
            handoff => {
                let HyperServer { admit, clock, .. } = &self.hyper_server;
                let now = clock.now().wall;
                match self.request_limit.enter(&handoff, admit, now) {
                    Some(place) => self.hyper_server.serve(handoff, Some(place)).await,
                    None => handoff.refuse(admit, DateLine::default().at(now)),
                }
            }
        }
    }

    /// Makes a handshake that is not for a shard's loop, and leads the connection on.
    async fn make_handshake(self, handoff: Handoff) {
        let Handoff { socket, tls: Some(tls), permit, shard, ends: Some(ends), .. } = handoff else { return };
        let Ok(socket) = TcpStream::from_std(socket) else { return };
        let mut stopping = self.hyper_server.stopping.clone();
        let finished = tokio::select! {
            finished = self.handshakes.finish(socket, tls) => finished,
            // The sender is gone only when the shard is.
            _ = ends => return count_failed_handshake(),
            _ = stopping.wait_for(|stops| *stops) => return,
        };
        let Ok((socket, mut state, said)) = finished else { return count_failed_handshake() };
        if let Some(kind) = state.finished_handshake() {
            count_handshake(kind);
        }
        if state.is_challenge() {
            return;
        }
        if state.is_http_2() {
            return self.http_2.serve(socket, state, said, permit).await;
        }
        if let Some((sink, _)) = HyperSocket::new(socket, Some(state)).into_sink(permit) {
            self.hyper_server.give_to(shard, Resting { sink, inbound: said, is_new: true });
        }
    }
}
