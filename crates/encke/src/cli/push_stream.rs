//! `encke push --stream`: a push a line from the standard input, a result a line on the standard output.

use std::io::{self, BufRead, Read};
use std::pin::pin;

use encke_client::{Api, Error, PushResults, PushSender};
use encke_proto::limits::BODY_MAX_BYTES;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{CliError, output};

/// The most that is read of one line. It is more than a server takes, so that one which is too long is told
/// by the server, in its place among the others.
const LINE_READ_MAX_BYTES: u64 = BODY_MAX_BYTES as u64 + 2;
/// How many lines were read and wait to be sent.
const WAITING_MAX: usize = 64;

/// What is looked at of a result.
#[derive(Deserialize)]
struct Outcome {
    error: Option<serde::de::IgnoredAny>,
}

/// Pushes all lines, and fails when any of them was not accepted.
pub(crate) async fn run(api: &Api) -> Result<(), CliError> {
    let (sender, results) = api.push_stream().await?.split();
    let (lines, waiting) = mpsc::channel(WAITING_MAX);
    // A thread of its own, which is left behind when the server ends the stream: no read of the standard
    // input can be given up.
    std::thread::spawn(move || read(io::stdin().lock(), &lines));
    let (mut sending, mut printing) = (pin!(send(sender, waiting)), pin!(print(results)));
    // A stream that the server has ended needs no more input. One without more input ends with the last
    // result.
    let (tally, sent) = tokio::select! {
        tally = &mut printing => (tally?, Ok(())),
        sent = &mut sending => (printing.await?, sent),
    };
    sent?;
    match tally.refused {
        0 => Ok(()),
        refused => Err(CliError::NotAccepted { refused, of: tally.all }),
    }
}

/// Reads lines until their end, or until they are not wanted any more.
fn read(mut source: impl BufRead, lines: &mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut line = Vec::new();
        let read = source.by_ref().take(LINE_READ_MAX_BYTES).read_until(b'\n', &mut line);
        let is_cut = line.len() as u64 == LINE_READ_MAX_BYTES && !line.ends_with(b"\n");
        let line = match read {
            Ok(0) => return,
            Ok(_) => Ok(line),
            Err(error) => Err(error),
        };
        let has_failed = line.is_err();
        if lines.blocking_send(line).is_err() || has_failed {
            return;
        }
        if is_cut && source.skip_until(b'\n').is_err() {
            return;
        }
    }
}

async fn send(
    mut sender: PushSender,
    mut lines: mpsc::Receiver<io::Result<Vec<u8>>>,
) -> Result<(), CliError> {
    loop {
        let Some(line) = lines.recv().await else { return Ok(()) };
        let line = line.map_err(|error| CliError::Input("the standard input".to_owned(), error))?;
        match sender.send_json(&line).await {
            Ok(()) => {}
            // That is told by the results.
            Err(Error::Ended) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[derive(Default)]
struct Tally {
    all: u64,
    refused: u64,
}

async fn print(mut results: PushResults) -> Result<Tally, CliError> {
    let mut tally = Tally::default();
    while let Some(result) = results.next_json().await {
        let json = result?;
        let outcome: Outcome = serde_json::from_str(&json)
            .map_err(|error| Error::BadAnswer(format!("a result of the stream: {error}")))?;
        tally.all += 1;
        tally.refused += u64::from(outcome.error.is_some());
        output::line(&json)?;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_and_the_next_is_whole() {
        let max = BODY_MAX_BYTES;
        for (length, sent) in [(max, max + 1), (max + 1, max + 2), (max + 2, max + 2), (3 * max, max + 2)] {
            let (lines, mut waiting) = mpsc::channel(10);
            let text = format!("1\n{}\n2", "x".repeat(length));
            read(io::Cursor::new(text), &lines);
            drop(lines);
            let mut lengths = Vec::new();
            while let Some(line) = waiting.blocking_recv() {
                lengths.push(line.unwrap().len());
            }
            assert_eq!(lengths, [2, sent, 1], "{length}");
        }
    }
}
