//! A blocking HTTP/1.1 client that keeps its connection, so that what it waits for is one request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// A bound for every measurement: no answer takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer, read to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// # Cancel safety
    /// Not to be used again after an error.
    pub fn get(&mut self, host: &str, path: &str) -> Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        read_response(&mut self.stream)
    }

    /// The connection, to keep it open.
    pub fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }
}

fn read_response(reader: &mut impl BufRead) -> Result<Response> {
    let first = line(reader)?;
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("\"{first}\" is no status line"))?;
    let mut length = None;
    let mut is_chunked = false;
    loop {
        let field = line(reader)?;
        let Some((name, value)) = field.split_once(':') else {
            ensure!(field.is_empty(), "\"{field}\" is no header field");
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.trim().parse().context("content-length")?),
            "transfer-encoding" => is_chunked = true,
            _ => {}
        }
    }
    let body = match length {
        Some(length) => exactly(reader, length)?,
        None if is_chunked => chunks(reader)?,
        None => bail!("a body without a length"),
    };
    Ok(Response { status, body })
}

fn chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(reader)?;
        let size = usize::from_str_radix(&size, 16).context("the size of a chunk")?;
        body.extend(exactly(reader, size)?);
        ensure!(line(reader)?.is_empty(), "more than a chunk");
        if size == 0 {
            return Ok(body);
        }
    }
}

fn exactly(reader: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body).context("reading a body")?;
    Ok(body)
}

fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    let read = reader.read_line(&mut line).context("reading a head")?;
    ensure!(read > 0, "the connection was closed");
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_by_length_and_by_chunks() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ] {
            let response = read_response(&mut text.as_bytes()).expect("a response");
            assert_eq!(response.status, 200);
            assert_eq!(response.body, b"hello", "{text}");
        }
    }

    #[test]
    fn what_ends_early_is_an_error() {
        for text in ["", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"] {
            assert!(read_response(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
