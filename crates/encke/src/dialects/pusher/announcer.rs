//! Tells the subscribers of presence channels who comes and goes, where there are several nodes: one of them
//! does it for all, in the order of the log in which all write that.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use encke_proto::{
    ChannelName, Time, UserId,
    codec::pusher::{self, Member, MemberEvent, member_data},
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    app::App,
    hook_events::{Batch, Change, DeliveryMetrics, Fact, NotTaken, Place, Presence, Recipient, Subject},
    http::refusal::Refused,
    publishing::publish_to,
};

/// What is written down of a member.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    /// What is said of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Box<RawValue>>,
    /// The connection by which the user came, which is not told of itself.
    from: UserId,
}

impl About {
    pub(super) fn text(member: &Member, from: &UserId) -> Option<Arc<str>> {
        let about = Self { info: member.user_info.clone(), from: from.clone() };
        serde_json::to_string(&about).ok().map(Arc::from)
    }
}

/// What is to be told in a channel.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    log: ChannelName,
    event: String,
    /// JSON, as text.
    data: String,
    from: Option<UserId>,
}

/// Tells it.
pub(super) struct Announcer(Weak<App>);

impl Announcer {
    pub(super) fn new(app: &Arc<App>) -> Self {
        Self(Arc::downgrade(app))
    }

    async fn publish(&self, told: Told, key: String) -> Result<(), NotTaken> {
        let Some(app) = self.0.upgrade() else { return Err(NotTaken("the server ends".to_owned())) };
        let Told { log, event, data, from } = told;
        let data = to_raw_value(&data).map_err(|error| NotTaken(error.to_string()))?;
        let Some(logged) = pusher::logged(&event, &data, None) else { return Ok(()) };
        match publish_to(&app, vec![log], logged.into(), Some(key), from).await {
            // What is refused for good would hold up all behind it.
            Err(Refused(refusal)) if refusal.code.status() >= 500 => Err(NotTaken(refusal.message)),
            Err(Refused(refusal)) => {
                tracing::warn!(event, error = %refusal.message, "subscribers cannot be told");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

fn told((subject, change): (Subject, Change), about: Option<&str>) -> Option<String> {
    let user_id = subject.member?.to_string();
    let about: Option<About> = about.and_then(|about| serde_json::from_str(about).ok());
    let (user_info, from) = about.map_or((None, None), |About { info, from }| (info, Some(from)));
    let event = if change == Change::First { MemberEvent::Added } else { MemberEvent::Removed };
    let data = member_data(event, &Member { user_id, user_info });
    let told = Told { log: subject.channel, event: event.name().to_owned(), data, from };
    serde_json::to_string(&told).ok()
}

impl Recipient for Announcer {
    fn events(&self, fact: Fact, _: Place, presence: &mut Presence) -> Vec<String> {
        let changes = presence.apply(&fact);
        let about = match &fact {
            Fact::Came { about, .. } => about.as_deref(),
            _ => None,
        };
        changes.into_iter().filter_map(|change| told(change, about)).collect()
    }

    fn tell<'a>(&'a self, batch: &'a Batch, _: Time) -> BoxFuture<'a, Result<(), NotTaken>> {
        Box::pin(async move {
            for (number, event) in batch.events.iter().enumerate() {
                let Ok(told) = serde_json::from_str(event) else { continue };
                // Told again, it is the same message.
                self.publish(told, format!("{}-{number}", batch.id)).await?;
            }
            Ok(())
        })
    }

    fn metrics(&self) -> DeliveryMetrics {
        // What it publishes is counted as all messages are.
        DeliveryMetrics::default()
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Announcer")
    }
}
