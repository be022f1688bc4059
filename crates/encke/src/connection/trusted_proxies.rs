//! The proxies that are believed whose requests they pass on.

use std::{net::IpAddr, sync::Arc};

use super::forwarded::{ForwardedClient, ForwardedFields};
use crate::config::Network;

/// The networks of `trusted_proxies`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[Network]>);

/// What is believed of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// No proxies are declared: each peer is a client, and may say by what protocol it was reached.
    #[default]
    Undeclared,
    /// It is a proxy, and says whose its requests are.
    Proxy,
    /// It is none: what it says of others is passed over.
    Client,
}

impl TrustedProxies {
    /// These.
    #[must_use]
    pub fn new(networks: &[Network]) -> Self {
        Self(networks.into())
    }

    /// What is believed of a peer with this address.
    #[must_use]
    pub fn peer(&self, address: IpAddr) -> Peer {
        match self.contain(address) {
            _ if self.0.is_empty() => Peer::Undeclared,
            true => Peer::Proxy,
            false => Peer::Client,
        }
    }

    /// The client behind a proxy at this address, by what the proxy says.
    #[must_use]
    pub fn client(&self, proxy: IpAddr, fields: &ForwardedFields<'_>) -> ForwardedClient {
        fields.client(proxy, |address| self.contain(address))
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}
