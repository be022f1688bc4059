//! Inline requests: requests that the shard answers by itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use encke_hub::Key;
use encke_proto::{ErrorCode, Refusal};
use prometheus_client::metrics::counter::Counter;

use super::{Shard, Until};
use crate::{
    access_log::{Access, Subject},
    admission::Admit,
    auth::{Allowed, AuditRecord},
    connection::{ForwardedFields, KnownHead, Peer, inline_head, inline_head::Asking, peer_ip},
    http::{refusal::retry_after_s, response},
    inline::{Begun, InlineRoutes, Outcome, Run, Running},
    metrics::{AtomicHistogram, Metrics},
    shards::{Answered, InlineWaker, State, Task},
    transports::NextAction,
};

/// How long an inline request may take before its connection is given up, in milliseconds. The engine answers
/// far sooner, or says that it cannot.
const INLINE_MS: u64 = 60_000;

/// What is counted of each route, found once; otherwise as the router counts.
pub(super) struct Tallies(Vec<Tally>);

struct Tally {
    route: &'static str,
    took: AtomicHistogram,
    accepted: Counter,
}

impl Tallies {
    pub(super) fn new(routes: &InlineRoutes) -> Self {
        let tally = |route: &'static str| Tally {
            route,
            took: Metrics::global().request_us.of(route),
            accepted: Metrics::global().requests(route.into(), "POST", 202),
        };
        Self(routes.iter().map(|route| tally(route.path)).collect())
    }

    fn count(&self, route: usize, status: u16, began: Instant) {
        let Some(tally) = self.0.get(route) else { return };
        tally.took.observe(began.elapsed());
        if status == 202 {
            tally.accepted.inc();
        } else {
            Metrics::global().requests(tally.route.into(), "POST", status).inc();
            if status >= 500 {
                Metrics::global().server_errors.inc();
            }
        }
    }
}

impl Shard {
    /// Looks at bytes that may be an inline request. A client that has no right to it is refused by hyper,
    /// and so before its body is waited for.
    pub(super) fn on_inline_bytes(&mut self, key: Key, bytes: &[u8]) {
        let known = match self.heads.find(bytes, self.now.wall, self.parts.admit.auth.api_keys().generation())
        {
            Some(known) => known,
            None => match inline_head::read(bytes, &self.parts.inline) {
                inline_head::Verdict::More => return self.hear_more(key, bytes.to_vec()),
                inline_head::Verdict::Inline(asking) => match self.allowed(&asking) {
                    Some(allowed) => {
                        self.heads.remember(bytes, &asking, allowed);
                        KnownHead::of(&asking, allowed)
                    }
                    None => return self.hand_to_hyper(key, bytes.to_vec()),
                },
                inline_head::Verdict::Handoff => return self.hand_to_hyper(key, bytes.to_vec()),
            },
        };
        if self.parts.admit.stopping.has_begun() {
            return self.hand_to_hyper(key, bytes.to_vec());
        }
        let KnownHead { route, keep_alive, head_bytes, body_bytes, key: api_key } = known;
        let end = head_bytes + body_bytes;
        if bytes.len() < end {
            return self.hear_more(key, bytes.to_vec());
        }
        let Some(inline) = self.parts.inline.get(route).filter(|_| self.knows_backend(key, bytes)) else {
            return self.hand_to_hyper(key, bytes.to_vec());
        };
        let began = Instant::now();
        let begun = match self.may_begin(api_key) {
            Ok(()) => begin_caught(&inline.run, &bytes[head_bytes..end]),
            Err(refusal) => Begun::Done(Err(refusal.into())),
        };
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.inbound = (bytes.len() > end).then(|| Box::new(bytes[end..].to_vec()));
        let answered = Answered { route, keep_alive, began, key: api_key };
        match begun {
            Begun::Done(outcome) => self.answer_inline(key, outcome, answered),
            Begun::Goes(running) => {
                let waker = InlineWaker::new(self.parts.shards.at(self.parts.index).clone(), key);
                slot.state = State::Asks(Box::new(Task { running, waker, answered }));
                self.set_deadline(key, INLINE_MS);
                self.take_further(key);
            }
        }
    }

    /// Whether the audit trail, if it is to have this request, knows from which address it is: a connection
    /// of a proxy counts for the backend whose request it passes on. False if that has too many.
    fn knows_backend(&self, key: Key, bytes: &[u8]) -> bool {
        if !self.parts.admit.auth.audit().has_messages() {
            return true;
        }
        let Some(slot) = self.slots.get(key) else { return true };
        let Some(permit) = slot.sink.permit().filter(|permit| permit.peer() == Peer::Proxy) else {
            return true;
        };
        let proxy = slot.sink.socket().map(|socket| peer_ip(socket.peer_addr()));
        permit.is_reserved()
            || proxy.is_none_or(|proxy| {
                let client = permit.proxies().client(proxy, &ForwardedFields::of_head(bytes));
                permit.move_to(client.address)
            })
    }

    /// Whether a request with the key at this place may be made now.
    fn may_begin(&self, api_key: u16) -> Result<(), Refusal> {
        let Admit { auth, rate_limits, .. } = &self.parts.admit;
        match auth.api_keys().rate(api_key) {
            Some((name, per_s)) => rate_limits.api_request(&name, per_s, self.now.wall),
            None => Ok(()),
        }
    }

    /// For how long the key of an inline request allows it; none if it does not.
    fn allowed(&self, asking: &Asking<'_>) -> Option<Allowed> {
        let route = self.parts.inline.get(asking.route)?;
        self.parts.admit.auth.operator(&asking.credentials, route.scope, self.now.wall).ok()
    }

    /// An inline request may have come further.
    pub(super) fn go_on(&mut self, key: Key) {
        if self.take_further(key) {
            // What came behind it waits in the kernel, which has said so already.
            self.readable(key, Until::Empty);
        }
    }

    /// Lets an inline request come as far as it can. True when it is answered.
    fn take_further(&mut self, key: Key) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        let State::Asks(task) = &mut slot.state else { return false };
        task.waker.polled();
        let waker = Waker::from(Arc::clone(&task.waker));
        let Poll::Ready(outcome) = poll_caught(&mut task.running, &mut Context::from_waker(&waker)) else {
            return false;
        };
        let answered = task.answered;
        self.answer_inline(key, outcome, answered);
        true
    }

    /// Answers an inline request.
    fn answer_inline(&mut self, key: Key, outcome: Outcome, answered: Answered) {
        let Answered { route, keep_alive, began, .. } = answered;
        self.audit_inline(key, &outcome, answered);
        let is_reserved = self.slots.get(key).is_some_and(|slot| slot.sink.is_reserved());
        let keep_alive = keep_alive && !self.drains && !is_reserved;
        let status = self.write_outcome(outcome, keep_alive);
        self.tallies.count(route, status, began);
        self.access_inline(status, answered, key);
        self.send(key, if keep_alive { NextAction::Done } else { NextAction::Close });
    }

    /// Its line in the access log, if there is one.
    fn access_inline(&self, status: u16, answered: Answered, key: Key) {
        let Some(log) = self.parts.access_log.as_ref().filter(|log| log.is_on()) else { return };
        let Some(route) = self.parts.inline.get(answered.route) else { return };
        let name = self.parts.admit.auth.api_keys().name(answered.key);
        // The head is in front of an empty line.
        let head = self.outbound.windows(4).position(|four| four == b"\r\n\r\n");
        log.write(&Access {
            time: self.now.wall,
            client: self.slots.get(key).and_then(|slot| slot.sink.peer()),
            who: name.as_deref(),
            what: Subject::Request("POST", route.path),
            status,
            bytes: head.map(|head| (self.outbound.len() - head - 4) as u64),
            took: answered.began.elapsed(),
        });
    }

    /// An audit line of an inline request, if there is to be one.
    fn audit_inline(&self, key: Key, outcome: &Outcome, answered: Answered) {
        let auth = &self.parts.admit.auth;
        let Some(inline) = self.parts.inline.get(answered.route).filter(|_| auth.audit().has_messages())
        else {
            return;
        };
        let (what, outcome) = match outcome {
            Ok(done) => ((inline.what)(&done.json), "ok"),
            Err(refused) => ("".into(), refused.0.code.as_str()),
        };
        let who = auth.api_keys().name(answered.key).unwrap_or_else(|| "-".into());
        let from = self.slots.get(key).and_then(|slot| slot.sink.peer());
        auth.audit().record(AuditRecord { who, action: inline.action, what, outcome, from, left_out: 0 });
    }

    fn write_outcome(&mut self, outcome: Outcome, keep_alive: bool) -> u16 {
        self.outbound.clear();
        let date = self.date.at(self.now.wall);
        match outcome {
            Ok(done) => {
                response::answer(&mut self.outbound, done.status, None, keep_alive, date, &done.json);
                done.status
            }
            Err(refused) => {
                let code = refused.0.code;
                response::answer(
                    &mut self.outbound,
                    code.status(),
                    retry_after_s(code),
                    keep_alive,
                    date,
                    refused.0.json().as_bytes(),
                );
                code.status()
            }
        }
    }
}

/// Begins an inline request. A panic in its handler costs this one request, as in [`poll_caught`].
fn begin_caught(run: &Run, body: &[u8]) -> Begun {
    catch_unwind(AssertUnwindSafe(|| run(body))).unwrap_or_else(|_| Begun::Done(panicked()))
}

fn panicked() -> Outcome {
    tracing::error!("an inline request has panicked");
    Err(ErrorCode::Internal.into())
}

/// Polls an inline request. A panic in its handler costs this one request, and not the thread that serves all
/// clients of the shard.
fn poll_caught(running: &mut Running, cx: &mut Context<'_>) -> Poll<Outcome> {
    // Whatever the handler left half done is dropped with the request, which is not polled again.
    catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))).unwrap_or_else(|_| Poll::Ready(panicked()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::refusal::Refused, inline::Done};

    fn poll(mut running: Running) -> Poll<Outcome> {
        poll_caught(&mut running, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_handler_that_panics_is_answered_as_a_mistake_of_the_server() {
        let run: Run = Box::new(|_| panic!("on purpose"));
        let Begun::Done(Err(Refused(refusal))) = begin_caught(&run, b"{}") else {
            panic!("it is not refused")
        };
        assert_eq!(refusal.code, ErrorCode::Internal);
        let Poll::Ready(Err(Refused(refusal))) = poll(Box::pin(async { panic!("on purpose") })) else {
            panic!("it is not refused")
        };
        assert_eq!((refusal.code, refusal.code.status()), (ErrorCode::Internal, 500));
        assert!(poll(Box::pin(std::future::pending())).is_pending());
        let done = poll(Box::pin(async { Ok(Done { status: 202, json: Vec::new() }) }));
        assert!(matches!(done, Poll::Ready(Ok(Done { status: 202, .. }))));
    }
}
