//! Programs of peers that `bench/install-peers` has installed, and which version each of them is.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where `bench/install-peers` installs to.
const TOOLS: &str = "target/tools";

/// The program that the variable names, or the one that was installed.
///
/// # Errors
/// When there is none.
pub(super) fn program(variable: &str, name: &str) -> io::Result<PathBuf> {
    let installed = || Path::new(TOOLS).join("bin").join(name);
    let program = std::env::var_os(variable).map_or_else(installed, |named: OsString| named.into());
    if program.exists() {
        return Ok(program);
    }
    let program = program.display();
    Err(io::Error::other(format!(
        "{program} is not there; bench/install-peers installs it, {variable} names another"
    )))
}

/// The version of a crate among those that cargo has installed there.
pub(super) fn crate_version(name: &str) -> String {
    version_in(&fs::read_to_string(Path::new(TOOLS).join(".crates.toml")).unwrap_or_default(), name)
}

/// In the list of installed crates each is `"NAME VERSION (SOURCE)" = […]`.
fn version_in(list: &str, name: &str) -> String {
    let version = |line: &str| {
        line.strip_prefix('"')?.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next().map(str::to_owned)
    };
    list.lines().find_map(version).unwrap_or_else(|| "of an unknown version".to_owned())
}

/// The version of the module that a Go program was built from, as it is written in the program.
pub(super) fn module_version(program: &Path) -> String {
    let output = Command::new("go").args(["version", "-m"]).arg(program).stderr(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut words = text.lines().filter_map(|line| line.trim().strip_prefix("mod\t"));
    words.next().and_then(|rest| rest.split('\t').nth(1)).unwrap_or("of an unknown version").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_by_the_whole_name() {
        let list = "[v1]\n\"durable 9.9.9 (registry+x)\" = [\"a\"]\n\"durable-streams 0.1.5 (registry+x)\" = [\"b\"]\n";
        assert_eq!(version_in(list, "durable-streams"), "0.1.5");
        assert_eq!(version_in(list, "durable"), "9.9.9");
        assert_eq!(version_in("", "durable"), "of an unknown version");
    }
}
