//! A server's data directory and the program run on it, for the tests of what an operator does.
#![allow(dead_code, reason = "each test program uses some of it")]
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use serde_json::Value;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A directory with the data of a server.
pub struct Site {
    dir: tempfile::TempDir,
}

/// A server that runs, and ends with this.
pub struct Server {
    pub child: Child,
    pub url: String,
    /// A server that cannot say where it listens ends.
    _stdout: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // kill -9: what was answered is there all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Site {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
        command.args(args).current_dir(self.dir.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENCKE_")) {
            command.env_remove(name);
        }
        command.env("ENCKE_API_KEY", KEY).env("ENCKE_DATA", self.path("data"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must do what it is told, and returns what it prints.
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn serve(&self, args: &[&str]) -> Server {
        let all = [&["serve", "--dev", "--listen", "127.0.0.1:0"], args].concat();
        let mut child = self.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(url.starts_with("http://"), "{line:?}");
        Server { child, url, _stdout: stdout }
    }

    pub fn publish(&self, server: &Server) -> Value {
        let args = ["publish", "--channel", "news", "--data", "{\"n\":1}"];
        let output = self.command(&args).env("ENCKE_URL", &server.url).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// What a command that failed says.
pub fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}
