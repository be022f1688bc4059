//! NATS servers with JetStream: one, or three that keep everything three times.

use std::{
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{port_forward::PortForward, process::Process};
use crate::chaos::{http::Asker, peer::Peer};

/// The variable that says where the program is.
const PROGRAM: &str = "ENCKE_NATS_SERVER";
/// Where it is otherwise.
const PROGRAM_HERE: &str = "target/tools/nats/bin/nats-server";
/// How long servers may take to be there and to have caught up.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often they are asked.
const PERIOD: Duration = Duration::from_millis(100);
/// How long an answer to a request may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The program.
///
/// # Errors
/// When there is none.
pub fn program() -> io::Result<PathBuf> {
    let path = env::var_os(PROGRAM).map_or_else(|| PathBuf::from(PROGRAM_HERE), PathBuf::from);
    if path.exists() {
        // Servers have working directories of their own.
        return path.canonicalize();
    }
    Err(io::Error::other(format!(
        "there is no nats-server: neither does {PROGRAM} name it nor is it {PROGRAM_HERE}"
    )))
}

/// The ports of a server.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// For clients.
    pub clients: SocketAddr,
    /// Where it says how it is.
    pub monitor: SocketAddr,
    /// For the other servers.
    pub routes: SocketAddr,
}

/// A server that is not started yet. Clients are told of no other addresses than those that they know.
///
/// # Errors
/// When its directory cannot be made.
pub fn server(
    name: &str,
    ports: Ports,
    all: &[Ports],
    forward: PortForward,
    peer: Peer,
    program: &Path,
    home: &Path,
) -> io::Result<Process> {
    let process = Process::new(name, ports.clients, forward, peer, program, home)?;
    let mut config = format!(
        "server_name: {name}\nlisten: \"{}\"\nhttp: \"{}\"\njetstream {{\n  store_dir: \"{}\"\n  sync_interval: always\n}}\n",
        ports.clients,
        ports.monitor,
        home.join("store").display(),
    );
    if all.len() > 1 {
        let routes: Vec<String> = all.iter().map(|ports| format!("\"nats://{}\"", ports.routes)).collect();
        config += &format!(
            "cluster {{\n  name: chaos\n  listen: \"{}\"\n  no_advertise: true\n  routes: [{}]\n}}\n",
            ports.routes,
            routes.join(", ")
        );
    }
    fs::write(process.home().join("nats.conf"), config)?;
    Ok(process.with(["-c", "nats.conf"]))
}

/// Waits until a server says that it is well, and JetStream with it: it has everything that it should have.
///
/// # Errors
/// When it does not come about.
pub async fn healthy(process: &Process, monitor: SocketAddr) -> io::Result<()> {
    let began = Instant::now();
    let mut said = String::from("it does not answer");
    while began.elapsed() < TIMEOUT {
        if let Ok((status, body)) = Asker::new(monitor, "").get("/healthz").await {
            if status == 200 {
                return Ok(());
            }
            said = String::from_utf8_lossy(&body).into_owned();
        }
        sleep(PERIOD).await;
    }
    Err(io::Error::other(format!("{} is not well: {said}: {}", process.name, process.complaint())))
}

#[derive(Deserialize)]
struct Jetstream {
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    leader: Option<String>,
}

/// The streams that there are, and which server leads each of them.
///
/// # Errors
/// When the server does not say.
pub async fn streams(monitor: SocketAddr) -> io::Result<Vec<(String, Option<String>)>> {
    let (_, body) = Asker::new(monitor, "").get("/jsz?streams=true").await?;
    let told: Jetstream = serde_json::from_slice(&body).map_err(io::Error::other)?;
    let streams = told.account_details.into_iter().flat_map(|account| account.stream_detail);
    Ok(streams.map(|stream| (stream.name, stream.cluster.and_then(|cluster| cluster.leader))).collect())
}

/// Empties a stream.
///
/// # Errors
/// When the server does not say that it did.
pub async fn purge(server: SocketAddr, stream: &str) -> io::Result<()> {
    let asked = async {
        let mut socket = BufReader::new(TcpStream::connect(server).await?);
        let request = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB chaos.answer 1\r\nPUB $JS.API.STREAM.PURGE.{stream} chaos.answer 0\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match (words.first(), words.last()) {
                (Some(&"MSG"), Some(bytes)) => {
                    let mut answer = vec![0; bytes.parse().map_err(io::Error::other)?];
                    socket.read_exact(&mut answer).await?;
                    let answer = String::from_utf8_lossy(&answer).into_owned();
                    return if answer.contains("\"success\":true") {
                        Ok(())
                    } else {
                        Err(io::Error::other(answer))
                    };
                }
                (Some(&"-ERR"), _) => return Err(io::Error::other(line)),
                _ => {}
            }
        }
    };
    timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
