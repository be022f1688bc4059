//! Which names of a list a command is about, as `encke users` and `encke channels` take it.

use encke_client::Matching;

/// Which names.
#[derive(Debug, clap::Args)]
pub(crate) struct MatchingArgs {
    /// Only those whose names contain this
    #[arg(long = "match", value_name = "TEXT")]
    contains: Option<String>,
    /// Only those whose names begin with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only tell how many there are
    #[arg(long)]
    pub(crate) count: bool,
}

impl MatchingArgs {
    pub(crate) fn asked(&self) -> Matching {
        Matching { contains: self.contains.clone(), prefix: self.prefix.clone(), count: self.count }
    }
}
