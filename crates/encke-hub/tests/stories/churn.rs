//! Random doings, after each of which the hub's bookkeeping is looked at (the world does that), and compared
//! with what a child would write down.

use std::collections::{BTreeMap, BTreeSet};

use encke_hub::{Attach, CloseTarget, ConnKey, HubConfig, Lag, Output};
use encke_proto::SessionId;

use crate::{
    support::{channel, random::Random, session, user},
    world::{Engine, World, attach},
};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

#[derive(Default)]
struct Notes {
    /// Of each session: its user, its channels, and its connection.
    sessions: BTreeMap<u64, (usize, BTreeSet<&'static str>, Option<u64>)>,
}

impl Notes {
    fn pick(&self, random: &mut Random) -> Option<u64> {
        let keys: Vec<u64> = self.sessions.keys().copied().collect();
        (!keys.is_empty()).then(|| *random.pick(&keys))
    }
}

fn id(first: u64) -> SessionId {
    session(1000 + u128::from(first))
}

fn churn(seed: u64) {
    let mut random = Random::new(seed);
    let mut world =
        World::new(HubConfig { window_messages: 3, max_sessions_per_user: 1000, ..HubConfig::default() });
    world.logs.page_max = 2;
    let (mut notes, mut conns) = (Notes::default(), 0_u64);
    for _ in 0..300 {
        act(&mut world, &mut notes, &mut conns, &mut random);
        world.settle();
        compare(&world, &notes, seed);
    }
    world.engine(Engine::Answers);
    let online: i64 = world.said().iter().map(|output| i64::from(matches!(output, Output::Online(_)))).sum();
    assert!(online > 0);
    world.close(&CloseTarget::Everybody);
    assert!(world.is_empty(), "seed {seed}");
}

/// Does one thing, to the world and to what is noted of it.
fn act(world: &mut World, notes: &mut Notes, conns: &mut u64, random: &mut Random) {
    let names: Vec<&'static str> = (0..random.below(4)).map(|_| *random.pick(&NAMES)).collect();
    match random.below(20) {
        0..4 => {
            *conns += 1;
            let known = notes.pick(random).filter(|_| random.chance(60));
            let at = known.map_or(random.index(4), |known| notes.sessions[&known].0);
            let channels = names.iter().map(|name| channel(name)).collect();
            world.come(Attach { session: known.map(id), channels, ..attach(*conns, USERS[at]) });
            let (_, follows, conn) =
                notes.sessions.entry(known.unwrap_or(*conns)).or_insert((at, BTreeSet::new(), None));
            follows.extend(names);
            *conn = Some(*conns);
        }
        4..6 => {
            if let Some(first) = notes.pick(random)
                && let Some(conn) = notes.sessions.get_mut(&first).and_then(|session| session.2.take())
            {
                world.go(conn);
            }
        }
        6..8 => {
            if let Some(first) = notes.pick(random)
                && let Some((at, follows, _)) = notes.sessions.get_mut(&first)
            {
                world.subscribe(first, USERS[*at], &names);
                follows.extend(names);
            }
        }
        8..10 => {
            if let Some(first) = notes.pick(random)
                && let Some((at, follows, _)) = notes.sessions.get_mut(&first)
            {
                world.unsubscribe(first, USERS[*at], &names);
                follows.retain(|name| !names.contains(name));
            }
        }
        10 => {
            if let Some(first) = notes.pick(random) {
                world.close(&CloseTarget::Session(id(first)));
                notes.sessions.remove(&first);
            }
        }
        11 if random.chance(20) => {
            let at = random.index(4);
            world.close(&CloseTarget::User(user(USERS[at])));
            notes.sessions.retain(|_, (user, ..)| *user != at);
        }
        12 => world.hub.stale(),
        13 => world.engine(if random.chance(50) { Engine::Waits } else { Engine::Answers }),
        14 if random.chance(10) => world.logs.forget(100 + random.below(1000)),
        15 => {
            world.wait_ms(20_000);
            notes.sessions.retain(|_, (_, _, conn)| conn.is_some());
        }
        16 => {
            if let Some(conn) = notes.pick(random).and_then(|first| notes.sessions[&first].2) {
                world.pull(conn);
            }
        }
        17 => {
            if let Some(conn) = notes.pick(random).and_then(|first| notes.sessions[&first].2) {
                world.hub.skip(ConnKey(conn), Lag { messages: random.below(4), bytes: u64::MAX });
            }
        }
        _ => world.publish(NAMES[random.index(6)]),
    }
}

fn compare(world: &World, notes: &Notes, seed: u64) {
    assert_eq!(world.hub.session_count(), notes.sessions.len(), "seed {seed}");
    let mut followed = BTreeSet::new();
    let views: BTreeMap<SessionId, _> =
        world.hub.sessions(None).into_iter().map(|view| (view.session, view)).collect();
    for (first, (at, follows, conn)) in &notes.sessions {
        let view = &views[&id(*first)];
        let channels: BTreeSet<&str> = view.channels.iter().map(|name| name.as_str()).collect();
        let served = conn.is_some_and(|conn| world.hub.has_begun(ConnKey(conn)));
        assert_eq!(
            (&view.user, &channels, view.connected),
            (&user(USERS[*at]), follows, served),
            "seed {seed}"
        );
        if let Some(conn) = conn {
            assert_eq!(world.hub.session_of(ConnKey(*conn)), Some(id(*first)), "seed {seed}");
        }
        followed.extend(channels.iter().map(|name| (*name).to_owned()));
        followed.insert(format!("@{}", USERS[*at]));
    }
    assert_eq!(world.hub.channel_count(), followed.len(), "seed {seed}");
}

#[test]
fn whatever_is_done_the_books_are_right() {
    (0..200).for_each(churn);
}
