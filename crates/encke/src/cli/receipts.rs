//! `encke receipts`

use encke_client::{DeviceReceipt, Page, Receipt, ReceiptState, ReceiptTotals};

use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Show how far a push has come with each user
///
/// Ends with 1 when there is no such push.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke receipts 7q2m4x
  encke receipts 7q2m4x --state queued
  encke receipts 7q2m4x --devices
  encke receipts 7q2m4x --count")]
pub(crate) struct Args {
    /// The push, as `encke push` prints it
    #[arg(value_name = "PUSH-ID")]
    push: String,
    /// Only users with whom it is in this state
    #[arg(long)]
    state: Option<State>,
    /// Tell it of each device of a user as well, where the server keeps a place for devices
    #[arg(long, conflicts_with_all = ["state", "count"])]
    devices: bool,
    /// Only tell how many users there are in each state
    #[arg(long, conflicts_with = "state")]
    count: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum State {
    Queued,
    Delivered,
    Shown,
    Expired,
    Cancelled,
}

impl From<State> for ReceiptState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Delivered => Self::Delivered,
            State::Shown => Self::Shown,
            State::Expired => Self::Expired,
            State::Cancelled => Self::Cancelled,
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let api = args.server.api()?;
    if args.count {
        let one = Page { limit: Some(1), after: None };
        let totals = api.receipts(&args.push, &one).await?.totals.unwrap_or_default();
        return match args.output.is_text() {
            true => output::line(&counted(&totals)),
            false => output::json(&totals),
        };
    }
    let mut heads = vec!["USER", "STATE", "SINCE"];
    heads.extend(args.devices.then_some("DEVICES"));
    let mut table = output::Table::new(&heads);
    let mut page = Page { limit: Some(1_000), after: None };
    loop {
        let receipts = match args.state {
            Some(state) => api.receipts_in(&args.push, state.into(), &page).await?,
            None if args.devices => api.receipts_by_device(&args.push, &page).await?,
            None => api.receipts(&args.push, &page).await?,
        };
        if args.output.is_text() {
            table.print(&receipts.receipts.into_iter().map(row).collect::<Vec<_>>())?;
        } else {
            receipts.receipts.iter().try_for_each(output::json)?;
        }
        if receipts.next.is_none() {
            return Ok(());
        }
        page.after = receipts.next;
    }
}

fn row(receipt: Receipt) -> Vec<String> {
    let mut row = vec![receipt.user, receipt.state.to_string(), receipt.time];
    let devices = receipt.devices.map(|devices| {
        let each = devices.iter().map(|DeviceReceipt { device, state, .. }| format!("{device} {state}"));
        each.collect::<Vec<_>>().join(", ")
    });
    row.extend(devices);
    row
}

/// Totals for a person.
pub(super) fn counted(totals: &ReceiptTotals) -> String {
    let ReceiptTotals { queued, delivered, shown, expired, cancelled, .. } = totals;
    let states = [
        (queued, "queued"),
        (delivered, "delivered"),
        (shown, "shown"),
        (expired, "expired"),
        (cancelled, "cancelled"),
    ];
    let some = states.into_iter().filter(|(count, _)| **count > 0);
    let words: Vec<String> = some.map(|(count, state)| format!("{count} {state}")).collect();
    if words.is_empty() { "for no user".to_owned() } else { words.join(", ") }
}
