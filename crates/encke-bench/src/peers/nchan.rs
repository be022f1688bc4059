//! Nchan, a module of nginx, as Debian packages both.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use super::{Kind, Peer, PeerSettings, Place, Transport, Who, free_port, post};
use crate::{
    http::Head,
    server::{Scratch, Server},
    tls::{self, Identity},
};

/// nginx with Nchan.
pub(super) const KIND: Kind = Kind { name: "nchan", open: |settings| Ok(Box::new(Nchan::start(settings)?)) };
/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// An nginx with Nchan.
#[derive(Debug)]
struct Nchan {
    server: Server,
    address: SocketAddr,
    tls: Option<tls::Client>,
    version: String,
}

impl Nchan {
    /// Starts one with a configuration of its own: one worker, nothing logged, nothing compressed, a history
    /// as long as Encke's.
    ///
    /// # Errors
    /// When it is not installed or cannot be started.
    fn start(settings: &PeerSettings) -> io::Result<Self> {
        if !Path::new(MODULE).exists() {
            return Err(io::Error::other("nginx with Nchan is not installed; bench/install-peers does it"));
        }
        let (scratch, address) = (Scratch::new()?, free_port()?);
        let file = scratch.path().join("nginx.conf");
        let encke = &settings.encke;
        if encke.http2 {
            let why = "Nchan is not measured over HTTP/2";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let identity = encke.tls.then(|| Identity::make(scratch.path())).transpose()?;
        let tls = identity.as_ref().map(|identity| identity.client(false)).transpose()?;
        fs::write(&file, configuration(scratch.path(), address, identity.as_ref()))?;
        let mut command = Command::new("nginx");
        command.arg("-e").arg(scratch.path().join("error.log")).arg("-c").arg(file).stdout(Stdio::null());
        let mut server = Server::start(command, scratch, encke.server_cpu, encke.own_cpu)?;
        server.await_port(address)?;
        Ok(Self { server, address, tls, version: versions() })
    }
}

fn versions() -> String {
    let command = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Version}, ", "nginx", "libnginx-mod-nchan"])
        .output();
    let text = command.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.trim_end_matches(", ").to_owned()
}

fn configuration(directory: &Path, address: SocketAddr, identity: Option<&Identity>) -> String {
    let (secured, files) = match identity {
        None => ("", String::new()),
        Some(Identity { certificate, key, .. }) => (
            " ssl",
            format!(
                "ssl_certificate {};\n        ssl_certificate_key {};\n        ssl_protocols TLSv1.2 TLSv1.3;",
                certificate.display(),
                key.display()
            ),
        ),
    };
    let directory = directory.display();
    format!(
        "load_module {MODULE};
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
events {{ worker_connections 19900; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    nchan_shared_memory_size 512M;
    nchan_message_buffer_length 1000;
    nchan_message_timeout 1d;
    server {{
        listen {address}{secured} backlog=4096;
        {files}
        location ~ ^/pub/(\\w+)$ {{ nchan_publisher http; nchan_channel_id $1; }}
        location ~ ^/poll/(\\w+)$ {{
            nchan_subscriber longpoll; nchan_channel_id $1; nchan_subscriber_first_message newest;
        }}
        location ~ ^/sse/(\\w+)$ {{
            nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest;
        }}
        location ~ ^/ws/(\\w+)$ {{
            nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest;
        }}
    }}
}}
"
    )
}

fn channel(place: Place) -> String {
    match place {
        Place::Channel(channel) => format!("c{channel}"),
        Place::User(user) => format!("u{user}"),
    }
}

impl Peer for Nchan {
    fn name(&self) -> String {
        format!("Nchan ({})", self.version)
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn tls(&self) -> Option<&tls::Client> {
        self.tls.as_ref()
    }

    fn pids(&self) -> Vec<u32> {
        self.server.pids()
    }

    fn speaks(&self, _: Transport) -> bool {
        true
    }

    fn subscribe(&self, out: &mut Vec<u8>, transport: Transport, who: Who, resume: &str) {
        let (path, upgrade) = match transport {
            Transport::Poll => ("poll", ""),
            Transport::Sse => ("sse", "Accept: text/event-stream\r\n"),
            Transport::Ws => ("ws", crate::websocket::UPGRADE),
        };
        let text = format!(
            "GET /{path}/{} HTTP/1.1\r\nHost: {}\r\n{upgrade}{resume}\r\n",
            channel(who.place),
            self.address
        );
        out.extend_from_slice(text.as_bytes());
    }

    fn resume(&self, head: &Head, _: &[u8], resume: &mut String) -> Result<(), String> {
        let (Some(etag), Some(modified)) = (&head.etag, &head.last_modified) else {
            return Err("an answer that does not say where to go on".to_owned());
        };
        *resume = format!("If-None-Match: {etag}\r\nIf-Modified-Since: {modified}\r\n");
        Ok(())
    }

    fn publish(&self, out: &mut Vec<u8>, to: Place, payload: &str) {
        post(
            out,
            &format!("/pub/{}", channel(to)),
            self.address,
            "Content-Type: application/json\r\n",
            payload,
        );
    }
}
