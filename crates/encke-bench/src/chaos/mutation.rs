//! Mutations of what a subscriber reports, on demand: a live run with one of them must find it.

use encke_history::Kind;

/// What is reported wrongly, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// A message that came is kept from the application.
    Hide,
    /// A message is handed to the application twice.
    Repeat,
    /// A message is said to hold something else than it does.
    Forge,
    /// A connection that is not counted stays when all have left.
    Haunt,
}

impl Mutation {
    /// What a run must find then.
    #[must_use]
    pub fn finds(self) -> Kind {
        match self {
            Self::Hide => Kind::Lost,
            Self::Repeat => Kind::Dup,
            Self::Forge => Kind::Phantom,
            Self::Haunt => Kind::Ghost,
        }
    }
}
