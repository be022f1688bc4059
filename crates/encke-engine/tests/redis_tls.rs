//! A connection by TLS, as a user who may do no more than an engine does.

mod redis_beds;

use std::sync::Arc;

use encke_engine::{Cluster, Engine, EngineEvents, RetentionTable, redis::RedisEngine, redis::RedisOptions};
use redis_beds::{
    node::{Node, eventually},
    server::RedisServer,
};

/// What the handbook tells operators to allow.
const ALLOWED: &str = "on >s3cret/@ resetkeys ~{t:* resetchannels &{t:* -@all +@read +@write +@pubsub +@scripting +ping +hello +info +time +client|setname +cluster|slots +asking";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_user_with_few_rights_works_by_tls_and_no_other() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .expect("a certificate is made");
    let server = RedisServer::with_tls(
        &certified.cert.pem(),
        &certified.signing_key.serialize_pem(),
        &format!("encke {ALLOWED}"),
    );
    let authority = server.dir().join("cert.pem").display().to_string();
    let place = format!("localhost:{}/?prefix=t", server.port);
    let node = Node::open(&format!("rediss://encke:s3cret%2F%40@{place}&tls_ca={authority}")).await;
    node.watch("a").await;
    let first = node.append("a").await;
    eventually("it is told", async || node.told("a") == Some(first)).await;
    node.engine.beat().await.expect("a node lives");
    node.engine.sweep(redis_beds::node::NOON).await.expect("it sweeps");
    assert_eq!(node.engine.ready().await, Ok(()));
    for (url, why) in [
        (format!("rediss://encke:wrong@{place}&tls_ca={authority}"), "WRONGPASS"),
        (format!("rediss://encke:s3cret%2F%40@{place}"), "certificate"),
        (format!("redis://encke:s3cret%2F%40@{place}"), ""),
        (
            format!("rediss://encke:s3cret%2F%40@localhost:{}/?prefix=other&tls_ca={authority}", server.port),
            "NOPERM",
        ),
    ] {
        let options = RedisOptions::parse(&url).expect("this is a URL");
        let events = EngineEvents { feed: Arc::new(()), messages: Arc::new(()) };
        let refused = match RedisEngine::open(options, events, RetentionTable::default(), "node".into()).await
        {
            Err(error) => error.to_string(),
            Ok(engine) => engine
                .append(redis_beds::node::message(vec![redis_beds::node::channel("a")]))
                .await
                .expect_err("it may not")
                .to_string(),
        };
        assert!(refused.contains(why), "{refused}");
        assert!(!refused.contains("s3cret"), "{refused}");
    }
}
