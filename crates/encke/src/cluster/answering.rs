//! What this node answers to others, of its own sessions alone.

use encke_proto::{Cursor, ErrorCode};

use super::{
    Listed, Nodes,
    node_message::{Answer, Question, pair},
};

pub(super) async fn answer(nodes: &Nodes, question: Question) -> Result<Answer, ErrorCode> {
    let shards = &nodes.shards;
    match question {
        Question::Close { target, close } => {
            let count = shards.close(&target.into(), &close).await?;
            nodes.user_locations.settled().await;
            Ok(Answer::Closed(count))
        }
        Question::Subscribe { session, user, channels } => {
            Ok(Answer::Following(shards.subscribe(session, &user, channels).await?.into()))
        }
        Question::SubscribeFrom { session, user, channels, from } => {
            let from = Cursor::parse(&from).map_err(|_| ErrorCode::BadCursor)?;
            Ok(Answer::Following(shards.subscribe_from(session, &user, channels, from).await?.into()))
        }
        Question::Unsubscribe { session, user, channels } => {
            Ok(Answer::Following(shards.unsubscribe(session, &user, channels).await?.into()))
        }
        Question::Ack { session, user, cursor } => {
            let cursor = Cursor::parse(&cursor).map_err(|_| ErrorCode::BadCursor)?;
            Ok(Answer::Shown(shards.ack(session, &user, cursor).await?.map(pair)))
        }
        Question::Release { session, user } => {
            let given = match session {
                Some(session) => shards.release(session, &user).await?,
                None => None,
            };
            // A session that begins elsewhere begins behind what the user was handed here.
            shards.settle(&user).await?;
            Ok(Answer::Given(given.map(Into::into)))
        }
        Question::Counts { users } => Ok(Answer::Counts(shards.sessions_of(&users).await?)),
        Question::Online { after, limit } => {
            let mut online = shards.online().await?;
            online.retain(|(user, _)| after.as_ref().is_none_or(|after| user > after));
            online.truncate(limit);
            Ok(Answer::Users(online))
        }
        Question::Sessions { user, after, limit } => {
            let mut views = shards.sessions(user.as_ref()).await?;
            views.retain(|view| after.is_none_or(|after| view.session > after));
            views.sort_unstable_by_key(|view| view.session);
            views.truncate(limit);
            Ok(Answer::Sessions(views.into_iter().map(|view| Listed::here(view, &nodes.name)).collect()))
        }
        Question::Present { channel, after, limit } => {
            let mut users = shards.channel(&channel).await?.users;
            users.retain(|(user, _)| after.as_ref().is_none_or(|after| user > after));
            users.truncate(limit);
            Ok(Answer::Users(users))
        }
        Question::Followers { channels } => Ok(Answer::Counts(shards.followers(&channels).await?)),
    }
}
