//! Operations on a hub in any order: clients that come, go, lose answers and change their minds, an engine
//! that is slow, fails, trims and forgets, a feed that drops and repeats. After each operation the hub's own
//! bookkeeping holds; at the end, when all is healed and answered, the history checker finds every promise
//! kept, and a hub that is not in use is empty.
//!
//! The operations are those of one driver with one hub; nodes among others are the simulation's in
//! `encke-hub`.

mod client;
#[path = "../../crates/encke-hub/tests/support/log.rs"]
#[expect(dead_code, reason = "the stories use the rest of it")]
mod log;
mod world;

use arbitrary::Arbitrary;

use crate::input::{Rest, typed};
use world::World;

#[derive(Arbitrary, Debug)]
struct Input {
    window: u8,
    page: u8,
    wide: bool,
    ops: Rest<Op>,
}

/// Something that happens. Numbers are taken modulo the number of things that there are.
#[derive(Arbitrary, Clone, Debug)]
enum Op {
    /// A client comes, with what it remembers, or again although its connection is still there.
    Attach { client: u8, earliest: bool, moved: bool, token_s: Option<u8> },
    /// A client's connection is gone.
    Detach { client: u8 },
    /// A client takes some messages; or they are lost on their way, with the connection.
    Pull { client: u8, most: u8, lost: bool },
    /// A client follows another channel.
    Subscribe { client: u8, channel: u8 },
    /// A client follows a channel no more.
    Unsubscribe { client: u8, channel: u8 },
    /// A client has shown all that it has.
    Ack { client: u8 },
    /// A client ends its session.
    Close { client: u8 },
    /// The driver ends a session whose receiver is too slow.
    End { client: u8 },
    /// A client starts over, without any memory.
    Forget { client: u8 },
    /// A message is appended to a public channel, or a user's own, and announced or not yet.
    Publish { channel: u8, expires_s: Option<u8>, announced: bool },
    /// The next announcement arrives, or is lost.
    Announce { lost: bool },
    /// An old announcement is repeated.
    Repeat { entry: u8 },
    /// The engine reads what it was asked; the answer is on its way.
    Execute { question: u8, fails: bool },
    /// An answer arrives.
    Arrive { answer: u8 },
    /// Time goes by.
    Wait { tenths: u8 },
    /// Announcements may have been missed.
    Stale,
    /// The same, in one channel.
    Behind { channel: u8 },
    /// Retention takes all but the newest messages of a channel.
    Trim { channel: u8, keep: u8 },
    /// The engine loses everything.
    Lose,
}

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some(input) = typed::<Input>(bytes) else { return };
    let mut world = World::new(usize::from(input.window) + 1, usize::from(input.page) + 1, input.wide);
    for op in &input.ops.0 {
        world.happen(op);
    }
    world.heal();
    world.judge();
    world.leave();
    world.verify();
}

impl World {
    fn happen(&mut self, op: &Op) {
        match *op {
            Op::Attach { client, earliest, moved, token_s } => {
                self.attach(self.pick(client), earliest, moved, token_s)
            }
            Op::Detach { client } => self.detach(self.pick(client)),
            Op::Pull { client, most, lost } => self.pull(self.pick(client), usize::from(most) + 1, lost),
            Op::Subscribe { client, channel } => self.subscribe(self.pick(client), channel),
            Op::Unsubscribe { client, channel } => self.unsubscribe(self.pick(client), channel),
            Op::Ack { client } => self.ack(self.pick(client)),
            Op::Close { client } => self.close(self.pick(client)),
            Op::End { client } => self.end(self.pick(client)),
            Op::Forget { client } => self.start_over(self.pick(client)),
            Op::Publish { channel, expires_s, announced } => self.publish(channel, expires_s, announced),
            Op::Announce { lost } => self.announce(lost),
            Op::Repeat { entry } => self.repeat(entry),
            Op::Execute { question, fails } => self.execute(question, fails),
            Op::Arrive { answer } => self.arrive(answer),
            Op::Wait { tenths } => self.wait_ms(u64::from(tenths) * 100),
            Op::Stale => self.stale(),
            Op::Behind { channel } => self.behind(channel),
            Op::Trim { channel, keep } => self.trim(channel, keep),
            Op::Lose => self.lose(),
        }
        self.pump();
    }
}
