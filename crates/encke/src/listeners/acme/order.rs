//! One order: an account, the challenge of each name, the certificate.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::crypto::CryptoProvider;
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    attempts::Failure,
    cache::{Account, Cache},
    certificate_id::certificate_id,
    challenge_certificate,
    challenges::{ChallengeKind, Challenges, is_token},
    directory_client::{DirectoryClient, DirectoryError},
    issued,
    renewal::Window,
};

/// How long one order may take, and each of its two waits for the directory.
const ORDER_MAX: Duration = Duration::from_secs(600);
const POLL_MAX: Duration = Duration::from_secs(120);

/// Why an order was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// Nothing was ordered.
    #[error("the directory cannot be asked: {0}")]
    Unreachable(String),
    /// Nothing may be ordered: what is issued could not be kept.
    #[error("{} cannot be used: {error}", folder.display())]
    Cache {
        /// Where it was to be kept.
        folder: PathBuf,
        /// Why not.
        error: String,
    },
    /// There were too many.
    #[error("the directory limits how much is asked of it: {0}")]
    Limited(String),
    /// A name was not found to be this server's.
    #[error("not validated by {kind}: {why}")]
    Invalid {
        /// How it was checked.
        kind: &'static str,
        /// Which names, and what was found.
        why: String,
    },
    /// The directory does not want to, or not in time.
    #[error("the directory does not issue it: {0}")]
    Refused(String),
    /// It is not what was ordered.
    #[error("what the directory issued cannot be used: {0}")]
    Unusable(String),
}

impl OrderError {
    /// Something cannot be kept.
    pub(super) fn unkept(cache: &Cache, error: &io::Error) -> Self {
        Self::Cache { folder: cache.folder().to_owned(), error: error.to_string() }
    }

    /// As metrics have it.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Cache { .. } => "not_kept",
            Self::Limited(_) => "limited",
            Self::Invalid { .. } => "invalid",
            Self::Refused(_) => "refused",
            Self::Unusable(_) => "unusable",
        }
    }

    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Unreachable(_) | Self::Cache { .. } => Failure::Unreached,
            Self::Limited(_) | Self::Invalid { .. } | Self::Refused(_) | Self::Unusable(_) => {
                Failure::Refused
            }
        }
    }
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) if is(&problem, "rateLimited") => Self::Limited(problem.to_string()),
            Error::Api(problem) => Self::Refused(problem.to_string()),
            Error::Timeout(_) => Self::Refused("it takes too long".to_owned()),
            Error::Other(other) if other.is::<DirectoryError>() => Self::Unreachable(other.to_string()),
            Error::Json(error) => Self::Unreachable(format!("its answer is not of ACME: {error}")),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Whether a problem is of this type (RFC 8555 section 6.7).
fn is(problem: &Problem, kind: &str) -> bool {
    let found = problem.r#type.as_deref().and_then(|found| found.strip_prefix("urn:ietf:params:acme:error:"));
    found == Some(kind)
}

/// What orders are made with. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    pub(super) names: Arc<[String]>,
    pub(super) contact: Option<String>,
    pub(super) directory: String,
    pub(super) root: Option<PathBuf>,
    pub(super) cache: Cache,
    pub(super) challenges: Challenges,
    pub(super) provider: Arc<CryptoProvider>,
}

/// A certificate with its key, in PEM, and how its names were validated.
pub(super) struct Issued {
    pub(super) pem: String,
    pub(super) kind: ChallengeKind,
}

impl Orders {
    /// A client for the directory.
    pub(super) async fn client(&self) -> Result<DirectoryClient, OrderError> {
        let (directory, root) = (self.directory.clone(), self.root.clone());
        let made = blocking(move || DirectoryClient::new(&directory, root.as_deref())).await;
        made.map_err(|error| self.unkept(&error))?.map_err(|error| OrderError::Unreachable(error.to_string()))
    }

    /// Orders a certificate for all names, which takes the place of `replaced` if there is one. A name that
    /// is not validated in the way that is tried first is tried in the other.
    ///
    /// # Errors
    /// [`OrderError`] of the last try.
    pub(super) async fn issue(
        &self,
        client: &DirectoryClient,
        first: ChallengeKind,
        replaced: Option<&[u8]>,
    ) -> Result<Issued, OrderError> {
        let both = async {
            let mut kind = first;
            let mut issued = self.attempt(client, kind, replaced).await;
            if let Err(error @ OrderError::Invalid { .. }) = &issued {
                tracing::warn!(%error, "the other challenge is tried");
                kind = kind.other();
                issued = self.attempt(client, kind, replaced).await;
            }
            issued.map(|pem| Issued { pem, kind })
        };
        let issued = timeout(ORDER_MAX, both).await;
        self.end().await;
        issued.unwrap_or_else(|_| Err(OrderError::Refused("it takes too long".to_owned())))
    }

    /// When the directory suggests to renew a certificate, and how long that holds. None when it does not
    /// say.
    pub(super) async fn window(
        &self,
        client: &DirectoryClient,
        certificate: &[u8],
    ) -> Option<(Window, Duration)> {
        let id = certificate_id(certificate)?;
        let cache = self.cache.clone();
        // Without one there is nothing that could be asked; an order makes one.
        let kept = blocking(move || cache.account()).await.ok()??;
        let account = open(client, kept).await.ok()?;
        let (info, holds) = account.renewal_info(&id).await.ok()?;
        let (start, end) = (info.suggested_window.start, info.suggested_window.end);
        Some((Window { start_s: start.unix_timestamp(), end_s: end.unix_timestamp() }, holds))
    }

    async fn attempt(
        &self,
        client: &DirectoryClient,
        kind: ChallengeKind,
        replaced: Option<&[u8]>,
    ) -> Result<String, OrderError> {
        self.end().await;
        let mut order = self.order(client, replaced).await?;
        self.prepare(&mut order, kind).await?;
        let policy = RetryPolicy::new().timeout(POLL_MAX);
        if !matches!(order.state().status, OrderStatus::Ready | OrderStatus::Valid) {
            match order.poll_ready(&policy).await {
                Ok(OrderStatus::Ready) => {}
                Ok(_) => return Err(invalid(&mut order, kind).await),
                Err(Error::Api(problem)) if !is(&problem, "rateLimited") => {
                    return Err(invalid(&mut order, kind).await);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let (request, key) = self.request().map_err(|error| OrderError::Refused(error.to_string()))?;
        order.finalize_csr(&request).await?;
        let chain = order.poll_certificate(&policy).await?;
        let pem = key + &chain;
        issued::check(pem.as_bytes(), &self.names, &self.provider).map_err(OrderError::Unusable)?;
        Ok(pem)
    }

    /// A new order of the account, which is made if there is none, or if the directory has forgotten it.
    async fn order(&self, client: &DirectoryClient, replaced: Option<&[u8]>) -> Result<Order, OrderError> {
        let cache = self.cache.clone();
        let kept = blocking(move || cache.account()).await.map_err(|error| self.unkept(&error))?;
        let names: Vec<_> = self.names.iter().cloned().map(Identifier::Dns).collect();
        if let Some(kept) = kept {
            let told = kept.contact.clone();
            let account = open(client, kept).await?;
            match self.new_order(&account, &names, replaced.and_then(certificate_id)).await {
                Err(Error::Api(problem)) if is(&problem, "accountDoesNotExist") => {
                    tracing::warn!("the directory does not know the account any more; another is made");
                }
                order => {
                    self.tell_contact(&account, told).await?;
                    return Ok(order?);
                }
            }
        }
        let account = self.register(client).await?;
        Ok(self.new_order(&account, &names, None).await?)
    }

    async fn new_order(
        &self,
        account: &instant_acme::Account,
        names: &[Identifier],
        replaced: Option<CertificateIdentifier<'_>>,
    ) -> Result<Order, Error> {
        if let Some(id) = replaced {
            match account.new_order(&NewOrder::new(names).replaces(id)).await {
                // It cannot, or not this one: then it is an order like any other.
                Err(Error::Unsupported(_)) => {}
                Err(Error::Api(problem))
                    if !is(&problem, "rateLimited") && !is(&problem, "accountDoesNotExist") =>
                {
                    tracing::debug!(%problem, "the directory does not replace the certificate");
                }
                order => return order,
            }
        }
        account.new_order(&NewOrder::new(names)).await
    }

    /// Makes an account.
    async fn register(&self, client: &DirectoryClient) -> Result<instant_acme::Account, OrderError> {
        let terms = client.terms(&self.directory).await.unwrap_or_default();
        tracing::info!(
            directory = self.directory,
            terms,
            "an account is made; with `tls_acme` the operator agrees to the terms of service"
        );
        let contact: Vec<_> = self.contact.as_deref().into_iter().collect();
        let account =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let builder = instant_acme::Account::builder_with_http(Box::new(client.clone()));
        let (account, credentials) = builder.create(&account, self.directory.clone(), None).await?;
        self.keep(Account { credentials, contact: self.contact.clone() }).await?;
        Ok(account)
    }

    /// Tells the directory the contact, if it was told another.
    async fn tell_contact(
        &self,
        account: &instant_acme::Account,
        told: Option<String>,
    ) -> Result<(), OrderError> {
        if told == self.contact {
            return Ok(());
        }
        let contact: Vec<_> = self.contact.as_deref().into_iter().collect();
        account.update_contacts(&contact).await?;
        let cache = self.cache.clone();
        match blocking(move || cache.account()).await.map_err(|error| self.unkept(&error))? {
            Some(kept) => self.keep(Account { contact: self.contact.clone(), ..kept }).await,
            None => Ok(()),
        }
    }

    async fn keep(&self, account: Account) -> Result<(), OrderError> {
        self.on_disk(move |cache| cache.write_account(&account)).await
    }

    /// Sees to it that the challenge of each name is met, and tells the directory so.
    async fn prepare(&self, order: &mut Order, kind: ChallengeKind) -> Result<(), OrderError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            // It is asked for what was ordered, and nothing else is vouched for.
            if !self.names.contains(&name) {
                return Err(OrderError::Refused(format!("it asks for {name}, which was not ordered")));
            }
            let Some(mut challenge) = authorization.challenge(kind.kind()) else {
                let why = format!("{name}: the directory does not offer it");
                return Err(OrderError::Invalid { kind: kind.name(), why });
            };
            let authorized = challenge.key_authorization();
            match kind {
                ChallengeKind::Http => {
                    let token = challenge.token.clone();
                    if !is_token(&token) {
                        return Err(OrderError::Refused("its token is none".to_owned()));
                    }
                    let answer = authorized.as_str().to_owned();
                    self.challenges.answer(&token, &answer);
                    self.on_disk(move |cache| cache.write_answer(&token, &answer)).await?;
                }
                ChallengeKind::TlsAlpn => {
                    let digest = authorized.digest();
                    let made = challenge_certificate::certify(&name, digest.as_ref(), &self.provider);
                    let made = made.map_err(|error| OrderError::Refused(error.to_string()))?;
                    self.challenges.show(&name, made);
                }
            }
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// A request for a certificate, and its key, which no other has.
    fn request(&self) -> Result<(Vec<u8>, String), rcgen::Error> {
        let mut params = CertificateParams::new(&self.names[..])?;
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate()?;
        Ok((params.serialize_request(&key)?.der().to_vec(), key.serialize_pem()))
    }

    /// No challenge is pending any more.
    async fn end(&self) {
        self.challenges.clear();
        let cache = self.cache.clone();
        let _ = blocking(move || cache.remove_answers()).await;
    }

    async fn on_disk(
        &self,
        work: impl FnOnce(&Cache) -> io::Result<()> + Send + 'static,
    ) -> Result<(), OrderError> {
        let cache = self.cache.clone();
        blocking(move || work(&cache)).await.and_then(|done| done).map_err(|error| self.unkept(&error))
    }

    fn unkept(&self, error: &io::Error) -> OrderError {
        OrderError::unkept(&self.cache, error)
    }
}

async fn open(client: &DirectoryClient, kept: Account) -> Result<instant_acme::Account, Error> {
    let builder = instant_acme::Account::builder_with_http(Box::new(client.clone()));
    builder.from_credentials(kept.credentials).await
}

/// Which names were not validated, and why.
async fn invalid(order: &mut Order, kind: ChallengeKind) -> OrderError {
    let mut problems = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() || authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let name = authorization.identifier().to_string();
        for error in authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref()) {
            problems.push(format!("{name}: {error}"));
        }
    }
    if let (true, Some(error)) = (problems.is_empty(), order.state().error.as_ref()) {
        problems.push(error.to_string());
    }
    OrderError::Invalid { kind: kind.name(), why: problems.join("; ") }
}

/// Waits for the disk beside the tasks that must go on.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)
}
