//! A server for the WebSocket conformance suite: `tests/conformance/ws` runs it. It is the product, with the
//! echo transport that the feature `conformance` adds, behind a door of its own.
//!
//! The suite asks for `/` and shows no token. So each connection's request gets the echo's address and a
//! token in its head, and from there on bytes go to and fro as they are.

use std::{error::Error, io};

use encke::{
    config::{Config, EngineUrl, Secret, WebsocketCompression},
    wire::wire,
};
use encke_proto::UserId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// The longest head that the suite sends.
const HEAD_MAX_BYTES: usize = 8 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config {
        dev: true,
        listen: "127.0.0.1:0".parse()?,
        engine: EngineUrl::local("memory"),
        api_key: Some(Secret::new("k".repeat(32))),
        token_secret: Some(Secret::new("s".repeat(32))),
        // The suite counts every frame, and does not expect a question in the midst of its largest messages.
        heartbeat_s: 120,
        websocket_compression: WebsocketCompression::All,
        websocket_compression_min_bytes: 1,
        ..Config::default()
    };
    let server = wire(config).await?;
    let address = server.main.address.tcp().ok_or("it listens at no port")?;
    let (token, _) = server.app.auth.dev_token(UserId::new("suite")?, server.app.now().wall)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let head = format!("GET /v1/echo HTTP/1.1\r\nAuthorization: Bearer {token}\r\n");
    loop {
        let (client, _) = listener.accept().await?;
        let (head, address) = (head.clone(), address);
        tokio::spawn(async move {
            if let Err(error) = forward(client, &head, address).await {
                eprintln!("a connection ended: {error}");
            }
        });
    }
}

async fn forward(mut client: TcpStream, head: &str, address: std::net::SocketAddr) -> io::Result<()> {
    let mut seen = Vec::new();
    let sink = loop {
        if let Some(at) = seen.windows(2).position(|two| two == b"\r\n") {
            break at + 2;
        }
        if seen.len() > HEAD_MAX_BYTES || client.read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    };
    let mut server = TcpStream::connect(address).await?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    server.write_all(head.as_bytes()).await?;
    server.write_all(&seen[sink..]).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
