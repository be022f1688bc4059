//! The certificates of the server: read from their files, chosen by the name that a client asks for, and read
//! again when the files change. It is told when one is about to end.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::SystemTime,
};

use futures_util::future::BoxFuture;
use rustls::{
    SignatureAlgorithm,
    client::verify_server_name,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::validity::Validity;
use crate::{
    config::{CertificateFiles, Config},
    file_thread::FileThread,
    logging::SETTINGS,
    metrics::Metrics,
    regular_file,
    reload::{Change, Problem, Reload},
};

/// How many days before its end a certificate is warned of, once a day.
const WARNS_DAYS: i64 = 14;
const DAY_S: i64 = 86_400;
/// The largest file that is read: some hundred certificates.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, or holds something else.
    #[error("{0}: {1}")]
    File(PathBuf, String),
    /// The files give no answer.
    #[error("certificates: {0}")]
    Unread(std::io::Error),
    /// The key does not belong to the certificate, or either is of no kind that is known.
    #[error("{0}: the certificate cannot be used: {1}")]
    Unusable(PathBuf, rustls::Error),
}

/// All certificates, in the order in which they are chosen from.
#[derive(Debug)]
pub(super) struct Certificates {
    all: RwLock<Arc<[Certificate]>>,
    /// The file of the one that is got by ACME, if one is. It is the last, and may not be there yet.
    acme: Option<PathBuf>,
    signs_slowly: Arc<AtomicBool>,
    files: FileThread,
}

/// One as its files have it now.
#[derive(Debug)]
struct Certificate {
    files: CertificateFiles,
    /// None until there is one.
    now: RwLock<Option<Loaded>>,
    /// How many days were left when it was last warned of its end.
    warned_days: AtomicI64,
    /// What was wrong with its files when they were last read; it is told once.
    told: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    /// Its last second, since 1970; none when it does not say so in a form that is known.
    not_after_s: Option<i64>,
    /// How many days before its end it is warned of: fewer for one that lives shortly.
    warns_days: i64,
    changed: Option<(SystemTime, SystemTime)>,
}

impl Certificates {
    /// Those in these files, and behind them the one that is got by ACME and put into its file, if there is
    /// to be one.
    ///
    /// # Errors
    /// [`CertificateError`] of the first that cannot be used, or when the files give no answer. One by ACME
    /// is no reason: another will be got.
    pub(super) async fn load(
        files: Vec<CertificateFiles>,
        acme: Option<PathBuf>,
    ) -> Result<Self, CertificateError> {
        let thread = FileThread::new();
        let by_acme = acme.clone();
        let all = thread.run(move || load_all(files, by_acme)).await.map_err(CertificateError::Unread)??;
        let certificates = Self { all: RwLock::new(all), acme, signs_slowly: Arc::default(), files: thread };
        certificates.note_speed();
        Ok(certificates)
    }

    fn all(&self) -> Arc<[Certificate]> {
        Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, all: Arc<[Certificate]>) {
        let before = std::mem::replace(&mut *self.all.write().unwrap_or_else(PoisonError::into_inner), all);
        self.forget(&before);
        self.note_speed();
    }

    /// Takes those among the metrics away that are not in use any more.
    fn forget(&self, before: &[Certificate]) {
        let all = self.all();
        for gone in before.iter().filter(|old| all.iter().all(|new| new.files.cert != old.files.cert)) {
            Metrics::global().tls_certificate_not_after_s.remove(gone.name());
        }
    }

    /// Whether any has a key for RSA: a signature with one takes a millisecond or some, and with a curve a
    /// tenth of that.
    pub(super) fn signs_slowly(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.signs_slowly)
    }

    fn note_speed(&self) {
        let is_slow = |certified: Arc<CertifiedKey>| certified.key.algorithm() == SignatureAlgorithm::RSA;
        let is_any_slow = self.all().iter().filter_map(Certificate::certified).any(is_slow);
        self.signs_slowly.store(is_any_slow, Ordering::Relaxed);
    }

    /// The one that is got by ACME, when there is one.
    pub(super) fn by_acme(&self) -> Option<Arc<CertifiedKey>> {
        self.acme.as_ref().and_then(|_| self.all().last()?.certified())
    }

    /// Reads files again that have changed. What cannot be used is reported, and the old certificate stays.
    /// One that ends soon is reported, too, by the seconds since 1970.
    pub(super) async fn look(&self, now_s: i64) {
        let all = self.all();
        let looked_at = Arc::clone(&all);
        let looked = self.files.run(move || {
            for certificate in all.iter() {
                certificate.look();
                certificate.warn(now_s);
            }
        });
        match looked.await {
            Ok(()) => {
                // Others may have been taken meanwhile.
                self.forget(&looked_at);
                self.note_speed();
            }
            Err(error) => unusable(&error),
        }
    }

    /// Whether any is for a name.
    pub(super) fn has(&self, name: &ServerName<'_>) -> bool {
        self.all().iter().filter_map(Certificate::certified).any(|certified| is_for(&certified, name))
    }

    /// The first that is for a name, among those whose signature the client can check.
    fn choose(&self, name: Option<&str>, signs: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let mut first = None;
        for certified in
            self.all().iter().filter_map(Certificate::certified).filter(|certified| signs(certified))
        {
            if name.as_ref().is_some_and(|name| is_for(&certified, name)) {
                return Some(certified);
            }
            first.get_or_insert(certified);
        }
        first
    }
}

impl Certificate {
    fn new(now: Option<Loaded>, files: CertificateFiles) -> Self {
        let (now, warned_days) = (RwLock::new(now), AtomicI64::new(WARNS_DAYS));
        Self { files, now, warned_days, told: Mutex::default() }
    }

    /// One whose key is in the same file, if there is that file.
    fn by_acme(file: PathBuf) -> Self {
        let files = CertificateFiles { cert: file.clone(), key: file };
        let now = changed(&files).and_then(|_| {
            let problem = |error| tracing::warn!(%error, "the certificate got by ACME cannot be used");
            read(&files).map_err(problem).ok()
        });
        Self::new(now, files)
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().map(|loaded| Arc::clone(&loaded.certified))
    }

    fn look(&self) {
        let changed = changed(&self.files);
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let known = now.as_ref().map(|loaded| loaded.changed);
        drop(now);
        if known == Some(changed) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match read(&self.files) {
            Ok(loaded) => {
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
                *told = None;
                tracing::info!(cert = %self.files.cert.display(), "the certificate was read again");
            }
            // That there is none yet is told where it is got.
            Err(_) if known.is_none() => {}
            Err(error) => {
                let problem = error.to_string();
                if told.as_ref() != Some(&problem) {
                    unusable(&error);
                    *told = Some(problem);
                }
            }
        }
    }
}

/// Tells of a certificate that cannot be used in the place of an old one.
fn unusable(error: &dyn std::fmt::Display) {
    Metrics::global().tls_certificate_errors.inc();
    tracing::warn!(target: SETTINGS, %error, "the new certificate cannot be used");
}

impl Certificate {
    /// What it is called in metrics and the log.
    fn name(&self) -> String {
        self.files.cert.display().to_string()
    }

    /// Warns of its end, once a day. True when it did.
    fn warn(&self, now_s: i64) -> bool {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let end = now.as_ref().and_then(|loaded| Some((loaded.not_after_s?, loaded.warns_days)));
        drop(now);
        let Some((not_after_s, warns_days)) = end else { return false };
        let cert = self.name();
        Metrics::global().tls_certificate_not_after_s.of(cert.clone()).set(not_after_s);
        let left_days = (not_after_s - now_s).div_euclid(DAY_S).clamp(-1, warns_days);
        if self.warned_days.swap(left_days, Ordering::Relaxed) == left_days || left_days == warns_days {
            return false;
        }
        if left_days < 0 {
            tracing::error!(target: SETTINGS, cert, "the certificate has ended: clients refuse it");
        } else {
            tracing::warn!(target: SETTINGS, cert, left_days, "the certificate ends soon");
        }
        true
    }
}

impl Reload for Arc<Certificates> {
    fn keys(&self) -> &'static [&'static str] {
        &["tls_cert", "tls_key", "tls_certificates"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let certificates = Self::clone(self);
        Box::pin(async move {
            let files = config.certificates();
            if files.is_empty() && certificates.acme.is_none() {
                // TLS is not turned off without a restart, which is told of `tls_listen`.
                return Ok(Box::new(|| {}) as Change);
            }
            let acme = certificates.acme.clone();
            let read = certificates.files.run(move || load_all(files, acme)).await;
            let loaded = read.map_err(CertificateError::Unread).and_then(|loaded| loaded);
            let all = loaded.inspect_err(|error| unusable(error))?;
            Ok(Box::new(move || certificates.replace(all)) as Change)
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.choose(hello.server_name(), |certified| certified.key.choose_scheme(schemes).is_some())
    }
}

/// Whether a certificate is for a name.
pub(super) fn is_for(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    certified
        .end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

fn changed(files: &CertificateFiles) -> Option<(SystemTime, SystemTime)> {
    let of = |path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    Some((of(&files.cert)?, of(&files.key)?))
}

fn load_all(
    files: Vec<CertificateFiles>,
    acme: Option<PathBuf>,
) -> Result<Arc<[Certificate]>, CertificateError> {
    let load = |files| Ok(Certificate::new(read(&files).map(Some)?, files));
    let all = files.into_iter().map(load).chain(acme.map(Certificate::by_acme).map(Ok));
    all.collect()
}

/// Why a certificate cannot be used, if it cannot.
#[must_use]
pub fn certificate_problem(files: &CertificateFiles) -> Option<CertificateError> {
    read(files).err()
}

fn read(files: &CertificateFiles) -> Result<Loaded, CertificateError> {
    let changed = changed(files);
    let failed = |path: &PathBuf, error: String| CertificateError::File(path.clone(), error);
    let open = |path: &PathBuf| {
        regular_file::read(path, FILE_MAX_BYTES).map_err(|error| failed(path, error.to_string()))
    };
    let chain = CertificateDer::pem_slice_iter(&open(&files.cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(&files.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(failed(&files.cert, "there is no certificate in it".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(&open(&files.key)?)
        .map_err(|error| failed(&files.key, error.to_string()))?;
    let provider =
        CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let certified = CertifiedKey::from_der(chain, private, &provider)
        .map_err(|error| CertificateError::Unusable(files.cert.clone(), error))?;
    let validity = certified.end_entity_cert().ok().and_then(|certificate| Validity::of(certificate));
    let not_after_s = validity.map(|validity| validity.not_after_s);
    // One that is renewed in time has a third of its life left then.
    let warns_days =
        validity.map_or(WARNS_DAYS, |validity| (validity.life_s() / (4 * DAY_S)).min(WARNS_DAYS));
    Ok(Loaded { certified: Arc::new(certified), not_after_s, warns_days, changed })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::metrics::TextForm;

    fn certify(dir: &Path, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (cert, key) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}-key.pem")));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        CertificateFiles { cert, key }
    }

    #[tokio::test]
    async fn a_client_is_shown_what_is_for_the_name_that_it_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let files = vec![
            certify(dir.path(), "first", &["a.example", "b.example"]),
            certify(dir.path(), "second", &["c.example", "*.c.example"]),
            certify(dir.path(), "third", &["x.c.example"]),
        ];
        let certificates = Certificates::load(files, None).await.unwrap();
        for (name, shown) in [
            (Some("a.example"), 0),
            (Some("B.example"), 0),
            (Some("c.example"), 1),
            (Some("x.c.example"), 1),
            (Some("y.x.c.example"), 0),
            (Some("other.example"), 0),
            (Some("not a name"), 0),
            (None, 0),
        ] {
            let chosen = certificates.choose(name, |_| true).unwrap();
            assert!(Arc::ptr_eq(&chosen, &certificates.all()[shown].certified().unwrap()), "{name:?}");
        }
        let second = certificates.all()[1].certified().unwrap();
        let others = |certified: &CertifiedKey| certified.cert != second.cert;
        let chosen = certificates.choose(Some("x.c.example"), others).unwrap();
        assert!(
            Arc::ptr_eq(&chosen, &certificates.all()[2].certified().unwrap()),
            "whose signature it can check"
        );
        assert!(certificates.choose(None, |_| false).is_none());
    }

    #[tokio::test]
    async fn a_certificate_that_is_taken_out_is_told_of_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let [stays, goes] = ["stays", "goes"].map(|name| certify(dir.path(), name, &["a.example"]));
        let certificates = Certificates::load(vec![stays.clone(), goes.clone()], None).await.unwrap();
        let before = certificates.all();
        let told = || {
            let text = Metrics::global().render(TextForm::Prometheus, Vec::new());
            [&stays, &goes].map(|files| text.contains(files.cert.to_str().unwrap()))
        };
        certificates.look(0).await;
        assert_eq!(told(), [true, true]);
        certificates.replace(load_all(vec![stays.clone()], None).unwrap());
        assert_eq!(told(), [true, false]);
        // A look that was under way may tell of it once more.
        before.iter().for_each(|certificate| assert!(!certificate.warn(0)));
        certificates.forget(&before);
        assert_eq!(told(), [true, false]);
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_named_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let good = certify(dir.path(), "good", &["a.example"]);
        let other = certify(dir.path(), "other", &["a.example"]);
        let crossed = CertificateFiles { cert: good.cert.clone(), key: other.key.clone() };
        let missing = CertificateFiles { cert: dir.path().join("missing.pem"), key: good.key.clone() };
        let empty = CertificateFiles { cert: good.key.clone(), key: good.key.clone() };
        for (files, named) in [(crossed, "good.pem"), (missing, "missing.pem"), (empty, "good-key.pem")] {
            let error = Certificates::load(vec![good.clone(), files], None).await.unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let certificates = Certificates::load(vec![good.clone()], None).await.unwrap();
        let before = certificates.all()[0].certified().unwrap();
        std::fs::write(&good.cert, "nothing").unwrap();
        // As if it had been longer ago.
        certificates.all()[0].now.write().unwrap().as_mut().unwrap().changed = None;
        certificates.look(0).await;
        assert!(Arc::ptr_eq(&before, &certificates.all()[0].certified().unwrap()));
    }

    #[tokio::test]
    async fn an_end_that_is_near_is_warned_of_once_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let files = certify(dir.path(), "good", &["a.example"]);
        let certificates = Certificates::load(vec![files], None).await.unwrap();
        let certificate = &certificates.all()[0];
        let end_s = 1_900_000_000;
        certificate.now.write().unwrap().as_mut().unwrap().not_after_s = Some(end_s);
        let at = |days_left: i64| certificate.warn(end_s - days_left * DAY_S);
        assert_eq!([400, 15, 14].map(at), [false; 3]);
        assert_eq!(
            [13, 13, 12, 12, 0, 0, -1, -1, -2].map(at),
            [true, false, true, false, true, false, true, false, false]
        );
        // Another one is there.
        assert_eq!([90, 5].map(at), [false, true]);
    }

    #[tokio::test]
    async fn one_by_acme_may_come_later_and_may_be_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let files = certify(dir.path(), "first", &["a.example"]);
        let other = certify(dir.path(), "other", &["b.example"]);
        let file = dir.path().join("acme.pem");
        let whole = [&other.key, &other.cert].map(|path| std::fs::read(path).unwrap()).concat();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        let certificates = Certificates::load(vec![files], Some(file.clone())).await.unwrap();
        let alone = Certificates::load(Vec::new(), Some(file.clone())).await.unwrap();
        assert!(certificates.by_acme().is_none());
        assert!(alone.choose(Some("b.example"), |_| true).is_none(), "there is nothing to be shown");
        std::fs::remove_file(&file).unwrap();
        certificates.look(0).await;
        assert!(certificates.by_acme().is_none());
        std::fs::write(&file, &whole).unwrap();
        certificates.look(0).await;
        alone.look(0).await;
        let got = certificates.by_acme().unwrap();
        assert!(Arc::ptr_eq(&got, &certificates.choose(Some("b.example"), |_| true).unwrap()));
        assert!(!Arc::ptr_eq(&got, &certificates.choose(Some("a.example"), |_| true).unwrap()));
        assert!(alone.choose(Some("b.example"), |_| true).is_some());
        std::fs::remove_file(&file).unwrap();
        certificates.look(0).await;
        assert!(certificates.by_acme().is_some(), "what was there stays");
    }
}
