//! The names of streams and subjects, and the encoding that keeps names from outside to one token of a
//! subject.

use base64::{
    Engine as _,
    alphabet::Alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use encke_proto::{ChannelName, Epoch, MessageId, Offset, SessionId, UserId};

use crate::{NodeId, ProducerId};

/// The 64 characters in the order of their bytes, so that what is encoded sorts as what it stands for. None
/// of them means anything in a subject.
const SORTED: Alphabet =
    match Alphabet::new("-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz") {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("64 different characters are an alphabet"),
    };
const TOKEN: GeneralPurpose = GeneralPurpose::new(&SORTED, NO_PAD);

/// A name from outside as one token of a subject: neither `.`, `*`, `>` nor a blank gets there.
pub(super) fn token(name: &str) -> String {
    TOKEN.encode(name)
}

/// What a token stands for; none when no node wrote it.
pub(super) fn untoken(token: &str) -> Option<String> {
    String::from_utf8(TOKEN.decode(token).ok()?).ok()
}

/// The names of everything that a site keeps in NATS.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    /// The stream of the logs, and of what is written together with them.
    pub(super) log: String,
    /// The stream of what is known of users and receipts: the last word on each subject.
    pub(super) book: String,
    /// The stream of who is where: the last word on each subject, in memory.
    pub(super) soft: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self {
            log: format!("{prefix}-log"),
            book: format!("{prefix}-book"),
            soft: format!("{prefix}-soft"),
            prefix,
        }
    }

    pub(super) fn log_subjects(&self) -> Vec<String> {
        ["l.>", "k.>", "p.>", "i.>", "q.>", "epoch"].map(|rest| format!("{}.{rest}", self.prefix)).into()
    }

    pub(super) fn book_subjects(&self) -> Vec<String> {
        vec![format!("{}.b.>", self.prefix)]
    }

    pub(super) fn soft_subjects(&self) -> Vec<String> {
        vec![format!("{}.s.>", self.prefix)]
    }

    /// What is republished, and as what.
    pub(super) fn republish(&self) -> (String, String) {
        (format!("{}.l.>", self.prefix), format!("{}.w.>", self.prefix))
    }

    fn of_channel(&self, kind: char, channel: &ChannelName) -> String {
        self.of_channel_in(kind.encode_utf8(&mut [0; 4]), channel)
    }

    fn of_channel_in(&self, kind: &str, channel: &ChannelName) -> String {
        match channel.as_str().strip_prefix('@') {
            Some(user) if channel.is_own() => format!("{}.{kind}.o.{}", self.prefix, token(user)),
            _ => format!("{}.{kind}.c.{}", self.prefix, token(channel.as_str())),
        }
    }

    /// A channel's log.
    pub(super) fn channel(&self, channel: &ChannelName) -> String {
        self.of_channel('l', channel)
    }

    /// Where it is told that a channel's log grew.
    pub(super) fn wake(&self, channel: &ChannelName) -> String {
        self.of_channel('w', channel)
    }

    /// The logs of all channels.
    pub(super) fn all_channels(&self) -> String {
        format!("{}.l.>", self.prefix)
    }

    /// The logs of all public channels.
    pub(super) fn public_channels(&self) -> String {
        format!("{}.l.c.*", self.prefix)
    }

    /// Whose log a subject is.
    pub(super) fn channel_of(&self, subject: &str) -> Option<ChannelName> {
        let rest = subject.strip_prefix(self.prefix.as_str())?.strip_prefix('.')?;
        let (kind, name) = rest.strip_prefix("l.").or_else(|| rest.strip_prefix("w."))?.split_once('.')?;
        let name = untoken(name)?;
        match kind {
            "o" => UserId::new(&name).ok().map(|user| user.channel()),
            "c" => ChannelName::stored(&name).ok(),
            _ => None,
        }
    }

    /// The epoch that all logs are told in.
    pub(super) fn epoch(&self) -> String {
        format!("{}.epoch", self.prefix)
    }

    /// What the first message with an idempotency key led to: of a backend, or of this user.
    pub(super) fn key(&self, key: &str, user: Option<&UserId>) -> String {
        match user {
            Some(user) => format!("{}.k.{}.{}", self.prefix, token(user.as_str()), token(key)),
            None => format!("{}.k.{}", self.prefix, token(key)),
        }
    }

    /// What all of a user's keys led to.
    pub(super) fn user_keys(&self, user: &UserId) -> String {
        format!("{}.k.{}.*", self.prefix, token(user.as_str()))
    }

    /// A page of the targets of a message.
    pub(super) fn page(&self, message: &MessageId, page: usize) -> String {
        format!("{}.p.{message}.{page}", self.prefix)
    }

    /// A page of a message that is being appended piece by piece.
    pub(super) fn intent(&self, message: &MessageId, page: usize) -> String {
        format!("{}.i.{message}.{page}", self.prefix)
    }

    /// All pages of such a message.
    pub(super) fn intent_pages(&self, message: &MessageId) -> String {
        format!("{}.i.{message}.*", self.prefix)
    }

    /// The first pages of all of them.
    pub(super) fn intents(&self) -> String {
        format!("{}.i.*.0", self.prefix)
    }

    /// How far a producer has come in a public channel's log.
    pub(super) fn producer(&self, channel: &ChannelName, producer: &ProducerId) -> String {
        format!("{}.{}", self.of_channel('q', channel), token(producer.as_str()))
    }

    /// All producers of a public channel's log.
    pub(super) fn producers(&self, channel: &ChannelName) -> String {
        format!("{}.*", self.of_channel('q', channel))
    }

    /// A known user.
    pub(super) fn user(&self, user: &UserId) -> String {
        format!("{}.b.u.{}", self.prefix, token(user.as_str()))
    }

    /// All known users.
    pub(super) fn users(&self) -> String {
        format!("{}.b.u.*", self.prefix)
    }

    /// How far a user was handed and shown what was pushed.
    pub(super) fn mark(&self, user: &UserId) -> String {
        format!("{}.b.m.{}", self.prefix, token(user.as_str()))
    }

    /// Up to which offset a channel was deleted.
    pub(super) fn floor(&self, channel: &ChannelName) -> String {
        self.of_channel_in("b.d", channel)
    }

    /// That something in the user's log may be cancelled.
    pub(super) fn cancelled(&self, user: &UserId) -> String {
        format!("{}.b.c.{}", self.prefix, token(user.as_str()))
    }

    /// What became of all pushes to a user.
    pub(super) fn receipts(&self, user: &UserId) -> String {
        format!("{}.b.r.{}.>", self.prefix, token(user.as_str()))
    }

    /// What became of the push at one place of a user's log.
    pub(super) fn receipt(&self, user: &UserId, epoch: Epoch, offset: Offset) -> String {
        format!("{}.b.r.{}.{epoch}.{offset}", self.prefix, token(user.as_str()))
    }

    /// That a node lives.
    pub(super) fn node(&self, node: &str) -> String {
        format!("{}.s.n.{node}", self.prefix)
    }

    /// Where messages to a node are sent. No stream listens there.
    pub(super) fn messages(&self, node: NodeId) -> String {
        format!("{}.n.{node}", self.prefix)
    }

    /// That a user is on a node.
    pub(super) fn place(&self, user: &UserId, node: &str) -> String {
        format!("{}.s.p.{}.{node}", self.prefix, token(user.as_str()))
    }

    /// All users on a node.
    pub(super) fn places_of_node(&self, node: NodeId) -> String {
        format!("{}.s.p.*.{node}", self.prefix)
    }

    /// All users on all nodes.
    pub(super) fn places_of_all(&self) -> String {
        format!("{}.s.p.*.*", self.prefix)
    }

    /// That a ticket was spent.
    pub(super) fn ticket(&self, ticket: &str) -> String {
        format!("{}.s.x.{}", self.prefix, token(ticket))
    }

    /// That a session was closed on purpose.
    pub(super) fn closed_mark(&self, user: &UserId, session: SessionId) -> String {
        format!("{}.s.t.{}.{session}", self.prefix, token(user.as_str()))
    }
}

/// The last token of a subject.
pub(super) fn last_token(subject: &str) -> &str {
    subject.rsplit_once('.').map_or(subject, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t32_no_name_can_leave_its_place_in_a_subject() {
        let names = Names::new("encke");
        for name in ["a b", "*", ">", "a.b", "$JS.API.>", "{{wildcard(1)}}", "四个用户", &"x".repeat(255)]
        {
            let user = UserId::new(name).unwrap();
            let subject = names.channel(&user.channel());
            let rest = subject.strip_prefix("encke.l.o.").unwrap();
            assert!(
                rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')),
                "{rest}"
            );
            assert_eq!(names.channel_of(&subject), Some(user.channel()));
            let channel = ChannelName::public(name).unwrap();
            assert_eq!(names.channel_of(&names.wake(&channel)), Some(channel));
        }
        for foreign in ["encke.l.o.!", "other.l.c.a", "encke.l.c", "enckel.c.a", "encke.k.c.a"] {
            assert_eq!(names.channel_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn tokens_sort_as_what_they_stand_for() {
        let mut names = [
            "", "a", "aa", "ab", "a b", "A", "élise", "四", "zoe", "@odd", "!", "~", "b", "a!", "aaa", "aab",
        ];
        names.sort_unstable();
        assert!(names.map(token).is_sorted());
        assert!(names.iter().all(|name| untoken(&token(name)).as_deref() == Some(name)));
    }
}
