//! Measures Encke, and other servers by the same rules: everything that is sent is verified where it arrives,
//! load comes at fixed moments whatever the server does, and what counts is the server's processor time and
//! memory, not the generator's.

mod awake;
mod blocking;
mod chaos;
mod choice;
mod commands;
mod flooder;
mod http;
mod http2;
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
mod tls;
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
    /// Pushes a second that a server sustains with a bounded 99th percentile
    Sustain {
        #[command(flatten)]
        peer: options::PeerOptions,
        #[command(flatten)]
        sustain: commands::sustain::Sustain,
    },
    /// Receivers that take nothing while large messages come: the server's memory for each, and what stays of
    /// it
    Stalled {
        #[command(flatten)]
        peer: options::PeerOptions,
        #[command(flatten)]
        stalled: commands::stalled::Stalled,
    },
    /// TLS handshakes one after the other (with --tls): processor time for each
    Handshake {
        #[command(flatten)]
        peer: options::PeerOptions,
        #[command(flatten)]
        handshakes: commands::handshake::Handshakes,
    },
    /// Appends to a store that is opened in this process, without a server before it
    Append(commands::append::AppendOptions),
    /// How long a server takes to open its store again after it was killed
    Reopen {
        #[command(flatten)]
        server: peers::EnckeOptions,
        #[command(flatten)]
        reopen: commands::reopen::Reopen,
    },
    /// A bare loop of appends and fdatasyncs: what the disk takes by itself
    Fdatasync(commands::fdatasync::Fdatasync),
    Flood(commands::flood::Args),
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
        Command::Sustain { peer, sustain } => peer.with(|peer| {
            let best = commands::sustain::measure(peer, sustain)?;
            commands::sustain::print(&peer.name(), sustain, &best);
            Ok(())
        }),
        Command::Stalled { peer, stalled } => peer.with(|peer| {
            let cost = commands::stalled::measure(peer, stalled)?;
            commands::stalled::print(&peer.name(), stalled, &cost);
            Ok(())
        }),
        Command::Handshake { peer, handshakes } => peer.with(|peer| {
            let cpu_us = commands::handshake::measure(peer, handshakes)?;
            commands::handshake::print(&peer.name(), handshakes, cpu_us);
            Ok(())
        }),
        Command::Append(options) => commands::append::run(&options),
        Command::Reopen { server, reopen } => commands::reopen::run(&server, reopen),
        Command::Fdatasync(options) => commands::fdatasync::run(options),
        Command::Flood(args) => commands::flood::run(&args),
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
