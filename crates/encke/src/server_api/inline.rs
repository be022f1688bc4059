//! The server API's requests that shards answer inline (see [`crate::inline`]). Their handlers are those that
//! the router calls.

use std::sync::Arc;

use encke_proto::ErrorCode;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    publish::{self, Publish},
    push::{self, PushAnswer, PushRequest},
    what,
};
use crate::{
    app::App,
    config::Scope,
    http::{body, refusal::Refused},
    inline::{Begun, Done, InlineRoute, InlineRoutes, Outcome, Run},
};

/// All of them, run by this server.
#[must_use]
pub fn routes(app: &Arc<App>) -> InlineRoutes {
    let run = |begin: fn(&Arc<App>, &[u8]) -> Begun| -> Run {
        let app = Arc::clone(app);
        Box::new(move |body| begin(&app, body))
    };
    InlineRoutes::new(vec![
        InlineRoute {
            path: "/api/push",
            scope: Scope::Push,
            action: "push",
            what: what::of_answer,
            run: run(begin_push),
        },
        InlineRoute {
            path: "/api/publish",
            scope: Scope::Publish,
            action: "publish",
            what: what::of_answer,
            run: run(begin_publish),
        },
    ])
    .leaving_traced(app.tracer.get().is_some())
}

fn begin_push(app: &Arc<App>, body: &[u8]) -> Begun {
    let answered = |answer: Result<PushAnswer, Refused>| Ok(Done { status: 202, json: answer?.json()? });
    match PushRequest::parse(body) {
        Ok(request) if request.is_large() => {
            let app = Arc::clone(app);
            let work = async move { answered(push::begin(&app, request).finish().await) };
            Begun::Goes(Box::pin(beside(work)))
        }
        Ok(request) => push::begin(app, request).map(answered),
        Err(refused) => Begun::Done(Err(refused)),
    }
}

fn begin_publish(app: &Arc<App>, body: &[u8]) -> Begun {
    let request: Publish = match body::parse(body) {
        Ok(request) => request,
        Err(refused) => return Begun::Done(Err(refused)),
    };
    let (app, is_large) = (Arc::clone(app), request.is_large());
    let work = async move { accepted(&publish::accept(&app, request).await?) };
    Begun::Goes(if is_large { Box::pin(beside(work)) } else { Box::pin(work) })
}

/// Lets the runtime do it, so that the shard's turn does not last as long. A caller that does not wait for it
/// any more gives it up, as without this.
async fn beside(work: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    // A set of one, since a set ends its tasks when it is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => {
            tracing::error!(%error, "an inline request has failed");
            Err(ErrorCode::Internal.into())
        }
        None => Err(ErrorCode::Internal.into()),
    }
}

fn accepted(answer: &impl Serialize) -> Outcome {
    Ok(Done { status: 202, json: body::written(answer)? })
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use encke_engine::memory::MemoryEngine;
    use encke_proto::{Epoch, Time, UserId};
    use mio::Token;

    use super::*;
    use crate::{
        clock::TestClock,
        config::{Config, Secret},
        inline::Running,
        shards::{Commands, ShardCommand, Shards, mailbox},
    };

    /// A server whose one shard is not at work, and the commands that it is left.
    fn app() -> (Arc<App>, Commands<ShardCommand>) {
        let config = Config {
            dev: true,
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            ..Config::default()
        };
        let poll = mio::Poll::new().unwrap();
        let (mailbox, commands) = mailbox(mio::Waker::new(poll.registry(), Token(0)).unwrap());
        let shards = Shards::new(vec![mailbox]);
        let engine = Arc::new(MemoryEngine::new(Arc::new(()), config.retention_table(), Epoch(1)));
        let clock = Arc::new(TestClock::at(Time(1_700_000_000_000)));
        (App::new(Arc::new(config), engine, shards, clock).unwrap(), commands)
    }

    fn first_poll(running: &mut Running) -> Poll<Outcome> {
        running.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn going(begun: Begun) -> Running {
        match begun {
            Begun::Done(outcome) => Box::pin(std::future::ready(outcome)),
            Begun::Goes(running) => running,
        }
    }

    async fn published(app: &Arc<App>, body: &[u8]) -> Outcome {
        begin_publish(app, body).finish().await
    }

    #[tokio::test]
    async fn a_shard_does_what_is_small_within_its_turn_and_nothing_that_is_large() {
        let (app, _commands) = app();
        let routes = routes(&app);
        let publish = routes.get(routes.find("/api/publish").unwrap()).unwrap();
        let mut small = going((publish.run)(br#"{"channel":"c0","data":1}"#));
        let Poll::Ready(Ok(done)) = first_poll(&mut small) else { panic!("it waits for something") };
        assert_eq!(done.status, 202);

        let channels: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
        let body = serde_json::json!({"channels": channels, "data": 2});
        let mut large = going((publish.run)(body.to_string().as_bytes()));
        assert!(first_poll(&mut large).is_pending());
        let done = large.await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&done.json).unwrap();
        assert_eq!((done.status, answer["positions"].as_array().unwrap().len()), (202, 20));
        assert_eq!(answer["positions"][0]["offset"], 2, "behind the small one");
    }

    /// No shard is at work here, so a question to one would never be answered.
    #[test]
    fn who_is_online_is_known_without_asking_a_shard() {
        let (app, commands) = app();
        let push = |to: &str| {
            let routes = routes(&app);
            let push = routes.get(routes.find("/api/push").unwrap()).unwrap();
            let begun = (push.run)(format!(r#"{{"to":{to},"data":1}}"#).as_bytes());
            let Begun::Done(Ok(done)) = begun else { panic!("it waits for something") };
            let answer: serde_json::Value = serde_json::from_slice(&done.json).unwrap();
            (answer["online"].clone(), answer["offline"].clone())
        };
        let online = app.shards.online_users();
        let users = ["carol", "alice"].map(|user| UserId::new(user).unwrap());
        users.iter().for_each(|user| online.insert(user.clone()));
        let listed = |names: &[&str]| serde_json::json!(names);
        let all = r#"["bob","alice","carol"]"#;
        assert_eq!(push(r#"["alice"]"#), (listed(&["alice"]), listed(&[])));
        assert_eq!(push(all), (listed(&["alice", "carol"]), listed(&["bob"])), "in the order of the request");
        online.remove(&users[1]);
        assert_eq!(push(all), (listed(&["carol"]), listed(&["bob", "alice"])));
        assert!(commands.next().is_none(), "it was asked nothing");
    }

    #[tokio::test]
    async fn what_is_refused_beside_the_shard_is_refused_alike() {
        let messages: Vec<_> =
            (0..20).map(|number| serde_json::json!({"channel": "c", "data": number, "colour": 1})).collect();
        let body = serde_json::json!({ "messages": messages }).to_string().into_bytes();
        let Refused(refusal) = published(&app().0, &body).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadRequest);
        let messages: Vec<_> = (0..20)
            .map(|number| {
                serde_json::json!({
                    "channel": if number == 19 { "@alice" } else { "c" },
                    "data": number
                })
            })
            .collect();
        let body = serde_json::json!({ "messages": messages }).to_string().into_bytes();
        let Refused(refusal) = published(&app().0, &body).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadName);
        assert!(refusal.message.starts_with("messages[19]"), "{}", refusal.message);
    }

    #[tokio::test]
    async fn work_that_panics_is_a_mistake_of_the_server() {
        let Refused(refusal) = beside(async { panic!("on purpose") }).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::Internal);
    }

    #[tokio::test]
    async fn work_without_a_caller_is_given_up() {
        let (held, gone) = tokio::sync::oneshot::channel::<()>();
        let mut running: Running = Box::pin(beside(async move {
            let _held = held;
            std::future::pending().await
        }));
        assert!(first_poll(&mut running).is_pending());
        drop(running);
        assert!(gone.await.is_err(), "what the work held is dropped");
    }
}
