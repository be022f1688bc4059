//! Which channels have followers on which nodes, as the facts say in the order of the log. Users are known by
//! their own channels.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use super::{
    fact::{Fact, Run},
    subject::Subject,
};

/// What a fact has changed for the nodes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was no follower anywhere.
    First,
    /// There is none anywhere any more.
    Last,
}

/// That a channel has followers on a node: on which, and in which round that was said last.
pub(super) type Follower = (Run, u64);

/// The channels that have followers. Bounded by what the hubs of all nodes hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Presence {
    channels: HashMap<Subject, Vec<Follower>>,
    /// How many channels each incarnation has.
    counts: BTreeMap<Run, usize>,
    /// What channels had before the batch under way changed them. Bounded by what is in a batch, and what
    /// rounds in it take away.
    former: Option<HashMap<Subject, Vec<Follower>>>,
}

impl Presence {
    /// Takes a fact in. One that says what is known already changes nothing. What it changes is in the order
    /// of the channels, the same on each node.
    pub fn apply(&mut self, fact: &Fact) -> Vec<(Subject, Change)> {
        match fact {
            Fact::Came { channel, run, round, .. } => {
                self.remember(channel);
                let followers = self.channels.entry(channel.clone()).or_default();
                let is_first = followers.is_empty();
                match followers.iter_mut().find(|(other, _)| other == run) {
                    Some((_, known)) => *known = (*known).max(*round),
                    None => {
                        followers.push((*run, *round));
                        *self.counts.entry(*run).or_default() += 1;
                    }
                }
                is_first.then(|| (channel.clone(), Change::First)).into_iter().collect()
            }
            Fact::Went { channel, run } => {
                self.remove(channel, *run).map(|change| (channel.clone(), change)).into_iter().collect()
            }
            Fact::Round { run, round, said } => {
                let is_said = |(other, known): &&Follower| other == run && known >= round;
                if self.channels.values().flatten().filter(is_said).count() < *said {
                    // Some of it was lost, and who was said there alone has not gone. The next round tells.
                    return Vec::new();
                }
                let is_old = |(other, known): &Follower| other == run && known < round;
                let old = self.channels.iter().filter(|(_, followers)| followers.iter().any(is_old));
                let mut old: Vec<Subject> = old.map(|(channel, _)| channel.clone()).collect();
                old.sort_unstable();
                old.into_iter()
                    .filter_map(|channel| self.remove(&channel, *run).map(|change| (channel, change)))
                    .collect()
            }
            Fact::Said { .. }
            | Fact::Subscribed { .. }
            | Fact::Delivered { .. }
            | Fact::Shown { .. }
            | Fact::Expired { .. } => Vec::new(),
        }
    }

    /// A channel has no followers any more on a node.
    fn remove(&mut self, channel: &Subject, run: Run) -> Option<Change> {
        self.remember(channel);
        let Entry::Occupied(mut entry) = self.channels.entry(channel.clone()) else { return None };
        let at = entry.get().iter().position(|(other, _)| *other == run)?;
        entry.get_mut().swap_remove(at);
        let is_empty = entry.get().is_empty();
        if is_empty {
            entry.remove();
        }
        self.uncount(run);
        is_empty.then_some(Change::Last)
    }

    /// An incarnation has one channel fewer.
    fn uncount(&mut self, run: Run) {
        if let Some(count) = self.counts.get_mut(&run) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&run);
            }
        }
    }

    /// A batch begins: what is applied from now on can be taken back until the next one does.
    pub(super) fn begin_batch(&mut self) {
        self.former = Some(HashMap::new());
    }

    /// Keeps what a channel has, before the batch under way changes that.
    fn remember(&mut self, channel: &Subject) {
        if let Some(former) = &mut self.former
            && !former.contains_key(channel)
        {
            former.insert(channel.clone(), self.channels.get(channel).cloned().unwrap_or_default());
        }
    }

    /// Takes the batch under way back: the application was not told of it.
    pub(super) fn take_batch_back(&mut self) {
        for (channel, followers) in self.former.take().unwrap_or_default() {
            let applied = self.channels.remove(&channel).unwrap_or_default();
            applied.into_iter().for_each(|(run, _)| self.uncount(run));
            if !followers.is_empty() {
                self.put(channel, followers);
            }
        }
    }

    /// Facts were lost: nothing was said in any round up to here. A user who has gone in what was lost would
    /// count in the place of another who was said there alone.
    pub(super) fn forget_rounds(&mut self) {
        self.channels.values_mut().flatten().for_each(|(_, known)| *known = 0);
    }

    /// Takes what a snapshot says of a channel.
    pub(super) fn put(&mut self, channel: Subject, followers: Vec<Follower>) {
        followers.iter().for_each(|(run, _)| *self.counts.entry(*run).or_default() += 1);
        self.channels.insert(channel, followers);
    }

    /// All of it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Subject, &Vec<Follower>)> {
        self.channels.iter()
    }

    /// The nodes' incarnations that have any.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        self.counts.keys().copied()
    }

    /// What one of them has.
    pub(super) fn of_run(&self, run: Run) -> Vec<Subject> {
        let has = |followers: &Vec<Follower>| followers.iter().any(|(other, _)| *other == run);
        let of_run = self.channels.iter().filter(|(_, followers)| has(followers));
        of_run.map(|(channel, _)| channel.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use encke_engine::NodeId;
    use encke_proto::ChannelName;

    use super::*;

    fn run(number: u64) -> Run {
        Run(NodeId::from_bits(number))
    }

    #[test]
    fn a_user_has_left_when_no_node_has_it_any_more_in_whatever_order_they_say_so() {
        let channel = Subject::from(ChannelName::any("@alice").unwrap());
        let came = |number| Fact::Came { channel: channel.clone(), run: run(number), round: 0, about: None };
        let went = |number| Fact::Went { channel: channel.clone(), run: run(number) };
        let (first, last) = (Some(Change::First), Some(Change::Last));
        for story in [
            // Goes from one node to another, however that is told.
            vec![(came(1), first), (came(2), None), (went(1), None), (went(2), last)],
            vec![(came(1), first), (went(1), last), (came(2), first), (went(2), last)],
            // Told twice, of a node that was taken for dead.
            vec![(came(1), first), (came(1), None), (went(1), last), (went(1), None)],
            vec![(came(1), first), (came(2), None), (went(1), None), (went(1), None), (went(2), last)],
        ] {
            let mut presence = Presence::default();
            for (fact, change) in &story {
                let told: Vec<_> = change.iter().map(|change| (channel.clone(), *change)).collect();
                assert_eq!(presence.apply(fact), told, "{fact:?} in {story:?}");
            }
            assert_eq!(presence, Presence::default());
        }
    }

    #[test]
    fn a_round_takes_away_what_was_said_before_it_alone_and_nothing_of_other_nodes() {
        let channel = |name| Subject::from(ChannelName::any(name).unwrap());
        let came =
            |name, number, round| Fact::Came { channel: channel(name), run: run(number), round, about: None };
        let mut presence = Presence::default();
        for fact in [came("b", 1, 0), came("a", 1, 0), came("c", 1, 0), came("c", 2, 0), came("d", 1, 1)] {
            presence.apply(&fact);
        }
        assert_eq!(presence.apply(&came("d", 1, 0)), [], "what is said late is not older for that");
        let round = Fact::Round { run: run(1), round: 1, said: 1 };
        let gone = presence.apply(&round);
        assert_eq!(gone, [(channel("a"), Change::Last), (channel("b"), Change::Last)]);
        assert_eq!(presence.of_run(run(1)), [channel("d")]);
        assert_eq!(presence.of_run(run(2)), [channel("c")]);
        assert_eq!(presence.apply(&round), []);
    }

    #[test]
    fn a_round_of_which_some_was_lost_takes_nothing_away() {
        let channel = |name| Subject::from(ChannelName::any(name).unwrap());
        let came = |name, round| Fact::Came { channel: channel(name), run: run(1), round, about: None };
        let round = |round, said| Fact::Round { run: run(1), round, said };
        let mut presence = Presence::default();
        for fact in [came("a", 0), came("b", 0), came("c", 0), came("d", 0), came("d", 1)] {
            presence.apply(&fact);
        }
        // Lost: `d` has gone, `a` was said, and `c` has gone.
        presence.forget_rounds();
        presence.apply(&came("b", 1));
        assert_eq!(presence.apply(&round(1, 2)), [], "a is there");
        for fact in [came("a", 2), came("b", 2)] {
            presence.apply(&fact);
        }
        let gone = presence.apply(&round(2, 2));
        assert_eq!(gone, [(channel("c"), Change::Last), (channel("d"), Change::Last)]);
    }

    #[test]
    fn a_round_of_a_former_version_is_read() {
        let json = r#"{"fact":"round","run":"0000000000000001","round":3}"#;
        let json = json.replace("0000000000000001", &NodeId::from_bits(1).to_string());
        let fact: Fact = serde_json::from_str(&json).unwrap();
        assert_eq!(fact, Fact::Round { run: run(1), round: 3, said: 0 });
    }

    #[test]
    fn a_batch_that_is_taken_back_leaves_nothing() {
        let channel = |name| Subject::from(ChannelName::any(name).unwrap());
        let came =
            |name, number, round| Fact::Came { channel: channel(name), run: run(number), round, about: None };
        let went = |name, number| Fact::Went { channel: channel(name), run: run(number) };
        let before = [came("a", 1, 0), came("b", 1, 0), came("b", 2, 0), came("c", 2, 1)];
        let batch = [
            went("a", 1),
            came("a", 3, 0),
            came("a", 1, 1),
            went("b", 2),
            came("d", 1, 0),
            came("c", 2, 2),
            went("e", 1),
            Fact::Round { run: run(1), round: 1, said: 1 },
        ];
        let (mut presence, mut expected) = (Presence::default(), Presence::default());
        for fact in &before {
            presence.apply(fact);
            expected.apply(fact);
        }
        presence.begin_batch();
        batch.iter().for_each(|fact| _ = presence.apply(fact));
        assert_ne!(presence.counts, expected.counts);
        presence.take_batch_back();
        assert_eq!(presence, expected);
        presence.take_batch_back();
        assert_eq!(presence, expected, "there is none under way");
    }
}
