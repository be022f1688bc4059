//! The files that a configuration names, looked at before a server starts with it.

use std::path::Path;

use crate::auth::KeySet;
use crate::config::{AccessLogTarget, CertificateFiles, Config, Mistake};
use crate::listeners::{CertificateError, certificate_problem};

/// What is wrong with them.
pub(crate) fn mistakes(config: &Config) -> Vec<Mistake> {
    let said = &config.said;
    let first = config.tls_cert.clone().zip(config.tls_key.clone());
    let first =
        first.map(|(cert, key)| (CertificateFiles { cert, key }, "tls_cert".into(), "tls_key".into()));
    let more = config.tls_certificates.iter().enumerate().map(|(index, files)| {
        let path = |name: &str| format!("tls_certificates[{index}].{name}");
        (files.clone(), path("cert"), path("key"))
    });
    let mut mistakes: Vec<Mistake> = first
        .into_iter()
        .chain(more)
        .filter_map(|(files, cert, key)| {
            let problem = certificate_problem(&files)?;
            let is_key = matches!(&problem, CertificateError::File(path, _) if *path == files.key);
            Some(said.mistake(if is_key { &key } else { &cert }, problem.to_string()))
        })
        .collect();
    let keys = KeySet::problems(config).into_iter();
    mistakes.extend(keys.map(|(index, bad)| {
        said.mistake(&format!("auth.keys[{index}]"), format!("{} {}", bad.name, bad.error))
    }));
    if let Some(problem) = config.tls_acme_root.as_deref().and_then(unreadable) {
        mistakes.push(said.mistake("tls_acme_root", problem));
    }
    if config.data.exists() && !config.data.is_dir() {
        mistakes.push(said.mistake("data", format!("{} is no directory", config.data.display())));
    }
    if let Some(AccessLogTarget::File(path)) = &config.access_log
        && let Some(problem) = unwritable(path)
    {
        mistakes.push(said.mistake("access_log", problem));
    }
    mistakes
}

/// Why there cannot be a file to write at this path, as far as can be seen without making it.
fn unwritable(path: &Path) -> Option<String> {
    if path.as_os_str().is_empty() {
        return Some("must be a file, or \"stderr\"".to_owned());
    }
    if path.exists() && !path.is_file() {
        return Some(format!("{}: it is no regular file", path.display()));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty())?;
    (!parent.is_dir()).then(|| format!("{}: there is no directory {}", path.display(), parent.display()))
}

/// Why a file cannot be read, if it cannot.
fn unreadable(path: &Path) -> Option<String> {
    std::fs::File::open(path).err().map(|error| format!("{}: {error}", path.display()))
}
