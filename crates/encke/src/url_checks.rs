//! Asks for a page that is to be pushed, and tells how it answers: not what is in it, which is not read.
//!
//! The server asks in the name of an operator, from where it stands. Unless it is allowed, it goes to no
//! address that is not public, whichever way it is led there: by the address itself, by a name, by a name
//! that leads elsewhere a moment later, or by a redirection.

use std::{net::IpAddr, time::Duration};

use encke_proto::{AllowList, PageUrl};
use http::{HeaderMap, header};
use reqwest::{Client, redirect};
use serde::Serialize;
use tokio::{sync::Semaphore, time::timeout};
use url::{Host, Url};
use utoipa::ToSchema;

use crate::{
    config::UrlChecks as Allowed,
    frame_policy::FramePolicy,
    public_addresses::{NotPublic, PublicAddresses, is_public},
};

/// How long it may take, with all redirections.
const WITHIN: Duration = Duration::from_secs(5);
/// How many redirections are followed.
const REDIRECTS_MAX: usize = 5;
/// How many are made at a time on a node; others wait, within their time.
pub const URL_CHECKS_MAX: usize = 4;

/// Makes them.
#[derive(Debug)]
pub struct UrlChecks {
    client: Client,
    /// Which addresses may be asked.
    may_reach: fn(IpAddr) -> bool,
    within: Duration,
    room: Semaphore,
}

/// A page that has answered.
#[derive(Debug)]
pub struct Reached {
    /// Where it is, behind all redirections.
    pub url: String,
    /// The status.
    pub status: u16,
    /// What it says of frames.
    pub policy: FramePolicy,
}

/// Why a page has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Its address is not public, and others are not allowed.
    NotPublic,
    /// There was no answer in time.
    Timeout,
    /// It cannot be reached, or what came is no answer.
    Unreachable,
    /// It leads on and on.
    TooManyRedirects,
    /// It leads to what is no address of a page, or of none that may be pushed.
    BadRedirect,
}

impl UrlChecks {
    /// If they are allowed.
    ///
    /// # Errors
    /// There can be no TLS.
    pub fn of(allowed: Allowed) -> Result<Option<Self>, reqwest::Error> {
        match allowed {
            Allowed::Off => Ok(None),
            Allowed::Public => Self::new(true, WITHIN).map(Some),
            Allowed::Any => Self::new(false, WITHIN).map(Some),
        }
    }

    fn new(public_only: bool, within: Duration) -> Result<Self, reqwest::Error> {
        // A proxy would look names up where nothing is checked. Connections are not kept: a page is asked
        // for once.
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .referer(false)
            .pool_max_idle_per_host(0)
            .timeout(within)
            .user_agent(concat!("encke/", env!("CARGO_PKG_VERSION")));
        let client = if public_only { client.dns_resolver(PublicAddresses) } else { client };
        let may_reach: fn(IpAddr) -> bool = if public_only { is_public } else { |_| true };
        Ok(Self { client: client.build()?, may_reach, within, room: Semaphore::new(URL_CHECKS_MAX) })
    }

    /// Asks for a page, and for those that it leads to as far as they are allowed.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn check(&self, page: &PageUrl, allowed: &AllowList) -> Result<Reached, Problem> {
        let url = Url::parse(page.as_str()).map_err(|_| Problem::BadRedirect)?;
        let checked = async {
            let Ok(_place) = self.room.acquire().await else { return Err(Problem::Timeout) };
            self.follow(url, allowed).await
        };
        timeout(self.within, checked).await.unwrap_or(Err(Problem::Timeout))
    }

    async fn follow(&self, mut url: Url, allowed: &AllowList) -> Result<Reached, Problem> {
        for _ in 0..=REDIRECTS_MAX {
            self.may_go(&url)?;
            let accept = "text/html, */*;q=0.8";
            let asked = self.client.get(url.clone()).header(header::ACCEPT, accept).send().await;
            let answer = asked.map_err(|error| problem_of(&error))?;
            let status = answer.status();
            let location = answer.headers().get(header::LOCATION).filter(|_| status.is_redirection());
            let Some(location) = location else {
                return Ok(reached(&url, status.as_u16(), answer.headers()));
            };
            url = led(&url, location.to_str().ok(), allowed)?;
        }
        Err(Problem::TooManyRedirects)
    }

    /// Whether an address may be asked for, as far as it says that itself; of a name it is looked at what it
    /// leads to when it is connected to.
    fn may_go(&self, url: &Url) -> Result<(), Problem> {
        let may = match url.host() {
            Some(Host::Ipv4(address)) => (self.may_reach)(address.into()),
            Some(Host::Ipv6(address)) => (self.may_reach)(address.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        };
        if may { Ok(()) } else { Err(Problem::NotPublic) }
    }
}

fn reached(url: &Url, status: u16, head: &HeaderMap) -> Reached {
    Reached { url: url.as_str().to_owned(), status, policy: FramePolicy::of(head) }
}

/// Where a redirection leads: to another page that is allowed, without a user in its address.
fn led(from: &Url, location: Option<&str>, allowed: &AllowList) -> Result<Url, Problem> {
    let to = location.and_then(|location| from.join(location).ok()).ok_or(Problem::BadRedirect)?;
    let page = PageUrl::parse(to.as_str()).map_err(|_| Problem::BadRedirect)?;
    allowed.check(&page).map_err(|_| Problem::BadRedirect)?;
    Ok(to)
}

/// What an error says, by the cause that says it.
fn problem_of(error: &reqwest::Error) -> Problem {
    if error.is_timeout() {
        return Problem::Timeout;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<NotPublic>() {
            return Problem::NotPublic;
        }
        cause = error.source();
    }
    Problem::Unreachable
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Waker},
    };

    use super::*;

    /// A server of pages, each of which answers with a head; how many requests it was sent.
    fn site(answer: impl Fn(&str) -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let mut buffer = [0; 4096];
                let read = socket.read(&mut buffer).unwrap_or(0);
                if read == 0 {
                    continue;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let head = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let _ = socket.write_all(answer(&path).as_bytes());
                hold(socket, &path);
            }
        });
        (address, asked)
    }

    /// A body that does not end, for a page that has one.
    fn hold(mut socket: TcpStream, path: &str) {
        if path == "/endless" {
            std::thread::spawn(move || while socket.write_all(&[b'x'; 4096]).is_ok() {});
        }
    }

    fn checks(public_only: bool, within: Duration) -> UrlChecks {
        UrlChecks::new(public_only, within).unwrap()
    }

    async fn check(checks: &UrlChecks, url: &str) -> Result<Reached, Problem> {
        checks.check(&PageUrl::parse(url).unwrap(), &AllowList::default()).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_a_page_says_is_told_behind_its_redirections() {
        let (site, asked) = site(|path| match path {
            "/" => "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n".into(),
            "/round" => "HTTP/1.1 302 Found\r\nLocation: /round\r\nContent-Length: 0\r\n\r\n".into(),
            "/out" => {
                "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n".into()
            }
            "/user" => {
                "HTTP/1.1 302 Found\r\nLocation: http://a:b@127.0.0.1/\r\nContent-Length: 0\r\n\r\n".into()
            }
            "/endless" => "HTTP/1.1 200 OK\r\n\r\n".into(),
            "/broken" => "nonsense\r\n\r\n".into(),
            _ => "HTTP/1.1 404 Not Found\r\nX-Frame-Options: DENY\r\nContent-Length: 0\r\n\r\n".into(),
        });
        let any = checks(false, LONG);
        let reached = check(&any, &format!("{site}/")).await.unwrap();
        assert_eq!((reached.status, reached.url), (404, format!("{site}/there")));
        assert_eq!(reached.policy.x_frame_options.as_deref(), Some("DENY"));
        // The body is not waited for.
        assert_eq!(check(&any, &format!("{site}/endless")).await.unwrap().status, 200);
        let before = asked.load(Ordering::SeqCst);
        let problem = async |path: &str| check(&any, &format!("{site}{path}")).await.unwrap_err();
        assert_eq!(problem("/round").await, Problem::TooManyRedirects);
        assert_eq!(asked.load(Ordering::SeqCst) - before, REDIRECTS_MAX + 1);
        assert_eq!(problem("/out").await, Problem::BadRedirect);
        assert_eq!(problem("/user").await, Problem::BadRedirect);
        assert_eq!(problem("/broken").await, Problem::Unreachable);
    }

    #[tokio::test]
    async fn t18_no_way_leads_to_an_address_that_is_not_public() {
        let (site, asked) = site(|_| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into());
        let port = site.rsplit(':').next().unwrap();
        let public = checks(true, LONG);
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[::]",
            "169.254.169.254",
            "10.0.0.1",
            "[fe80::1]",
            "[fd00::1]",
            "localhost",
        ] {
            let answer = check(&public, &format!("http://{host}:{port}/")).await;
            assert_eq!(answer.unwrap_err(), Problem::NotPublic, "{host}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing was asked");
        assert_eq!(check(&checks(false, LONG), &format!("{site}/")).await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn t18_a_redirection_leads_nowhere_else_than_a_caller_may_name() {
        let (inner, asked) = site(|_| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into());
        let to = inner.clone();
        let (site, _) =
            site(move |_| format!("HTTP/1.1 302 Found\r\nLocation: {to}/\r\nContent-Length: 0\r\n\r\n"));
        let site = site.replace("127.0.0.1", "localhost");
        // A public page cannot be had here, so names stand for what is public. Addresses are looked at as
        // they are.
        let public = UrlChecks { may_reach: is_public, ..checks(false, LONG) };
        assert_eq!(check(&public, &site).await.unwrap_err(), Problem::NotPublic);
        // Nor to a page that may not be pushed.
        let allowed = AllowList::parse([site.as_str()]).unwrap();
        let page = PageUrl::parse(&site).unwrap();
        assert_eq!(checks(false, LONG).check(&page, &allowed).await.unwrap_err(), Problem::BadRedirect);
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing was asked");
        assert_eq!(check(&checks(false, LONG), &site).await.unwrap().url, format!("{inner}/"));
    }

    #[tokio::test]
    async fn a_page_that_does_not_answer_is_given_up_and_only_so_many_are_asked_for() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let brief = checks(false, Duration::from_millis(100));
        assert_eq!(check(&brief, &url).await.unwrap_err(), Problem::Timeout);
        let long = Arc::new(checks(false, LONG));
        let page = PageUrl::parse(&url).unwrap();
        let waiting: Vec<_> = (0..URL_CHECKS_MAX)
            .map(|_| {
                let (long, page) = (Arc::clone(&long), page.clone());
                tokio::spawn(async move { long.check(&page, &AllowList::default()).await })
            })
            .collect();
        while long.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let mut one_more = std::pin::pin!(check(&long, &url));
        let mut context = Context::from_waker(Waker::noop());
        assert!(one_more.as_mut().poll(&mut context).is_pending());
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
