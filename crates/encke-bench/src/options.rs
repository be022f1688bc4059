//! Which server is measured.

use std::io;

use crate::peers::{Encke, EnckeOptions, Nchan, Peer, Template, TemplateOptions};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Encke.
    Encke,
    /// nginx with Nchan.
    Nchan,
    /// The server at --peer-address.
    Template,
}

/// Which server is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct PeerOptions {
    /// Which server
    #[arg(long, value_enum, default_value_t = Kind::Encke)]
    pub peer: Kind,
    #[command(flatten)]
    encke: EnckeOptions,
    #[command(flatten)]
    template: TemplateOptions,
}

impl PeerOptions {
    /// Starts it, does something with it, and stops it.
    ///
    /// # Errors
    /// When it cannot be started, and whatever goes wrong then.
    pub fn with<T>(&self, act: impl FnOnce(&dyn Peer) -> io::Result<T>) -> io::Result<T> {
        match self.peer {
            Kind::Encke => act(&Encke::open(&self.encke)?),
            Kind::Nchan => act(&Nchan::start(self.encke.server_cpu, self.encke.own_cpu)?),
            Kind::Template => {
                let peer = Template::open(&self.template)
                    .ok_or_else(|| io::Error::other("--peer-address is missing"))?;
                act(&peer)
            }
        }
    }
}
