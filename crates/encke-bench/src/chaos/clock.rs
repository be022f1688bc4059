//! Another clock for the server: libfaketime in front of its C library, reading the time's shift from a file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Where Debian's package `libfaketime` puts it. The server has threads.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// A clock that jumps.
#[derive(Debug)]
pub struct Clock {
    client: &'static Path,
    file: PathBuf,
}

impl Clock {
    /// A clock that shows the right time so far. Nothing when the library is not installed.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn new(scratch: &Path) -> io::Result<Option<Self>> {
        let Some(client) = LIBRARIES.iter().map(Path::new).find(|path| path.exists()) else {
            return Ok(None);
        };
        let clock = Self { client, file: scratch.join("clock") };
        clock.shift(0)?;
        Ok(Some(clock))
    }

    /// It is so many seconds later, or earlier, than it is.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn shift(&self, seconds: i64) -> io::Result<()> {
        // Renamed over the old one: the server may be reading it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}s\n"))?;
        fs::rename(new, &self.file)
    }

    /// Has a process see this clock. The one for durations goes on as it is: it does not jump on any machine.
    pub fn apply(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.client)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_NO_CACHE", "0");
    }
}
