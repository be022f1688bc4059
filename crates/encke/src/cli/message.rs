//! The message that a command sends: on the command line, in a file, or from the standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use encke_proto::limits::BODY_MAX_BYTES;
use serde_json::value::RawValue;

use super::CliError;

/// What stands for the standard input.
const STDIN: &str = "-";

/// Where the message is; one of these.
#[derive(Debug, clap::Args)]
pub(crate) struct MessageArgs {
    /// A message: any JSON; `-` reads it from the standard input
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// A file that holds the message as JSON; `-` is the standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read the message from the standard input, as JSON
    #[arg(value_name = "-", value_parser = stdin)]
    stdin: Option<String>,
}

/// Reads what stands alone.
fn stdin(text: &str) -> Result<String, String> {
    if text == STDIN {
        return Ok(text.to_owned());
    }
    if text.parse::<u64>().is_ok() {
        return Err(format!(
            "a message follows --data; seconds to wait have an = before them: --wait={text}"
        ));
    }
    Err("only `-`, the standard input, stands alone; a message follows --data".to_owned())
}

impl MessageArgs {
    /// The message, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Box<RawValue>>, CliError> {
        let from_stdin = || read_from(io::stdin().lock(), "the standard input");
        let text = match (&self.data, &self.file, &self.stdin) {
            (None, None, None) => return Ok(None),
            (Some(text), ..) if text != STDIN => text.clone(),
            (None, Some(path), _) if path.as_os_str() != STDIN => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|error| CliError::Input(name.clone(), error))?;
                read_from(file, &name)?
            }
            _ => from_stdin()?,
        };
        json(&text).map(Some)
    }
}

/// All that comes, as far as a server would take it.
fn read_from(source: impl Read, name: &str) -> Result<String, CliError> {
    let mut text = String::new();
    let max = BODY_MAX_BYTES as u64;
    let read = source.take(max + 1).read_to_string(&mut text);
    read.map_err(|error| CliError::Input(name.to_owned(), error))?;
    if text.len() > BODY_MAX_BYTES {
        return Err(CliError::Usage(format!(
            "{name} holds more than the {BODY_MAX_BYTES} bytes that a message may have"
        )));
    }
    Ok(text)
}

/// Reads JSON as it is written.
fn json(text: &str) -> Result<Box<RawValue>, CliError> {
    let hint = "a text needs quotes of its own: '\"hello\"'";
    serde_json::from_str(text)
        .map_err(|error| CliError::Usage(format!("the message is not JSON ({error}); {hint}")))
}
