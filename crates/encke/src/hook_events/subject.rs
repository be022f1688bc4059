//! What is there as long as some node has it: a channel, which has followers, or a member of one, whom a
//! dialect knows.

use std::sync::Arc;

use encke_proto::ChannelName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A channel, or a member of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The channel; a user's own channel stands for the user.
    pub channel: ChannelName,
    /// The member, if it is one.
    pub member: Option<Arc<str>>,
}

impl Subject {
    /// A member of a channel.
    #[must_use]
    pub fn member(channel: ChannelName, member: &str) -> Self {
        Self { channel, member: Some(member.into()) }
    }
}

impl From<ChannelName> for Subject {
    fn from(channel: ChannelName) -> Self {
        Self { channel, member: None }
    }
}

/// How it is written: the channel alone, as former versions did, or with the member.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Channel(ChannelName),
    Member(ChannelName, Arc<str>),
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.member {
            None => self.channel.serialize(serializer),
            Some(member) => (&self.channel, member).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Channel(channel) => channel.into(),
            Written::Member(channel, member) => Self { channel, member: Some(member) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_written_as_former_versions_did() {
        let channel = ChannelName::any("@alice").unwrap();
        for (subject, json) in [
            (Subject::from(channel.clone()), r#""@alice""#),
            (Subject::member(channel, "b\"ob"), r#"["@alice","b\"ob"]"#),
        ] {
            assert_eq!(serde_json::to_string(&subject).unwrap(), json);
            assert_eq!(serde_json::from_str::<Subject>(json).unwrap(), subject);
        }
    }
}
