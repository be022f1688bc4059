//! The users who follow a channel now, on all nodes. Who may know that is decided before.

use encke_proto::{ChannelName, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{query, refusal::Refused},
    validation,
};

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PresenceQuery {
    /// At most this many; 100 by default, 1,000 at most.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of the users that follow a channel, by user.
#[derive(Serialize, ToSchema)]
pub(crate) struct Presence {
    users: Vec<Present>,
    /// Where the next page begins, if there is one.
    #[schema(value_type = Option<String>)]
    next: Option<UserId>,
}

/// A user that follows a channel.
#[derive(Serialize, ToSchema)]
pub(crate) struct Present {
    #[schema(value_type = String)]
    user: UserId,
    /// With how many sessions.
    sessions: usize,
}

/// A page of the users who follow a channel now.
///
/// # Errors
/// [`encke_proto::ErrorCode::BadRequest`], [`encke_proto::ErrorCode::BadName`], or when another node does not
/// answer.
pub(crate) async fn presence(
    app: &App,
    channel: &ChannelName,
    asked: &PresenceQuery,
) -> Result<Presence, Refused> {
    let limit = query::limit(asked.limit)?;
    let after = asked.after.as_deref().map(validation::user).transpose()?;
    let mut users = app.sessions.present(channel, after.as_ref(), limit + 1).await?;
    let next = query::cut(&mut users, limit, |(user, _)| user.clone());
    let users = users.into_iter().map(|(user, sessions)| Present { user, sessions }).collect();
    Ok(Presence { users, next })
}
