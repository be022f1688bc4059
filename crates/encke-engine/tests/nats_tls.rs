//! The NATS engine speaks TLS, as a user who may do no more than it needs.

mod nats;

use std::sync::Arc;

use encke_engine::{
    Append, Cluster as _, Engine as _, EngineEvents, Key, PageLimit, ReadFrom, RetentionTable, Targets,
    nats::{NatsEngine, NatsOptions},
};
use encke_proto::{Body, ChannelName, MessageId, Time, UserId};
use nats::{Servers, events};
use serde_json::value::RawValue;

/// What docs/NATS.md tells operators to write for the prefix `tls`.
const RIGHTS: &str = "{ publish: [\"tls.>\", \"$JS.API.>\"], subscribe: [\"tls.>\", \"_INBOX.>\"] }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; tests/run installs one"]
async fn everything_goes_over_tls_with_few_rights() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let dir = tempfile::TempDir::new().expect("there is room for a directory");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, certificate.cert.pem()).expect("there is room for a file");
    std::fs::write(&key, certificate.signing_key.serialize_pem()).expect("there is room for a file");
    let servers =
        Servers::start_with(1, &format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}"), RIGHTS);
    let port = servers.servers[0].port;
    let address = |login: &str, ca: bool| {
        let ca = if ca { format!("&tls_ca={}", cert.display()) } else { String::new() };
        NatsOptions::parse(&format!("tls://{login}@localhost:{port}/?prefix=tls{ca}")).expect("an address")
    };
    let mut options = servers.options("tls");
    options.servers = vec![format!("tls://localhost:{port}")];
    options.tls = true;
    options.authorities = Some(cert.clone());
    let engine = servers.open_by(options, events(Arc::new(())), RetentionTable::default(), "node").await;
    let channel = ChannelName::public("a").expect("a name");
    engine.watch(&channel);
    let json = RawValue::from_string("1".to_owned()).expect("JSON");
    let append = Append {
        id: MessageId::from_bits(1),
        key: Some(Key::new("api:1")),
        targets: Targets::Channels(vec![channel.clone()]),
        body: Body::Data(json.into()),
        from: None,
        time: Time(1_763_800_000_000),
        expires: None,
        trace: None,
    };
    engine.append(append.clone()).await.expect("it may append");
    engine
        .append(Append {
            targets: Targets::Users(vec![UserId::new("alice").expect("a name")]),
            key: None,
            ..append
        })
        .await
        .expect("and push");
    engine.sweep(Time(1_763_800_000_000)).await.expect("and sweep");
    let page = engine
        .read(&channel, ReadFrom::After(0), PageLimit { messages: 9, bytes: 999 })
        .await
        .expect("and read");
    assert_eq!(page.entries.len(), 1);
    let live = engine.beat().await.expect("and live");
    engine.enter(&UserId::new("alice").expect("a name"), None).await.expect("and enter");
    engine.send(live.me, "to myself".into()).await.expect("and send messages");
    let refused = |options| {
        let events: EngineEvents = events(Arc::new(()));
        async move {
            NatsEngine::open(options, events, RetentionTable::default(), "node".to_owned())
                .await
                .err()
                .map(|error| error.to_string())
        }
    };
    let unknown =
        refused(address("app:s%3Aec%40et", false)).await.expect("no authority vouches for that certificate");
    let wrong = refused(address("app:wr0ng", true)).await.expect("that is not the password");
    assert!(!wrong.contains("wr0ng") && !unknown.contains("ec@et"), "{wrong}, {unknown}");
}
