//! A publication: data to channels.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Error;

/// What to publish, and to which channels.
#[derive(Debug, Clone, Serialize)]
pub struct Publish {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) channels: Vec<String>,
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
}

impl Publish {
    /// To one channel.
    ///
    /// # Errors
    /// [`Error::Encode`] when the data does not serialise.
    pub fn to(channel: impl Into<String>, data: &impl Serialize) -> Result<Self, Error> {
        let data = serde_json::value::to_raw_value(data).map_err(Error::Encode)?;
        Ok(Self { channel: Some(channel.into()), channels: Vec::new(), data, id: None })
    }

    /// To several channels; for backends only.
    ///
    /// # Errors
    /// [`Error::Encode`] when the data does not serialise.
    pub fn to_all<C: Into<String>>(
        channels: impl IntoIterator<Item = C>,
        data: &impl Serialize,
    ) -> Result<Self, Error> {
        let data = serde_json::value::to_raw_value(data).map_err(Error::Encode)?;
        Ok(Self { channel: None, channels: channels.into_iter().map(Into::into).collect(), data, id: None })
    }

    /// The idempotency key: publishing again with the same one makes no second message. Without, one is made.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

/// The server has taken a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Published {
    /// The message's id.
    pub id: String,
    /// What "taken" means: `memory` (kept by the process), `log` (on disk), and so on.
    pub mode: String,
    /// Where the message is, in each channel that it was published to.
    pub positions: Vec<ChannelPosition>,
}

/// A position in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChannelPosition {
    /// The channel.
    pub channel: String,
    /// The offset.
    pub offset: u64,
    /// The epoch that the offset counts in.
    pub epoch: String,
}

/// The two forms of the answer: flat for one channel, a list for several.
#[derive(Deserialize)]
pub(crate) struct PublishAnswer {
    id: String,
    mode: String,
    #[serde(default)]
    offset: Option<u64>,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(default)]
    positions: Option<Vec<ChannelPosition>>,
}

impl PublishAnswer {
    /// `channel` is the one that was published to, when it was one.
    pub(crate) fn published(self, channel: Option<&str>) -> Result<Published, Error> {
        let positions = match (self.positions, channel, self.offset, self.epoch) {
            (Some(positions), ..) => positions,
            (None, Some(channel), Some(offset), Some(epoch)) => {
                vec![ChannelPosition { channel: channel.to_owned(), offset, epoch }]
            }
            _ => return Err(Error::BadAnswer("a publication without a position".to_owned())),
        };
        Ok(Published { id: self.id, mode: self.mode, positions })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_publication_is_written_as_the_protocol_says() {
        let one = Publish::to("news", &"x").unwrap().id("k");
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"channel":"news","data":"x","id":"k"}"#);
        let two = Publish::to_all(["a", "b"], &[1]).unwrap();
        assert_eq!(serde_json::to_string(&two).unwrap(), r#"{"channels":["a","b"],"data":[1]}"#);
    }

    #[test]
    fn both_forms_of_the_answer_are_read() {
        let one: PublishAnswer =
            serde_json::from_str(r#"{"id":"m","offset":7,"epoch":"e","mode":"log"}"#).unwrap();
        let one = one.published(Some("news")).unwrap();
        assert_eq!((one.positions[0].channel.as_str(), one.positions[0].offset), ("news", 7));
        let two: PublishAnswer = serde_json::from_str(
            r#"{"id":"m","mode":"log","positions":[{"channel":"a","offset":1,"epoch":"e"}]}"#,
        )
        .unwrap();
        assert_eq!(two.published(None).unwrap().positions.len(), 1);
        let none: PublishAnswer = serde_json::from_str(r#"{"id":"m","mode":"log"}"#).unwrap();
        assert!(none.published(Some("news")).is_err());
    }
}
