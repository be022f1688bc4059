//! What this node answers to others, of its own sessions alone.

use encke_hub::{CloseTarget, ControlReply, ControlRequest};
use encke_proto::ErrorCode;

use super::Nodes;

pub(super) async fn answer(nodes: &Nodes, request: ControlRequest) -> Result<ControlReply, ErrorCode> {
    if let ControlRequest::Close { target: CloseTarget::Revoked { at, .. }, .. } = request {
        // They end as the log is followed.
        nodes.revocations.catch_up().await?;
        nodes.user_locations.settled().await;
        return Ok(ControlReply::Closed(nodes.revocations.closed_by(at).await));
    }
    let is_close = matches!(request, ControlRequest::Close { .. });
    let released =
        if let ControlRequest::Release { user, .. } = &request { Some(user.clone()) } else { None };
    let reply = nodes.shards.request(request).await?;
    if is_close {
        nodes.user_locations.settled().await;
    }
    if let Some(user) = released {
        // A session that begins elsewhere begins behind what the user was handed here.
        nodes.shards.settle(&user).await?;
    }
    Ok(reply)
}
