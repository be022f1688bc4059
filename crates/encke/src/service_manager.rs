//! What a service manager is told of the state of the process: sd_notify(3), as systemd speaks it. Without
//! one nothing is told. Which states there are, `serve` decides.

use std::{
    env, io,
    os::unix::net::{SocketAddr, UnixDatagram},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Where the manager wants to be told.
const SOCKET: &str = "NOTIFY_SOCKET";
/// Within how many microseconds it wants to hear that the process works.
const WATCHDOG_US: &str = "WATCHDOG_USEC";
/// For which process that is meant, when it is said.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// What the process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It accepts connections.
    Ready,
    /// It reads its configuration again; [`State::Ready`] follows.
    Reloading,
    /// It stops.
    Stopping,
    /// It works.
    Alive,
}

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that started this process, by the environment.
    pub(crate) fn of_environment() -> Self {
        Self::of(|name| env::var(name).ok(), std::process::id()).unwrap_or_else(|error| {
            tracing::warn!(%error, "the service manager is not told what the server does");
            Self::default()
        })
    }

    fn of(variable: impl Fn(&str) -> Option<String>, process: u32) -> io::Result<Self> {
        let Some(path) = variable(SOCKET).filter(|path| !path.is_empty()) else { return Ok(Self::default()) };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&path)?)?;
        // A manager that does not read must not hold the server up.
        socket.set_nonblocking(true)?;
        let is_meant = variable(WATCHDOG_PID).is_none_or(|pid| pid == process.to_string());
        let within_us = variable(WATCHDOG_US).filter(|_| is_meant).and_then(|text| text.parse().ok());
        let watchdog = within_us.filter(|us: &u64| *us > 0).map(Duration::from_micros);
        Ok(Self { socket: Some(socket), watchdog })
    }

    /// How often it wants to be told [`State::Alive`], if it does: twice in its time
    /// (sd_watchdog_enabled(3)).
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|within| within / 2)
    }

    /// Tells a state. What cannot be told is not told.
    pub(crate) fn tell(&self, state: State) {
        let Some(socket) = &self.socket else { return };
        let text = match state {
            State::Ready => "READY=1".to_owned(),
            State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()),
            State::Stopping => "STOPPING=1".to_owned(),
            State::Alive => "WATCHDOG=1".to_owned(),
        };
        if let Err(error) = socket.send(text.as_bytes()) {
            tracing::debug!(%error, ?state, "the service manager was not told");
        }
    }
}

/// A path, or a name in the abstract namespace (unix(7)) behind `@`.
fn address(path: &str) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = path.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt as _;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(path)
}

/// The time by which the manager tells one reload from another, in microseconds.
fn monotonic_us() -> i128 {
    let now = clock_gettime(ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_told_at_a_path_and_how_often_is_its_wish() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let of = |pid: &'static str| {
            let path = path.to_str().unwrap().to_owned();
            let variable = move |name: &str| match name {
                SOCKET => Some(path.clone()),
                WATCHDOG_US => Some("30000000".to_owned()),
                WATCHDOG_PID => Some(pid.to_owned()),
                _ => None,
            };
            ServiceManager::of(variable, 7).unwrap()
        };
        assert_eq!(of("7").watchdog_interval(), Some(Duration::from_secs(15)));
        assert_eq!(of("8").watchdog_interval(), None, "it is meant for another process");
        let mut text = [0; 100];
        for (state, words) in [
            (State::Ready, "READY=1"),
            (State::Reloading, "RELOADING=1\nMONOTONIC_USEC="),
            (State::Stopping, "STOPPING=1"),
            (State::Alive, "WATCHDOG=1"),
        ] {
            of("7").tell(state);
            let length = heard.recv(&mut text).unwrap();
            let told = std::str::from_utf8(&text[..length]).unwrap();
            assert!(told.starts_with(words), "{told}");
        }
    }

    #[test]
    fn without_a_manager_nothing_is_told() {
        let none = ServiceManager::of(|_| None, 7).unwrap();
        none.tell(State::Ready);
        assert_eq!(none.watchdog_interval(), None);
        assert!(ServiceManager::of(|name| (name == SOCKET).then(|| "/nowhere/x".to_owned()), 7).is_err());
    }
}
