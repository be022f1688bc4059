//! The keys of dev mode: made once, kept in the data directory, found there by the commands on the same
//! machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::Secret;

/// The file in the data directory. Only its owner may read it (mode 0600).
const FILE: &str = "dev-keys.json";

/// The keys of dev mode.
#[derive(Debug, Clone, Deserialize)]
pub struct DevKeys {
    /// The key of the server API.
    pub api_key: Secret,
    /// The secret that tokens are signed with.
    pub token_secret: Secret,
}

/// Why the keys of dev mode are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum DevKeysError {
    /// The file cannot be read, or it and its directory cannot be made.
    #[error("`data`: cannot keep the keys of dev mode in {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("`data`: {} does not hold the keys of dev mode; remove it to have new ones made", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gives no randomness.
    #[error("`data`: the operating system gives no randomness to make the keys of dev mode from")]
    NoRandomness,
}

impl DevKeys {
    /// The keys in this data directory; `None` if none were made.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else.
    pub fn read(data: &Path) -> Result<Option<Self>, DevKeysError> {
        let path = data.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(DevKeysError::File { path, error }),
        };
        serde_json::from_str(&text).map(Some).map_err(|_| DevKeysError::Content { path })
    }

    /// The keys in this data directory, made when there are none, and the directory with them.
    ///
    /// # Errors
    /// What cannot be read, made or understood.
    pub fn read_or_make(data: &Path) -> Result<Self, DevKeysError> {
        if let Some(keys) = Self::read(data)? {
            return Ok(keys);
        }
        let path = data.join(FILE);
        let keys = Self { api_key: random_key()?, token_secret: random_key()? };
        match keys.write(data, &path) {
            Ok(()) => Ok(keys),
            // Another process was quicker: its keys are the ones that count.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::read(data)?.ok_or(DevKeysError::Content { path })
            }
            Err(error) => Err(DevKeysError::File { path, error }),
        }
    }

    /// Writes the file under another name first and links it into place, so that half of it is never read,
    /// and what is there is not overwritten.
    fn write(&self, data: &Path, path: &Path) -> io::Result<()> {
        fs::create_dir_all(data)?;
        let draft = data.join(format!(".{FILE}.{}", std::process::id()));
        let text = serde_json::json!({
            "api_key": self.api_key.expose(),
            "token_secret": self.token_secret.expose()
        });
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&draft).and_then(|mut file| {
            writeln!(file, "{text}")?;
            file.sync_all()
        });
        let linked = written.and_then(|()| fs::hard_link(&draft, path));
        // The draft has served, whether it was linked or not; one that stays behind does no harm.
        let _ = fs::remove_file(&draft);
        linked
    }
}

/// 256 random bits.
fn random_key() -> Result<Secret, DevKeysError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|_| DevKeysError::NoRandomness)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        assert!(DevKeys::read(&data).unwrap().is_none());
        let made = DevKeys::read_or_make(&data).unwrap();
        let again = DevKeys::read_or_make(&data).unwrap();
        assert_eq!(made.api_key, again.api_key);
        assert_eq!(DevKeys::read(&data).unwrap().unwrap().token_secret, made.token_secret);
        assert_ne!(made.api_key, made.token_secret);
        assert!(made.token_secret.weakness(32).is_none());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(data.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn a_file_with_something_else_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{}").unwrap();
        assert!(matches!(DevKeys::read_or_make(dir.path()), Err(DevKeysError::Content { .. })));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = DevKeys::read_or_make(&dir.path().join("file")).unwrap_err();
        assert!(error.to_string().starts_with("`data`"), "{error}");
    }
}
