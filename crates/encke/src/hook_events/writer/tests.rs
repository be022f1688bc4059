//! What a node writes of its hubs, and what follows from it when some of that is lost.

use std::collections::BTreeSet;

use encke_engine::{RetentionTable, memory::MemoryEngine};
use encke_proto::Epoch;

use super::*;
use crate::{
    clock::TestClock,
    hook_events::presence::{Change, Presence},
};

const NOW: Time = Time(1_800_000_000_000);
const KEPT_S: u64 = 3_600;
const ROUND_MS: u64 = KEPT_S * 1000 / ROUNDS_WHILE_KEPT;
const WAIT: Duration = Duration::from_secs(30);

/// A node that is alone.
struct World {
    engine: Arc<dyn Engine>,
    clock: Arc<TestClock>,
    writer: Arc<EventWriter>,
}

impl World {
    fn new(events: &[HookEvent]) -> Self {
        let hooks = Hooks { events: events.to_vec(), events_kept_s: KEPT_S, ..Hooks::default() };
        let mut retention = RetentionTable::default();
        retention.own.max_messages = 10_000;
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(Arc::new(()), retention, Epoch(1)));
        let clock = Arc::new(TestClock::at(NOW));
        let (engine_of, clock_of) = (Arc::clone(&engine), Arc::clone(&clock) as Arc<dyn Clock>);
        let lives = Lives::of(None).unwrap();
        let writer = EventWriter::new(&hooks, engine_of, clock_of, lives, Stopping::default());
        Self { engine, clock, writer }
    }

    /// One with so many users, just before a round is due.
    async fn with_users(count: usize, events: &[HookEvent]) -> Self {
        let world = Self::new(events);
        (0..count).for_each(|number| world.writer.came(&own(&format!("user-{number}"))));
        world.write_all().await;
        world.clock.advance_ms(ROUND_MS);
        world
    }

    async fn write_all(&self) {
        while self.writer.write_on().await.unwrap() {}
    }

    async fn messages(&self) -> Vec<Vec<Fact>> {
        let facts_of = |entry: &Arc<encke_proto::Entry>| match &entry.message().body {
            Body::Data(json) => serde_json::from_str(json.get()).unwrap(),
            other => panic!("{other:?}"),
        };
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let from = ReadFrom::After(after);
            let page = self.engine.read(&LogNames::default().facts(), from, PUSHES).await.unwrap();
            let Some(last) = page.entries.last() else { return all };
            after = last.message().position.offset;
            all.extend(page.entries.iter().map(facts_of));
        }
    }
}

fn own(name: &str) -> ChannelName {
    UserId::new(name).unwrap().channel()
}

fn is_round(facts: &[Fact]) -> bool {
    facts.iter().any(|fact| matches!(fact, Fact::Round { .. }))
}

/// What follows from the messages of which these are lost: who seems to have left, and who is there.
fn told(
    messages: &[Vec<Fact>],
    lost: std::ops::Range<usize>,
) -> (BTreeSet<ChannelName>, BTreeSet<ChannelName>) {
    let (mut presence, mut left) = (Presence::default(), BTreeSet::new());
    for (number, facts) in messages.iter().enumerate() {
        if lost.contains(&number) {
            presence.forget_rounds();
            continue;
        }
        let changes = facts.iter().flat_map(|fact| presence.apply(fact));
        left.extend(
            changes.filter(|(_, change)| *change == Change::Last).map(|(subject, _)| subject.channel),
        );
    }
    (left, presence.iter().map(|(subject, _)| subject.channel.clone()).collect())
}

#[tokio::test]
async fn what_is_written_is_kept_as_long_as_configured() {
    let world = World::new(&[HookEvent::Subscribed]);
    world.writer.subscribed(&UserId::new("alice").unwrap(), [&ChannelName::public("news").unwrap()]);
    world.write_all().await;
    let page = world.engine.read(&LogNames::default().facts(), ReadFrom::After(0), PUSHES).await.unwrap();
    let expires: Vec<_> = page.entries.iter().map(|entry| entry.message().expires).collect();
    assert_eq!(expires, [Some(NOW.plus_seconds(KEPT_S))]);
}

#[tokio::test]
async fn all_that_a_mark_covers_is_written_however_many_pages_it_is() {
    let World { engine, writer, .. } = World::new(&[HookEvent::PushDelivered, HookEvent::PushShown]);
    let user = UserId::new("alice").unwrap();
    let count = 2 * PUSHES.messages + 7;
    let mut position = None;
    for number in 0..count {
        let append = Append {
            id: MessageId::from_bits(number as u128 + 1),
            key: None,
            targets: Targets::Users(vec![user.clone()]),
            body: Body::Page("http://x/".into()),
            from: None,
            time: NOW,
            expires: None,
            trace: None,
        };
        position = engine.append(append).await.unwrap().positions.pop();
    }
    let position = position.unwrap().1;
    let mark = |state| Mark { user: user.clone(), position, state, at: NOW };
    let delivered = mark(ReceiptState::Delivered);
    assert_eq!(writer.delivered_by(&delivered).await.unwrap().len(), count);
    engine.mark(vec![delivered]).await.unwrap();
    let shown = mark(ReceiptState::Shown);
    assert_eq!(writer.shown_by(&shown).await.unwrap().len(), count);
    engine.mark(vec![shown.clone()]).await.unwrap();
    assert_eq!(writer.shown_by(&shown).await.unwrap().len(), 0, "all are shown");
}

/// Whatever the application has not taken in time, in the end it is told who is there.
#[tokio::test]
async fn facts_that_were_lost_leave_no_wrong_presence_behind() {
    let world = World::new(&[HookEvent::Connected, HookEvent::Disconnected]);
    let story: [(&[&str], &[&str]); 7] = [
        (&["alice", "bob", "carol"], &[]),
        (&["dave"], &["alice"]),
        (&["alice"], &["bob"]),
        (&[], &["alice"]),
        (&[], &[]),
        (&["erin"], &["carol"]),
        (&["carol"], &[]),
    ];
    for (came, went) in story {
        went.iter().for_each(|name| world.writer.went(&own(name)));
        came.iter().for_each(|name| world.writer.came(&own(name)));
        world.write_all().await;
        world.clock.advance_ms(ROUND_MS / 4);
    }
    let messages = world.messages().await;
    let round = messages.iter().position(|facts| is_round(facts)).unwrap();
    assert!((1..messages.len() - 1).contains(&round), "{round} of {}", messages.len());
    let expected = BTreeSet::from(["carol", "dave", "erin"].map(own));
    for first in 0..=round {
        for end in first..=round {
            let (_, there) = told(&messages, first..end);
            assert_eq!(there, expected, "{first} to {end} of {} are lost", messages.len());
        }
    }
}

/// Whatever is lost of a round, and of what is written between its messages, no user seems to have left
/// who has not, and the next round tells what is so.
#[tokio::test]
async fn a_round_of_which_some_is_lost_takes_no_user_away() {
    let count = 2 * FACTS_MAX + 100;
    let world = World::with_users(count, &[HookEvent::Connected, HookEvent::Disconnected]).await;
    let mut expected: BTreeSet<_> = (0..count).map(|number| own(&format!("user-{number}"))).collect();
    let mut gone = BTreeSet::new();
    while world.writer.write_on().await.unwrap() {
        let messages = world.messages().await;
        let Some([Fact::Came { channel, .. }, ..]) = messages.last().map(Vec::as_slice) else {
            panic!("{messages:?}")
        };
        let channel = &channel.channel;
        world.writer.went(channel);
        expected.remove(channel);
        gone.insert(channel.clone());
        let newcomer = own(&format!("newcomer-{}", gone.len()));
        world.writer.came(&newcomer);
        expected.insert(newcomer);
    }
    assert!(gone.len() > 1, "the round is one of several messages");
    let ends = world.messages().await.len();
    world.clock.advance_ms(ROUND_MS);
    world.write_all().await;
    let messages = world.messages().await;
    assert_eq!(messages.iter().filter(|facts| is_round(facts)).count(), 2);
    for first in 0..messages.len() {
        for end in first..=messages.len() {
            let (left, there) = told(&messages, first..end);
            let wrong: Vec<_> = left.difference(&gone).collect();
            assert!(wrong.is_empty(), "{first} to {end} of {} are lost: {wrong:?}", messages.len());
            assert!(end > ends || there == expected, "{first} to {end} of {} are lost", messages.len());
        }
    }
}

/// Clients wait until what they have acknowledged is written.
#[tokio::test]
async fn a_receipt_is_written_while_a_round_is_half_written() {
    let world = World::with_users(2 * FACTS_MAX, &[HookEvent::Connected, HookEvent::PushShown]).await;
    let writer = &world.writer;
    // The lock is given in the order in which it is asked for.
    let held = writer.progress.lock().await;
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(writer).run(stopping));
    tokio::task::yield_now().await;
    let shown = [Fact::Shown { user: UserId::new("alice").unwrap(), push: MessageId::from_bits(1) }];
    let (asks, facts_of) = (Arc::clone(writer), shown.clone());
    let writing = tokio::spawn(async move { asks.write(&facts_of).await });
    tokio::task::yield_now().await;
    drop(held);
    writing.await.unwrap().unwrap();
    let complete = async {
        while !world.messages().await.iter().any(|facts| is_round(facts)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, complete).await.unwrap();
    stop.send_replace(true);
    running.await.unwrap();
    let messages = world.messages().await;
    let place = |is: &dyn Fn(&Fact) -> bool| messages.iter().position(|facts| facts.iter().any(is));
    let begins = place(&|fact| matches!(fact, Fact::Came { round: 1, .. }));
    let written = place(&|fact| *fact == shown[0]);
    let ends = place(&|fact| matches!(fact, Fact::Round { .. }));
    assert!(begins < written && written < ends, "{begins:?}, {written:?}, {ends:?}");
}

#[tokio::test]
async fn a_round_ends_with_the_incarnation_in_which_it_began() {
    let count = 2 * FACTS_MAX;
    let world = World::with_users(count, &[HookEvent::Connected]).await;
    assert!(world.writer.write_on().await.unwrap(), "the round is one of several messages");
    let former = Run(NodeId::from_bits(1));
    world.writer.progress.lock().await.run = Some(former);
    world.write_all().await;
    assert!(!world.messages().await.iter().any(|facts| is_round(facts)), "not all of it was said in one");
    world.clock.advance_ms(ROUND_MS);
    world.write_all().await;
    let run = Run(world.writer.lives().me().unwrap());
    let last = world.messages().await.pop().and_then(|mut facts| facts.pop());
    assert_eq!(last, Some(Fact::Round { run, round: 2, said: count }));
}

/// The engine takes nothing as long as the writer does not run.
#[tokio::test]
async fn what_a_dialect_tells_is_bounded_while_it_is_not_written() {
    let world = World::new(&[]);
    let large: Arc<str> = format!("\"{}\"", "x".repeat(WAITING_MAX_BYTES / 4)).into();
    (0..8).for_each(|_| world.writer.say(Arc::clone(&large)));
    world.writer.say("\"last\"".into());
    world.write_all().await;
    let messages = world.messages().await;
    let told: Vec<usize> = messages
        .concat()
        .iter()
        .map(|fact| match fact {
            Fact::Said { event } => event.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [large.len(), large.len(), large.len(), 6], "three fit, and a small one besides");
    assert_eq!(messages.len(), 4, "a large one is a message of its own");
    world.writer.say(Arc::clone(&large));
    world.write_all().await;
    assert_eq!(world.messages().await.concat().len(), 5, "there is room again");
}

#[tokio::test]
async fn a_member_is_there_from_its_first_connection_on_any_node_to_its_last() {
    let world = World::new(&[]);
    let channel = ChannelName::public("pusher:1:presence-a").unwrap();
    let bob = Subject::member(channel.clone(), "bob");
    world.writer.member_came(bob.clone(), Some("{}".into()));
    world.write_all().await;
    world.writer.member_went(bob.clone());
    world.write_all().await;
    // Who comes back before that is written has not gone.
    world.writer.member_came(bob.clone(), None);
    world.writer.member_went(bob.clone());
    world.write_all().await;
    let facts = world.messages().await.concat();
    let mut presence = Presence::default();
    let changes: Vec<_> = facts.iter().flat_map(|fact| presence.apply(fact)).collect();
    assert_eq!(changes, [(bob.clone(), Change::First), (bob, Change::Last)]);
    assert!(matches!(&facts[0], Fact::Came { about: Some(about), .. } if &**about == "{}"));
}
