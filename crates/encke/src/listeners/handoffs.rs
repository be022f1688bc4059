//! Connections that come from the table, and what serves each: hyper for some requests, hyper for good where
//! they speak HTTP/2, or what makes their handshake first.

use std::sync::Arc;

use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

use super::{
    handshake::Handshakes,
    http_2::Http2,
    hyper_bridge::HyperBridge,
    hyper_server::{ADMIN_CONNECTIONS_MAX, CONNECTIONS_MAX, HyperServer, Scope, times},
    hyper_socket::HyperSocket,
};
use crate::{
    connection::{ListenerRole, RESERVED_MAX},
    shards::{Handoff, Resting, count_failed_handshake, count_handshake},
};

/// What serves connections that the table gives away. Cheap to clone.
#[derive(Clone)]
pub struct Handoffs {
    hyper_server: HyperServer,
    http_2: Http2,
    handshakes: Handshakes,
}

impl Handoffs {
    /// Requests are answered as `hyper_server` does.
    #[must_use]
    pub fn new(hyper_server: HyperServer) -> Self {
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
        Self { hyper_server, http_2, handshakes }
    }

    /// Serves connections until their senders are gone and they are done.
    pub async fn run(self, mut handoffs: mpsc::Receiver<Handoff>) {
        let mut connections = JoinSet::new();
        // Those of HTTP/2 stay as long as their clients do, and handshakes are bounded where they begin; so
        // they do not take the places of others.
        let mut lasting = JoinSet::new();
        // Nor do clients take those of operators, who have a listener of their own.
        let mut admin = JoinSet::new();
        loop {
            tokio::select! {
                handoff = handoffs.recv() => match handoff {
                    Some(handoff) if handoff.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) => {
                        lasting.spawn(self.clone().make_handshake(handoff));
                    }
                    Some(Handoff { socket, tls: Some(tls), bytes, permit, .. }) if tls.is_http_2() => {
                        let Ok(socket) = TcpStream::from_std(socket) else { continue };
                        lasting.spawn(self.http_2.clone().serve(socket, tls, bytes, permit));
                    }
                    Some(handoff) if handoff.permit.role() == ListenerRole::Admin => {
                        if admin.len() < ADMIN_CONNECTIONS_MAX + RESERVED_MAX {
                            let scope = Scope::of(&handoff.permit);
                            admin.spawn(self.hyper_server.clone().serve(handoff, scope));
                        }
                    }
                    Some(handoff) if connections.len() < CONNECTIONS_MAX => {
                        let scope = Scope::of(&handoff.permit);
                        connections.spawn(self.hyper_server.clone().serve(handoff, scope));
                    }
                    Some(handoff) if connections.len() < CONNECTIONS_MAX + RESERVED_MAX => {
                        connections.spawn(self.hyper_server.clone().serve(handoff, Scope::Operation));
                    }
                    // Dropping it frees the socket; under such a load there is no better answer.
                    Some(_) => tracing::warn!("too many connections for requests that do not wait"),
                    None => break,
                },
                Some(_) = connections.join_next() => {}
                Some(_) = lasting.join_next() => {}
                Some(_) = admin.join_next() => {}
            }
        }
        while connections.join_next().await.is_some() {}
        while lasting.join_next().await.is_some() {}
        while admin.join_next().await.is_some() {}
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
