//! The access log: a line for each request that was answered, and for each connection that waited, at its
//! end. It has routes and never addresses, so that no ticket, cursor or session id stands in it. A thread
//! writes it; who answers requests waits for no disk.

mod caller;
mod entry;

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
};

use futures_util::future::BoxFuture;

pub use self::{
    caller::Caller,
    entry::{Access, Subject},
};
use crate::{
    config::{AccessLogTarget, Config, LogFormat},
    file_thread::FileThread,
    metrics::Metrics,
    regular_file,
    reload::{Change, Problem, Reload},
};

/// The most lines that wait for the disk. Beyond it they are left out and counted.
const LINES_MAX: usize = 16_384;
/// The most bytes that are written at once.
const WRITE_MAX_BYTES: usize = 256 * 1024;

/// Where lines go that are to be written. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    is_on: AtomicBool,
    format: LogFormat,
    to_thread: SyncSender<ToThread>,
    next: NextTarget,
    files: FileThread,
}

/// What the thread that writes is told.
enum ToThread {
    Line(Vec<u8>),
    /// There is another target. It is not in the queue, which may be full for as long as a disk gives no
    /// answer.
    Turned,
}

/// The target that the thread takes before it writes, if there is another one.
type NextTarget = Arc<Mutex<Option<Target>>>;

/// Where it writes.
enum Target {
    Nowhere,
    Stderr,
    File(File),
}

impl AccessLog {
    /// As the configuration says.
    ///
    /// # Errors
    /// When its file cannot be opened, or there is no thread.
    pub fn open(config: &Config) -> io::Result<Self> {
        Self::to(open(config.access_log.as_ref())?, config.log_format)
    }

    fn to(target: Target, format: LogFormat) -> io::Result<Self> {
        let (to_thread, told) = sync_channel(LINES_MAX);
        let is_on = AtomicBool::new(!matches!(target, Target::Nowhere));
        let (next, files) = (NextTarget::default(), FileThread::new());
        let turned = Arc::clone(&next);
        // It ends with the last who could write.
        thread::Builder::new().name("access-log".into()).spawn(move || write(&told, target, &turned))?;
        Ok(Self(Arc::new(Shared { is_on, format, to_thread, next, files })))
    }

    /// Whether lines are written. Who is asked for what only they need asks this first.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Relaxed)
    }

    /// Writes a line, if it is on and there is room for it.
    pub fn write(&self, access: &Access<'_>) {
        if self.is_on() && !self.put(access.line(self.0.format)) {
            Metrics::global().access_log_lost.inc();
        }
    }

    /// Whether there was room for a line.
    fn put(&self, line: Vec<u8>) -> bool {
        self.0.to_thread.try_send(ToThread::Line(line)).is_ok()
    }

    /// Writes there from the next block on. It waits for nothing.
    fn turn_to(&self, target: Target) {
        let is_on = !matches!(target, Target::Nowhere);
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
        // A full queue wakes the thread as well.
        let _ = self.0.to_thread.try_send(ToThread::Turned);
        self.0.is_on.store(is_on, Ordering::Relaxed);
    }
}

/// Its file is opened anew at each reading of the configuration, as those want who rotate logs.
impl Reload for AccessLog {
    fn keys(&self) -> &'static [&'static str] {
        &["access_log"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let log = self.clone();
        Box::pin(async move {
            let opened = log.0.files.run(move || open(config.access_log.as_ref())).await?;
            let target = opened?;
            Ok(Box::new(move || log.turn_to(target)) as Change)
        })
    }
}

/// What a target is; a file is made if there is none, for its owner and group alone.
fn open(target: Option<&AccessLogTarget>) -> io::Result<Target> {
    let named = |path: &Path| {
        regular_file::append(path, 0o640)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    Ok(match target {
        None => Target::Nowhere,
        Some(AccessLogTarget::Stderr) => Target::Stderr,
        Some(AccessLogTarget::File(path)) => Target::File(named(path)?),
    })
}

/// Writes lines as they come, together as many as there are, until none can come any more.
fn write(told: &Receiver<ToThread>, mut target: Target, turned: &Mutex<Option<Target>>) {
    let mut lines = Vec::new();
    while let Ok(first) = told.recv() {
        let mut next = Ok(first);
        loop {
            match next {
                Ok(ToThread::Line(line)) => lines.extend_from_slice(&line),
                Ok(ToThread::Turned) => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            if lines.len() >= WRITE_MAX_BYTES {
                break;
            }
            next = told.try_recv();
        }
        if let Some(other) = turned.lock().unwrap_or_else(PoisonError::into_inner).take() {
            target = other;
        }
        target.write(&mut lines);
    }
}

impl Target {
    /// Writes lines and forgets them.
    fn write(&mut self, lines: &mut Vec<u8>) {
        let written = match self {
            Self::Nowhere => Ok(()),
            Self::Stderr => write_lines(&mut io::stderr().lock(), lines),
            Self::File(file) => write_lines(file, lines),
        };
        if let Err((lost, error)) = written {
            Metrics::global().access_log_lost.inc_by(lost);
            tracing::warn!(lost, %error, "the access log cannot be written");
        }
        lines.clear();
    }
}

/// Writes lines, or says how many of them were not written whole, and why.
fn write_lines(to: &mut impl Write, mut lines: &[u8]) -> Result<(), (u64, io::Error)> {
    while !lines.is_empty() {
        let problem = match to.write(lines) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(count) => {
                lines = lines.get(count..).unwrap_or_default();
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let ends = lines.iter().filter(|byte| **byte == b'\n').count();
        return Err((u64::try_from(ends).unwrap_or(u64::MAX), problem));
    }
    Ok(())
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("is_on", &self.is_on()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::OpenOptions,
        io::Read,
        process::Command,
        sync::mpsc::channel,
        time::{Duration, Instant},
    };

    use super::*;

    /// How long a test waits for what has to come.
    const WAIT: Duration = Duration::from_secs(30);

    /// A disk that gives no answer holds up nothing but its thread.
    #[test]
    fn another_target_is_taken_while_the_thread_is_stuck_and_the_queue_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, path) = (dir.path().join("pipe"), dir.path().join("log"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // With both ends here: it is not waited for, and nothing takes what is written.
        let mut stuck = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let log = AccessLog::to(Target::File(stuck.try_clone().unwrap()), LogFormat::Text).unwrap();
        let line = || [vec![b'x'; 99], vec![b'\n']].concat();
        let (turned, has_turned) = channel();
        let turning = log.clone();
        let next = open(Some(&AccessLogTarget::File(path.clone()))).unwrap();
        // The thread is stuck once the queue has stayed full; more than that fits in no pipe.
        let mut full = 0;
        while full < 1_000 {
            full = if log.put(line()) { 0 } else { full + 1 };
            thread::yield_now();
        }
        thread::spawn(move || {
            turning.turn_to(next);
            turned.send(()).unwrap();
        });
        has_turned.recv_timeout(WAIT).expect("it waits for the queue");
        thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while stuck.read(&mut bytes).is_ok_and(|count| count > 0) {}
        });
        let ends = Instant::now() + WAIT;
        while std::fs::metadata(&path).unwrap().len() < 100 * (LINES_MAX as u64) {
            assert!(Instant::now() < ends, "what waited goes to the other file");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn each_line_that_was_not_written_whole_is_lost() {
        /// Takes so many bytes, a few at a time.
        struct Room(usize);
        impl Write for Room {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let count = bytes.len().min(3).min(self.0);
                self.0 -= count;
                if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (room, lost) in [(0, 3), (4, 3), (5, 2), (14, 1)] {
            let (told, error) = write_lines(&mut Room(room), b"abcd\nefgh\nijkl\n").unwrap_err();
            assert_eq!((told, error.kind()), (lost, io::ErrorKind::StorageFull), "{room}");
        }
        assert!(write_lines(&mut Room(15), b"abcd\nefgh\nijkl\n").is_ok());
    }
}
