//! As much of the Redis protocol as it takes to ask a server something now and then.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How deep answers are nested that are understood.
const DEPTH_MAX: u32 = 4;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word or a text.
    Text(String),
    /// A number.
    Number(i64),
    /// Several.
    List(Vec<Value>),
    /// Nothing.
    Nothing,
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Asks a server, on a connection of its own.
///
/// # Errors
/// When there is no answer in time, or an error.
pub async fn ask(address: SocketAddr, words: &[&str]) -> io::Result<Value> {
    let asked = async {
        let mut socket = BufReader::new(TcpStream::connect(address).await?);
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        socket.write_all(request.as_bytes()).await?;
        read(&mut socket, 0).await
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn read(socket: &mut (impl AsyncBufRead + Unpin + Send), depth: u32) -> io::Result<Value> {
    let strange = || io::Error::other("an answer that Redis does not give");
    let mut line = String::new();
    socket.read_line(&mut line).await?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or_else(strange)?;
    let number = || rest.parse::<i64>().map_err(|_| strange());
    match kind {
        "+" => Ok(Value::Text(rest.to_owned())),
        "-" => Err(io::Error::other(rest.to_owned())),
        ":" => Ok(Value::Number(number()?)),
        "$" => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Value::Nothing) };
            let mut bytes = vec![0; length + 2];
            socket.read_exact(&mut bytes).await?;
            bytes.truncate(length);
            String::from_utf8(bytes).map(Value::Text).map_err(io::Error::other)
        }
        "*" if depth < DEPTH_MAX => {
            let mut values = Vec::new();
            for _ in 0..number()? {
                values.push(Box::pin(read(socket, depth + 1)).await?);
            }
            Ok(Value::List(values))
        }
        _ => Err(strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_read() {
        let mut bytes = &b"*3\r\n$5\r\na\r\nbc\r\n:-7\r\n*1\r\n$-1\r\n-ERR no\r\n"[..];
        let list = vec![Value::Text("a\r\nbc".into()), Value::Number(-7), Value::List(vec![Value::Nothing])];
        assert_eq!(read(&mut bytes, 0).await.unwrap(), Value::List(list));
        assert_eq!(read(&mut bytes, 0).await.unwrap_err().to_string(), "ERR no");
        assert!(read(&mut bytes, 0).await.is_err());
    }
}
