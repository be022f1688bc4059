//! What is kept of one directory on the disk, in a folder of its own under `acme/` in the data directory: the
//! account, the certificate, and when the next order may be made. Several nodes may share it: what is written
//! takes the place of what was there at once, and orders are made under a lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;

use super::{attempts::Attempts, challenges::is_token};

/// The folder of all directories, in the data directory.
const FOLDER: &str = "acme";
/// The key and behind it the certificate with its chain, in PEM: in one file, so that they always fit.
const CERTIFICATE: &str = "certificate.pem";
const ACCOUNT: &str = "account.json";
const ATTEMPTS: &str = "attempts.json";
const LOCK: &str = "lock";
/// The folder of what is answered over HTTP, a file a token.
const ANSWERS: &str = "answers";
/// The most bytes of a file that is read.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// An account at a directory, as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) credentials: AccountCredentials,
    /// What the directory was told.
    pub(super) contact: Option<String>,
}

/// The lock under which orders are made, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "closing the file is what unlocks")] File);

/// The folder of one directory. Cheap to clone. All of its functions wait for the disk.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// That of this directory. Nothing is read or made yet.
    pub(super) fn new(data: &Path, directory: &str) -> Self {
        Self { folder: data.join(FOLDER).join(folder_name(directory)) }
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the certificate and its key.
    pub(super) fn certificate_path(&self) -> PathBuf {
        self.folder.join(CERTIFICATE)
    }

    /// Locks it, and makes it if it is not there. None when another process has it locked.
    ///
    /// # Errors
    /// When it cannot be made or locked.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        self.make_folder(&self.folder)?;
        let file = private().truncate(false).open(self.folder.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The account; none when there is none that can be read.
    pub(super) fn account(&self) -> Option<Account> {
        self.read_json(ACCOUNT)
    }

    /// When orders were made and may be made; as if there had been none when that cannot be read.
    pub(super) fn attempts(&self) -> Attempts {
        self.read_json(ATTEMPTS).unwrap_or_default()
    }

    /// # Errors
    /// When it cannot be written. Then what was there still is, here and below.
    pub(super) fn write_account(&self, account: &Account) -> io::Result<()> {
        self.write(ACCOUNT, &serde_json::to_vec(account)?)
    }

    pub(super) fn write_attempts(&self, attempts: &Attempts) -> io::Result<()> {
        self.write(ATTEMPTS, &serde_json::to_vec(attempts)?)
    }

    pub(super) fn write_certificate(&self, pem: &str) -> io::Result<()> {
        self.write(CERTIFICATE, pem.as_bytes())
    }

    /// What any node that shares the folder answers for a token, which has to be one.
    pub(super) fn write_answer(&self, token: &str, answer: &str) -> io::Result<()> {
        if !is_token(token) {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.make_folder(&self.folder.join(ANSWERS))?;
        self.write(&format!("{ANSWERS}/{token}"), answer.as_bytes())
    }

    /// What is answered for a token, by whichever node made the order.
    pub(super) fn answer(&self, token: &str) -> Option<String> {
        let path = self.folder.join(ANSWERS).join(Some(token).filter(|token| is_token(token))?);
        read(&path).ok().and_then(|bytes| String::from_utf8(bytes).ok())
    }

    /// The order is over. What cannot be removed answers nothing that is asked any more.
    pub(super) fn remove_answers(&self) {
        let _ = fs::remove_dir_all(self.folder.join(ANSWERS));
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    /// What is in a file; none when it is not there, or holds something else, which is reported.
    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.folder.join(name);
        let read = read(&path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
        match read {
            Ok(value) => Some(value),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a file of ACME is damaged; it is made anew");
                None
            }
        }
    }

    /// Writes another file and gives it the name, so that half of it is never read.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.folder.join(name);
        let new = self.folder.join(format!("{name}.new"));
        let mut file = private().truncate(true).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// A file that is its owner's alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // What is no file may have no end, or never begin.
    if !fs::metadata(path)?.is_file() {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A name for the folder of a directory that tells which one it is.
fn folder_name(directory: &str) -> String {
    let place = Url::parse(directory).ok().and_then(|url| {
        let host = url.host_str()?.to_owned();
        let port = url.port().map(|port| format!("-{port}")).unwrap_or_default();
        Some(format!("{host}{port}{}", url.path()))
    });
    let place = place.unwrap_or_else(|| directory.to_owned());
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    place.trim_end_matches('/').chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::listeners::acme::challenges::ChallengeKind;

    const DIRECTORY: &str = "https://ca.example:14000/dir";

    fn cache() -> (tempfile::TempDir, Cache) {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::new(data.path(), DIRECTORY);
        (data, cache)
    }

    #[test]
    fn each_directory_has_a_folder_of_its_own() {
        for (directory, name) in [
            (DIRECTORY, "ca.example-14000_dir"),
            ("https://acme-v02.api.letsencrypt.org/directory", "acme-v02.api.letsencrypt.org_directory"),
            ("http://[::1]:1/a/../b/", "___1_-1_b"),
        ] {
            assert_eq!(folder_name(directory), name);
        }
    }

    #[test]
    fn what_is_kept_is_its_owners_alone() {
        let (data, cache) = cache();
        let lock = cache.lock().unwrap();
        assert!(lock.is_some());
        cache.write_certificate("key and certificate").unwrap();
        cache.write_attempts(&Attempts::default()).unwrap();
        cache.write_answer("token", "token.thumb").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for folder in [data.path().join("acme"), cache.folder.clone(), cache.folder.join("answers")] {
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        }
        for file in ["certificate.pem", "attempts.json", "lock", "answers/token"] {
            assert_eq!(mode(&cache.folder.join(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn one_process_at_a_time_makes_orders() {
        let (_data, cache) = cache();
        let first = cache.lock().unwrap();
        assert!(first.is_some() && cache.lock().unwrap().is_none());
        drop(first);
        assert!(cache.lock().unwrap().is_some());
    }

    #[test]
    fn what_is_damaged_is_as_if_it_were_not_there() {
        let (_data, cache) = cache();
        assert!(cache.account().is_none(), "nor is there a folder");
        let _lock = cache.lock().unwrap();
        let kept = Attempts { refused: 3, kind: ChallengeKind::Http, ..Attempts::default() };
        cache.write_attempts(&kept).unwrap();
        assert_eq!(cache.attempts(), kept);
        let whole = fs::read(cache.folder.join(ATTEMPTS)).unwrap();
        for end in 0..whole.len() {
            fs::write(cache.folder.join(ATTEMPTS), &whole[..end]).unwrap();
            assert_eq!(cache.attempts(), Attempts::default(), "cut at {end}");
        }
        for bytes in [&b"null"[..], b"[]", b"\xff\xfe", b"{\"refused\": -1}"] {
            fs::write(cache.folder.join(ATTEMPTS), bytes).unwrap();
            fs::write(cache.folder.join(ACCOUNT), bytes).unwrap();
            assert_eq!(cache.attempts(), Attempts::default());
            assert!(cache.account().is_none());
        }
        fs::remove_file(cache.folder.join(ATTEMPTS)).unwrap();
        fs::create_dir(cache.folder.join(ATTEMPTS)).unwrap();
        assert_eq!(cache.attempts(), Attempts::default(), "a folder has no text");
        assert!(cache.write_attempts(&kept).is_err(), "and is not written over");
    }

    #[test]
    fn an_answer_is_for_its_token_until_the_order_is_over() {
        let (data, cache) = cache();
        let _lock = cache.lock().unwrap();
        cache.write_answer("token", "token.thumb").unwrap();
        let other = Cache::new(data.path(), DIRECTORY);
        assert_eq!(other.answer("token").as_deref(), Some("token.thumb"));
        for wrong in ["", ".", "other", "../attempts.json", "../lock"] {
            assert_eq!(other.answer(wrong), None, "{wrong}");
            assert!(wrong == "other" || cache.write_answer(wrong, "x").is_err(), "{wrong}");
        }
        cache.remove_answers();
        assert_eq!(other.answer("token"), None);
    }
}
