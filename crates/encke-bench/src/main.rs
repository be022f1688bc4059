//! Measures Encke, and other servers by the same rules: everything that is sent is verified where it arrives,
//! load comes at fixed moments whatever the server does, and what counts is the server's processor time and
//! memory, not the generator's.

mod awake;
mod blocking;
mod chaos;
mod choice;
mod commands;
mod http;
mod net;
mod options;
mod parts;
mod payload;
mod peers;
mod procfs;
mod publishers;
mod report;
mod run;
mod server;
mod sse;
mod subscribers;
mod table;
mod tally;
mod websocket;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Load generator and chaos for Encke, and for its peers
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Latency(commands::latency::Args),
    /// The server's memory for each connection that waits
    Hold {
        #[command(flatten)]
        peer: options::PeerOptions,
        #[command(flatten)]
        hold: commands::hold::Hold,
    },
    /// Messages to channels with many subscribers: processor time for each delivery, and how long until the
    /// last has it
    Fanout {
        #[command(flatten)]
        peer: options::PeerOptions,
        #[command(flatten)]
        fanout: commands::fanout::Fanout,
    },
    /// Messages to one user each, published by HTTP: processor time for each
    Targeted {
        #[command(flatten)]
        peer: options::PeerOptions,
        #[command(flatten)]
        targeted: commands::targeted::Targeted,
    },
    /// Connections that come and go while others are held
    Churn {
        #[command(flatten)]
        peer: options::PeerOptions,
        #[command(flatten)]
        churn: commands::churn::Churn,
    },
    Compare(commands::compare::Args),
    Chaos(commands::chaos::Args),
}

fn main() -> ExitCode {
    // Each connection is a file descriptor here and one in the server, which inherits the bound.
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        eprintln!("encke-bench: the bound of open files stays as it is: {error}");
    }
    let done = match Cli::parse().command {
        Command::Latency(args) => commands::latency::run(&args),
        Command::Hold { peer, hold } => peer.with(|peer| {
            let held = commands::hold::measure(peer, hold)?;
            commands::hold::print(&peer.name(), hold, &held);
            Ok(())
        }),
        Command::Fanout { peer, fanout } => peer.with(|peer| {
            let result = commands::fanout::measure(peer, fanout)?;
            commands::fanout::print(&peer.name(), &result);
            Ok(())
        }),
        Command::Targeted { peer, targeted } => peer.with(|peer| {
            let result = commands::targeted::measure(peer, targeted)?;
            commands::fanout::print(&peer.name(), &result);
            Ok(())
        }),
        Command::Churn { peer, churn } => peer.with(|peer| {
            let churned = commands::churn::measure(peer, churn)?;
            commands::churn::print(&peer.name(), churn, &churned)
        }),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Chaos(args) => commands::chaos::execute(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("encke-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
