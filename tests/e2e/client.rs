//! A client that sends exactly what a test says, over one connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::process::PATIENCE;

/// One HTTP/1.1 response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    trailers: Vec<(String, String)>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the listener is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self {
            stream: BufReader::new(stream),
            trailers: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("sent");
    }

    /// Sends what the other side may no longer take.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// All that comes until the connection ends, by a reset too.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let ended = self.stream.read_to_end(&mut bytes);
        if let Err(error) = ended {
            let is_late = matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            );
            assert!(!is_late, "the connection did not end: {bytes:?}");
        }
        bytes
    }

    /// Sends from a thread of its own what is answered while it is still being sent.
    pub fn send_beside(&self, bytes: Vec<u8>) -> JoinHandle<io::Result<()>> {
        let mut stream = self.stream.get_ref().try_clone().expect("a handle");
        thread::spawn(move || stream.write_all(&bytes))
    }

    /// Reads the head of a response: status and fields.
    pub fn head(&mut self) -> Response {
        let status_line = self.line();
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
        Response {
            status,
            headers: self.fields(),
            body: String::new(),
        }
    }

    /// The next chunk of a chunked body; none at its end, where the trailers are.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line(), 16).expect("a chunk size");
        if size == 0 {
            self.trailers = self.fields();
            return None;
        }
        let chunk = self.bytes(size);
        assert_eq!(self.line(), "", "a chunk ends with a line break");
        Some(chunk)
    }

    /// A field that came after the last chunked body.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Reads a whole response.
    pub fn response(&mut self) -> Response {
        let mut response = self.head();
        let body = self.body(&response);
        response.body = String::from_utf8(body).expect("a text body");
        response
    }

    /// Reads the body that follows a head.
    pub fn body(&mut self, head: &Response) -> Vec<u8> {
        if head.header("transfer-encoding") == Some("chunked") {
            return std::iter::from_fn(|| self.chunk()).flatten().collect();
        }
        let length = head
            .header("content-length")
            .map_or(0, |n| n.parse().expect("a number"));
        self.bytes(length)
    }

    /// Reads until the server closes or resets the connection.
    pub fn until_closed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection stays open: {error}"),
        }
        bytes
    }

    /// Whether nothing has come for a moment beyond what was read.
    pub fn is_quiet(&self) -> bool {
        const MOMENT: Duration = Duration::from_millis(20);
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(MOMENT)).expect("a time-out");
        let came = stream.peek(&mut [0]).is_ok();
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        self.stream.buffer().is_empty() && !came
    }

    /// Header fields up to the empty line, names in lower case.
    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return fields;
            }
            let (name, value) = line.split_once(':').expect("a field");
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("the whole body");
        bytes
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line.trim_end_matches(['\r', '\n']).to_owned()
    }
}

/// Asks for `/` of a host.
pub fn get(address: SocketAddr, host: &str) -> Response {
    request(address, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

/// Sends one request as it stands and reads the response.
pub fn request(address: SocketAddr, text: &str) -> Response {
    let mut client = Client::connect(address);
    client.send(text.as_bytes());
    client.response()
}
