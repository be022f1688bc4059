//! Bounds on what comes from outside. Each has its unit in its name; what a site may configure lives in the
//! server's configuration instead.

/// The longest user or channel name, in bytes of UTF-8.
pub const NAME_MAX_BYTES: usize = 255;
/// The longest name of a device, in bytes of UTF-8.
pub const DEVICE_NAME_MAX_BYTES: usize = 64;
/// The most devices of a user whose places are kept; the one that is away longest goes.
pub const USER_MAX_DEVICES: usize = 16;
/// The largest request body, in bytes.
pub const BODY_MAX_BYTES: usize = 64 * 1024;
/// How deep arrays and objects may nest in published JSON.
pub const JSON_MAX_DEPTH: usize = 32;
/// The longest cursor, in bytes of its text: with it, a request head still has to stay under 16 KiB.
pub const CURSOR_MAX_BYTES: usize = 12 * 1024;
/// From this length of cursor on, SSE sends `id:` once in a while instead of with every event.
pub const CURSOR_INLINE_MAX_BYTES: usize = 512;
/// The most channels in one session, the user's own not counted.
pub const SESSION_MAX_CHANNELS: usize = 128;
/// The most users that one push may name.
pub const PUSH_MAX_TARGETS: usize = 10_000;
/// The most pushes in one call.
pub const PUSHES_MAX: usize = 1_000;
/// The largest body of a call with several pushes, in bytes; each of them is within [`BODY_MAX_BYTES`].
pub const PUSHES_MAX_BYTES: usize = 1024 * 1024;
/// The most messages that one call may publish.
pub const PUBLISH_MAX_MESSAGES: usize = 128;
/// The longest idempotency key, in bytes.
pub const KEY_MAX_BYTES: usize = 128;
/// The longest content type of a body that is bytes, in bytes.
pub const CONTENT_TYPE_MAX_BYTES: usize = 255;
/// The longest reason given for a close, in bytes.
pub const REASON_MAX_BYTES: usize = 256;
/// The longest URL of a pushed page, in bytes.
pub const URL_MAX_BYTES: usize = 8 * 1024;
