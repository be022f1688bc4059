//! The cryptographic state of one connection, which is all that is held of it while nothing is under way.
//!
//! rustls' connection without buffers of its own is told what came, and says what to send. A record that is
//! not complete is kept here until it is; of what is to be sent, only what the protocol itself says
//! ([`TlsState::take_control`]), until the caller takes it.

use std::{mem, net::IpAddr, ops::Range, sync::Arc};

use rustls::{
    HandshakeKind, ServerConfig,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, WriteTraffic},
};

use super::{
    HandshakePermit,
    empty_records::EmptyRecords,
    record_buffer::{PLAIN_MAX_BYTES, RECORD_MAX_BYTES, RecordBuffer},
};

/// What encryption adds to a record at most: the header, a nonce that is sent (TLS 1.2), the type of its
/// content (TLS 1.3) and a tag. Less room than is needed is noticed and given, at the cost of a second try.
const RECORD_ADDS_BYTES: usize = 5 + 8 + 1 + 16;

/// What a directory of ACME alone offers, to see the certificate of a challenge (RFC 8737 section 6.2).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Why a connection cannot go on under TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The peer does not keep to the protocol, or the two have nothing in common. What it is told of that is
    /// in [`TlsState::end`].
    #[error(transparent)]
    Protocol(#[from] rustls::Error),
    /// A message of the handshake is larger than any that is understood here.
    #[error("a handshake message is too large")]
    TooLarge,
    /// The peer has sent more records without text than any client has a reason for.
    #[error("too many records without text")]
    TooManyEmptyRecords,
    /// Nothing can be sealed: the handshake is not done, or the connection has ended.
    #[error("nothing can be sent now")]
    NotWritable,
}

/// The cryptographic state of one connection, of the server's side.
pub struct TlsState {
    connection: UnbufferedServerConnection,
    /// Until it is told that the handshake is done.
    handshake: Option<HandshakePermit>,
    /// The beginning of a record, or of a handshake message in several records; less than
    /// [`RECORD_MAX_BYTES`].
    partial: Vec<u8>,
    /// How much of that are whole records. rustls has opened them where they are, and looks at them no more.
    opened_bytes: usize,
    /// What the protocol itself has to say. rustls bounds it: its part of the handshake, one answer to
    /// requests for other keys, an alert.
    control: Vec<u8>,
    /// Whether the peer has said that it sends no more.
    peer_closed: bool,
    /// Whether the peer did not keep to the protocol.
    failed: bool,
    /// Whether nothing has come yet.
    silent: bool,
    /// Whether the peer's hello was whole, and was answered.
    answered: bool,
    /// How many records without text the peer may still send.
    empty_records: EmptyRecords,
}

impl std::fmt::Debug for TlsState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsState")
            .field("handshaking", &self.is_handshaking())
            .field("peer_closed", &self.peer_closed)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl TlsState {
    /// A connection whose handshake has not begun; `handshake` counts it until it is done.
    ///
    /// # Errors
    /// As rustls refuses the settings.
    pub fn new(config: Arc<ServerConfig>, handshake: HandshakePermit) -> Result<Self, TlsFault> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            handshake: Some(handshake),
            partial: Vec::new(),
            opened_bytes: 0,
            control: Vec::new(),
            peer_closed: false,
            failed: false,
            silent: true,
            answered: false,
            empty_records: EmptyRecords::new(),
        })
    }

    /// Whether the handshake is under way.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether nothing has come of the peer yet.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Whether the peer's hello was whole, and was answered.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Where the peer is, while it is not told that the handshake is done.
    #[must_use]
    pub fn handshake_address(&self) -> Option<IpAddr> {
        self.handshake.as_ref().map(HandshakePermit::address)
    }

    /// How the handshake ended, once: when this is asked for the first time since. None before that, and
    /// later.
    pub fn finished_handshake(&mut self) -> Option<HandshakeKind> {
        if self.is_handshaking() {
            return None;
        }
        self.handshake.take()?;
        self.connection.handshake_kind()
    }

    /// Whether the two have agreed on HTTP/2.
    #[must_use]
    pub fn is_http_2(&self) -> bool {
        self.connection.alpn_protocol() == Some(b"h2")
    }

    /// Whether the handshake was for a challenge of ACME: nothing is said on such a connection (RFC 8737
    /// section 3).
    #[must_use]
    pub fn is_challenge(&self) -> bool {
        self.connection.alpn_protocol() == Some(ACME_TLS)
    }

    /// Whether the peer has said that it sends no more (`close_notify`). An end of the socket without that
    /// may be the doing of another on the way.
    #[must_use]
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// How many bytes are kept of what is not complete.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Where in the buffer the next bytes of the peer are to be read to.
    #[must_use]
    pub fn room<'a>(&self, buffer: &'a mut RecordBuffer) -> &'a mut [u8] {
        buffer.sealed_room(self.partial.len())
    }

    /// Takes in `count` bytes that were read to where [`TlsState::room`] says, and opens what is complete.
    /// How many bytes of plain text are at the beginning of the buffer then; none while the handshake is
    /// under way, or when nothing is complete.
    ///
    /// # Errors
    /// [`TlsFault`]; the connection is over then, and [`TlsState::end`] has the last word.
    pub fn open(&mut self, buffer: &mut RecordBuffer, count: usize) -> Result<usize, TlsFault> {
        if self.peer_closed || self.failed {
            return Ok(0);
        }
        self.silent = false;
        let partial = mem::take(&mut self.partial);
        let end = (partial.len() + count).min(RECORD_MAX_BYTES);
        if let Some(room) = buffer.split(0..end).1.get_mut(..partial.len()) {
            room.copy_from_slice(&partial);
        }
        let opened = self.open_records(buffer, end);
        if opened.is_err() {
            self.fail();
        }
        opened
    }

    fn open_records(&mut self, buffer: &mut RecordBuffer, end: usize) -> Result<usize, TlsFault> {
        let (mut start, mut plain_bytes) = (0, 0);
        let (mut stop, mut opened_end) = (self.opened_bytes, self.opened_bytes);
        // One record after the other, so that each is counted before the next one costs anything.
        while stop < end && !self.peer_closed {
            let whole = record_bytes(buffer.split(stop..end).1).map(|bytes| stop + bytes);
            // What is not whole is looked at as well: there may be none that begins so.
            stop = whole.unwrap_or(end);
            opened_end = whole.unwrap_or(opened_end);
            let (is_counted, before) = (whole.is_some() && !self.is_handshaking(), plain_bytes);
            start = self.open_record(buffer, start..stop, &mut plain_bytes)?;
            if plain_bytes > before {
                self.empty_records.add(plain_bytes - before);
            } else if is_counted && !self.empty_records.take() {
                return Err(TlsFault::TooManyEmptyRecords);
            }
        }
        // What comes behind the end that was said is none of the connection's.
        if self.peer_closed {
            return Ok(plain_bytes);
        }
        if end - start >= RECORD_MAX_BYTES {
            return Err(TlsFault::TooLarge);
        }
        self.opened_bytes = opened_end.saturating_sub(start);
        if start < end {
            self.partial = buffer.split(start..end).1.to_vec();
        }
        Ok(plain_bytes)
    }

    /// Opens the record at the end of what is in this place, behind those with the beginning of its message.
    /// Where what is still needed begins.
    fn open_record(
        &mut self,
        buffer: &mut RecordBuffer,
        place: Range<usize>,
        plain_bytes: &mut usize,
    ) -> Result<usize, TlsFault> {
        let Range { mut start, end } = place;
        loop {
            let (room, records) = buffer.split(start..end);
            let status = self.connection.process_tls_records(records);
            let mut taken = status.discard;
            let goes_on = match status.state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        taken += record.discard;
                        let next = *plain_bytes + record.payload.len();
                        // A record's plain text is shorter than the record.
                        room.get_mut(*plain_bytes..next)
                            .ok_or(TlsFault::TooLarge)?
                            .copy_from_slice(record.payload);
                        *plain_bytes = next;
                    }
                    true
                }
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, &mut self.control)?;
                    true
                }
                // The caller takes it from here, in this order.
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    true
                }
                ConnectionState::PeerClosed => {
                    self.peer_closed = true;
                    false
                }
                // Early data is not offered.
                ConnectionState::ReadEarlyData(_) => return Err(TlsFault::NotWritable),
                _ => false,
            };
            start = (start + taken).min(end);
            if !goes_on {
                return Ok(start);
            }
        }
    }

    /// The peer did not keep to the protocol. What it is told is taken out, and nothing is processed any
    /// more: rustls must not see the same bytes twice.
    fn fail(&mut self) {
        self.failed = true;
        // What is waiting to be said comes before anything is read, so that no bytes are needed for it.
        while self.connection.wants_write() {
            let state = self.connection.process_tls_records(&mut []).state;
            let Ok(ConnectionState::EncodeTlsData(data)) = state else { return };
            if encode(data, &mut self.control).is_err() {
                return;
            }
        }
    }

    /// What the protocol itself has to say, to be sent before anything that is sealed later.
    #[must_use]
    pub fn take_control(&mut self) -> Vec<u8> {
        self.answered |= !self.control.is_empty();
        mem::take(&mut self.control)
    }

    /// Replaces what is in `out` from `start` on by its records: as few as there can be.
    ///
    /// # Errors
    /// [`TlsFault::NotWritable`] before the handshake is done, or at the end of all keys' use; else as rustls
    /// refuses what the peer said. Nothing is left from `start` on then: plain text must not be sent.
    pub fn seal(&mut self, out: &mut Vec<u8>, start: usize) -> Result<(), TlsFault> {
        let plain_end = out.len();
        if start >= plain_end {
            return Ok(());
        }
        let count = (plain_end - start).div_ceil(PLAIN_MAX_BYTES);
        let likely = plain_end - start + count * RECORD_ADDS_BYTES;
        let sealed = self.write(|traffic| {
            out.resize(plain_end + likely, 0);
            let (plain, sealed) = out.split_at_mut(plain_end);
            match traffic.encrypt(&plain[start..], sealed) {
                // Something of the protocol goes out before it.
                Err(EncryptError::InsufficientSize(size)) => {
                    out.resize(plain_end + size.required_size, 0);
                    let (plain, sealed) = out.split_at_mut(plain_end);
                    traffic.encrypt(&plain[start..], sealed)
                }
                other => other,
            }
        });
        let written = match sealed {
            Ok(written) => written,
            Err(fault) => {
                out.truncate(start);
                return Err(fault);
            }
        };
        self.empty_records.add(plain_end - start);
        out.truncate(plain_end + written);
        drop(out.splice(start..plain_end, mem::take(&mut self.control)));
        Ok(())
    }

    /// Has the last word: what the protocol has to say, or else that nothing more will be sent
    /// (`close_notify`, RFC 8446 section 6.1).
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if !self.failed {
            let mut last = [0; 4 * RECORD_ADDS_BYTES];
            // Before the handshake is done there is nothing to end.
            if let Ok(count) = self.write(|traffic| traffic.queue_close_notify(&mut last)) {
                self.control.extend_from_slice(&last[..count]);
            }
        }
        out.append(&mut self.control);
    }

    /// Lets something be written when rustls is ready for that.
    fn write(
        &mut self,
        mut write: impl FnMut(&mut WriteTraffic<'_, ServerConnectionData>) -> Result<usize, EncryptError>,
    ) -> Result<usize, TlsFault> {
        while !self.failed {
            let status = self.connection.process_tls_records(&mut self.partial);
            let taken = status.discard;
            let state = match status.state {
                Ok(state) => state,
                Err(error) => {
                    self.fail();
                    return Err(error.into());
                }
            };
            let written = match state {
                ConnectionState::WriteTraffic(mut traffic) => {
                    Some(write(&mut traffic).map_err(|_| TlsFault::NotWritable)?)
                }
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, &mut self.control)?;
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::PeerClosed => {
                    self.peer_closed = true;
                    None
                }
                _ => return Err(TlsFault::NotWritable),
            };
            self.partial.drain(..taken.min(self.partial.len()));
            self.opened_bytes = self.opened_bytes.saturating_sub(taken);
            if let Some(written) = written {
                return Ok(written);
            }
        }
        Err(TlsFault::NotWritable)
    }
}

/// How many bytes the first record has, if all of it is there (RFC 8446 section 5.1).
fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low, rest @ ..] = bytes else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    (rest.len() >= length).then_some(5 + length)
}

/// Puts what rustls has to say behind what it said before.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, control: &mut Vec<u8>) -> Result<(), TlsFault> {
    let start = control.len();
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else {
        return Err(TlsFault::NotWritable);
    };
    control.resize(start + size.required_size, 0);
    data.encode(&mut control[start..]).map_err(|_| TlsFault::NotWritable)?;
    Ok(())
}
