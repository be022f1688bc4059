//! What is left to be done for a connection that is gone: the others are told of it.

use std::{collections::HashMap, sync::Arc};

use encke_proto::{
    UserId,
    codec::pusher::{Channel, ChannelKind, Member, MemberEvent, SignedIn, member_data},
};

use super::{application::Application, online, publish::announce, server::Server};
use crate::app::App;

/// A connection that is gone, or a part of what it subscribed to.
pub(super) struct Departure {
    pub(super) app: Arc<App>,
    pub(super) server: Arc<Server>,
    pub(super) application: Arc<Application>,
    pub(super) user: UserId,
    pub(super) subscriptions: HashMap<String, Option<Member>>,
    pub(super) signed_in: Option<SignedIn>,
}

impl Departure {
    /// Tells the others beside whatever is under way: a connection is dropped by a shard, which waits for
    /// nothing.
    pub(super) fn begin(self) {
        if self.subscriptions.is_empty() && self.signed_in.is_none() {
            return;
        }
        if let Some(runtime) = self.server.runtime.clone() {
            runtime.spawn(self.carry_out());
        }
    }

    /// Tells the others.
    pub(super) async fn carry_out(self) {
        let Self { app, server, application, user, subscriptions, signed_in } = self;
        for (channel, member) in subscriptions {
            leave(&app, &server, &application, &user, (&channel, member.as_ref())).await;
        }
        if let Some(signed_in) = signed_in {
            online::gone(&app, &application, &signed_in.member.user_id).await;
        }
    }
}

/// A connection is not subscribed to a channel any more.
pub(super) async fn leave(
    app: &App,
    server: &Server,
    application: &Application,
    user: &UserId,
    (channel, member): (&str, Option<&Member>),
) {
    let (Ok(log), Ok(read)) = (application.log(channel), Channel::parse(channel)) else { return };
    if let Some(member) = member.filter(|_| read.kind == ChannelKind::Presence)
        && server.members.leave(&log, &member.user_id)
    {
        let data = member_data(MemberEvent::Removed, member);
        announce(app, log.clone(), MemberEvent::Removed.name(), &data, Some(user.clone())).await;
    }
    if application.settings.subscription_count
        && !matches!(read.kind, ChannelKind::Presence | ChannelKind::User)
    {
        server.counts.changed(log);
    }
}
