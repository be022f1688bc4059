//! TLS as a layer of a connection (ADR 0024): bytes in, bytes out, no socket, no task. rustls does all of the
//! protocol and of the cryptography.

mod empty_records;
mod handshake_limit;
mod record_buffer;
#[cfg(test)]
mod tests;
mod tls_state;

pub use handshake_limit::{HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, HandshakeLimit, HandshakePermit};
pub use record_buffer::RecordBuffer;
pub use tls_state::{ACME_TLS, TlsFault, TlsState};
