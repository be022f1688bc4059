//! Twenty thousand in one channel: whatever is done for each of them must not look at all of them, or this
//! would take minutes.

use encke_hub::{CloseTarget, ConnKey, ControlRequest, Hub, HubConfig, Now, Output, Pulled};
use encke_proto::Time;

use crate::{
    support::{channel, log::Logs},
    world::{attach_to, operator},
};

const CROWD: u64 = 20_000;

#[test]
fn a_crowd_comes_listens_and_goes() {
    let now = Now { mono_ms: 1_000, wall: Time(1_000_000) };
    let (mut hub, mut logs) = (Hub::new(HubConfig::default(), now), Logs::new(7, 100));
    for conn in 0..CROWD {
        hub.attach(attach_to(conn, &format!("user {conn}"), &["news"]), now);
    }
    let (mut begun, mut got, mut ended) = (0, 0, 0);
    let mut drive = |hub: &mut Hub, logs: &mut Logs| {
        while let Some(output) = hub.poll_output() {
            match output {
                Output::Open { key, channel } => hub.opened(key, Some(logs.open(&channel)), now),
                Output::Read { key, channel, after } => hub.read(key, Some(logs.read(&channel, after)), now),
                Output::Begun { .. } => begun += 1,
                Output::Ready { conn, .. } => {
                    while let Pulled::Message(_) = hub.pull(conn, now) {
                        got += 1;
                    }
                    if let Some(receipt) = hub.owed(conn) {
                        hub.handed(receipt, now);
                    }
                }
                Output::Ended { .. } => ended += 1,
                _ => {}
            }
        }
        (begun, got, ended)
    };
    assert_eq!(drive(&mut hub, &mut logs), (CROWD, 0, 0));
    for n in 0..5 {
        let entry = logs.append(&channel("news"), n, now.wall, None);
        hub.appended(&entry, now);
        if n == 2 {
            hub.stale();
        }
    }
    assert_eq!(drive(&mut hub, &mut logs), (CROWD, 5 * CROWD, 0));
    for conn in 0..CROWD / 2 {
        hub.detach(ConnKey(conn), now);
    }
    for second in 1..=20 {
        hub.tick(Now { mono_ms: 1_000 + second * 1_000, ..now });
    }
    hub.control(1, ControlRequest::Close { target: CloseTarget::Everybody, close: operator() }, now);
    assert_eq!(drive(&mut hub, &mut logs), (CROWD, 5 * CROWD, CROWD / 2));
    assert_eq!((hub.session_count(), hub.channel_count(), hub.online().count()), (0, 0, 0));
}
