//! Plain HTTP/1.1, one request a connection, over TCP or a Unix socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use base64::Engine as _;

use crate::Result;

/// One request.
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Path with its query.
    pub path: &'a str,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; empty for none.
    pub body: &'a [u8],
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("{} {error}: {}", self.status, self.text()).into())
    }

    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The value of an `Authorization` header with a name and a password.
#[must_use]
pub fn basic(name: &str, password: &str) -> String {
    let pair = format!("{name}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

/// `GET path` from `address`.
pub fn get(address: &str, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
    send(
        address,
        &Request {
            method: "GET",
            path,
            headers,
            body: b"",
        },
    )
}

/// `POST path` with `body` to `address`.
pub fn post(address: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    send(
        address,
        &Request {
            method: "POST",
            path,
            headers,
            body,
        },
    )
}

/// Sends `request` to `address` (`127.0.0.1:80`).
pub fn send(address: &str, request: &Request<'_>) -> Result<Response> {
    let mut stream = TcpStream::connect(address)?;
    exchange(&mut stream, address, request)
}

/// Sends `request` to the Unix socket at `path`.
pub fn send_local(path: &Path, request: &Request<'_>) -> Result<Response> {
    let mut stream = UnixStream::connect(path)?;
    exchange(&mut stream, "localhost", request)
}

fn exchange(
    stream: &mut (impl Read + Write),
    host: &str,
    request: &Request<'_>,
) -> Result<Response> {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {host}\r\n",
        request.method, request.path
    );
    for (name, value) in request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = request.body.len();
    head.push_str(&format!(
        "Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ));
    stream.write_all(head.as_bytes())?;
    stream.write_all(request.body)?;
    stream.flush()?;
    read_response(&mut BufReader::new(stream))
}

fn read_response(stream: &mut impl BufRead) -> Result<Response> {
    let status_line = read_line(stream)?;
    let status = status_line.split(' ').nth(1).unwrap_or_default().parse()?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response {
        status,
        headers,
        body: Vec::new(),
    };
    if response.header("transfer-encoding") == Some("chunked") {
        read_chunks(stream, &mut response.body)?;
    } else if let Some(length) = response.header("content-length") {
        let length: u64 = length.parse()?;
        stream.take(length).read_to_end(&mut response.body)?;
    } else {
        stream.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> Result {
    loop {
        let line = read_line(stream)?;
        let size = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            return Ok(());
        }
        stream.by_ref().take(size).read_to_end(body)?;
        read_line(stream)?;
    }
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err("the connection ended within the answer".into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_lengths_are_kept() {
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let response = read_response(&mut chunked.as_bytes()).unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "abcde"));
        let sized = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno, and more";
        let response = read_response(&mut sized.as_bytes()).unwrap();
        assert_eq!((response.status, response.text().as_str()), (404, "no"));
    }
}
