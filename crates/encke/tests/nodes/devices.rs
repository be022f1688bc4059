//! A device goes on where it was, at whatever node it comes back.

use encke_proto::DeviceName;

use super::*;

/// How far a device of alice has got, as it is written down.
async fn place_of(at: &Place, device: &str) -> Option<u64> {
    let (user, device) = (UserId::new("alice").unwrap(), DeviceName::new(device).unwrap());
    let places = encke::devices::read(&*at.server.app.engine, &user).await.unwrap();
    places.of(&device).map(|position| position.offset)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_given_each_push_once_at_whatever_node() {
    let places = nodes(2).await;
    let push = |n: u64| {
        let api = &places[0].api;
        async move { api.push(&Push::data(Target::Users(vec!["alice".into()]), &n).unwrap()).await.unwrap() }
    };
    // Another device of the user, that stays.
    let (mut laptop, _) = places[1].open("alice", sse().device("laptop")).await;
    let mut at = 0;
    for n in 1..=6 {
        let (mut phone, _) = places[at].open("alice", sse().device("phone")).await;
        push(n).await;
        for device in [&mut laptop, &mut phone] {
            let text = message(device).await;
            assert!(text.contains(&format!("\"data\":{n}")), "{n}: {text}");
        }
        drop(phone);
        until("it is written", async || place_of(&places[at], "phone").await == Some(n)).await;
        at = 1 - at;
    }
    let (mut tablet, _) = places[at].open("alice", sse().device("tablet")).await;
    for n in 1..=6 {
        let text = message(&mut tablet).await;
        assert!(text.contains(&format!("\"data\":{n}")), "{n}: {text}");
    }
}
