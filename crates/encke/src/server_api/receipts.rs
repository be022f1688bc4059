//! `GET /api/push/{id}`: what became of a push, as totals by state, and by user.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_engine::{Engine, ReceiptState, ReceiptTotals};
use encke_proto::{DeviceName, ErrorCode, MessageId, Time, UserId};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    devices,
    extractors::{MayRead, OPERATOR},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    validation::{self, InPath},
};

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReceiptsQuery {
    /// At most this many; 100 by default, 1,000 at most.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Only users with whom it is in this state.
    #[param(inline)]
    state: Option<StateName>,
    /// Whether the user's devices are told as well; then there are at most 100 users in a page.
    #[serde(default)]
    devices: bool,
}

/// The most users of a page whose devices are told.
const WITH_DEVICES_MAX: usize = 100;
/// Of how many users devices are read at a time.
const READ_AT_ONCE: usize = 8;

/// A state of a receipt.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StateName {
    Queued,
    Delivered,
    Shown,
    Expired,
    Cancelled,
}

impl From<StateName> for ReceiptState {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Queued => Self::Queued,
            StateName::Delivered => Self::Delivered,
            StateName::Shown => Self::Shown,
            StateName::Expired => Self::Expired,
            StateName::Cancelled => Self::Cancelled,
        }
    }
}

/// How many users there are in each state. Of a push to more than 1,000 users they may be some seconds old.
#[derive(Serialize, ToSchema)]
// Those of nodes have the same name.
#[schema(as = ReceiptTotals)]
pub(crate) struct Totals {
    queued: usize,
    delivered: usize,
    shown: usize,
    expired: usize,
    cancelled: usize,
}

impl From<ReceiptTotals> for Totals {
    fn from(totals: ReceiptTotals) -> Self {
        let ReceiptTotals { queued, delivered, shown, expired, cancelled } = totals;
        Self { queued, delivered, shown, expired, cancelled }
    }
}

/// What became of a push.
#[derive(Serialize, ToSchema)]
pub(crate) struct Receipts {
    #[schema(value_type = String)]
    id: MessageId,
    totals: Totals,
    /// By user: all, or those in the state that was asked for.
    receipts: Vec<Receipt>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<UserId>,
}

/// What became of it with one user.
#[derive(Serialize, ToSchema)]
pub(crate) struct Receipt {
    #[schema(value_type = String)]
    user: UserId,
    /// `queued`, `delivered`, `shown`, `expired` or `cancelled`.
    state: &'static str,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    time: Time,
    /// The user's devices whose places are kept, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<DeviceReceipt>>,
}

/// What became of it with one device.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceReceipt {
    #[schema(value_type = String)]
    device: DeviceName,
    /// `delivered` once the device was handed it; up to a second late. Else `queued`, or as with the user
    /// where it is `expired` or `cancelled`.
    state: &'static str,
}

impl Receipt {
    async fn of(engine: &dyn Engine, receipt: encke_engine::Receipt, devices: bool) -> Result<Self, Refused> {
        let encke_engine::Receipt { user, offset, state, at: time } = receipt;
        let device_state = |reached: bool| match state {
            ReceiptState::Expired | ReceiptState::Cancelled => state,
            _ if reached => ReceiptState::Delivered,
            _ => ReceiptState::Queued,
        };
        let devices = match devices {
            true => Some(devices::reached(engine, &user, offset).await?),
            false => None,
        };
        let one = |(device, reached)| DeviceReceipt { device, state: device_state(reached).as_str() };
        let devices = devices.map(|devices| devices.into_iter().map(one).collect());
        Ok(Self { user, state: state.as_str(), time, devices })
    }
}

/// What became of a push: totals by state, and a page of its users.
#[utoipa::path(
    get, path = "/api/push/{id}", tag = "server API", security(("api_key" = [])),
    params(
        ("id" = String, Path, description = "The push.", example = "AZ6dZ2hUJq0b3m5k7n9pRQ"),
        ReceiptsQuery
    ),
    responses((
        status = 200, description = "The receipts.", body = Receipts,
        example = json!({
            "id": "AZ6dZ2hUJq0b3m5k7n9pRQ",
            "totals": {"queued": 0, "delivered": 1, "shown": 0, "expired": 0, "cancelled": 0},
            "receipts": [{"user": "alice", "state": "delivered", "time": "2026-01-02T03:04:05.678Z"}]
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, query::ERRORS, validation::ERRORS, ENGINE, &[ErrorCode::PushUnknown]
    ])))),
)]
pub(crate) async fn receipts(
    State(app): State<Arc<App>>,
    _: MayRead,
    InPath(id): InPath,
    Query(asked): Query<ReceiptsQuery>,
) -> Result<Answer<Receipts>, Refused> {
    let most = if asked.devices { WITH_DEVICES_MAX } else { usize::MAX };
    let limit = query::limit(asked.limit)?.min(most);
    let after = asked.after.as_deref().map(validation::user).transpose()?;
    let id: MessageId = id.parse().map_err(|_| Refused::from(ErrorCode::PushUnknown))?;
    let (engine, now) = (&*app.engine, app.now().wall);
    let found = match asked.state {
        None => engine.receipts(&id, after.as_ref(), limit + 1, now).await?,
        Some(state) => engine.receipts_in(&id, state.into(), after.as_ref(), limit + 1, now).await?,
    };
    let mut found = found.ok_or(Refused::from(ErrorCode::PushUnknown))?;
    // Most pushes are for few users, and then these are all.
    let totals = match asked.state.is_none() && after.is_none() && found.len() <= limit {
        true => ReceiptTotals::of(&found),
        false => app.push_totals.of(engine, &id, now).await?.ok_or(Refused::from(ErrorCode::PushUnknown))?,
    };
    let next = query::cut(&mut found, limit, |receipt| receipt.user.clone());
    let receipts = found.into_iter().map(|receipt| Receipt::of(engine, receipt, asked.devices));
    let receipts = stream::iter(receipts).buffered(READ_AT_ONCE).try_collect().await?;
    Ok(Answer(Receipts { id, totals: totals.into(), receipts, next }))
}
