//! The smallest HTTP/1.1 server that git clients talk to: keep-alive, chunked and gzip bodies,
//! `Expect: 100-continue`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use git::{Protocol, Service, Transport};

use super::{Result, State};

pub(super) fn listen(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            if let Err(e) = serve(&stream, &state) {
                eprintln!("test server: {e}");
            }
        });
    }
}

struct Request {
    method: String,
    path: String,
    query: String,
    protocol: Option<String>,
    chunked: bool,
    length: u64,
    gzip: bool,
    expects: bool,
}

fn read_head(input: &mut dyn BufRead) -> Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut parts = line.split_whitespace();
    let method = parts.next().ok_or("no method")?.to_owned();
    let target = parts.next().ok_or("no target")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        protocol: None,
        chunked: false,
        length: 0,
        gzip: false,
        expects: false,
    };
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let line = line.trim_end();
        let Some((key, value)) = line.split_once(':') else {
            return Ok(Some(request));
        };
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "git-protocol" => request.protocol = Some(value.to_owned()),
            "transfer-encoding" => request.chunked = value.eq_ignore_ascii_case("chunked"),
            "content-length" => request.length = value.parse()?,
            "content-encoding" => request.gzip = value.eq_ignore_ascii_case("gzip"),
            "expect" => request.expects = true,
            _ => {}
        }
    }
}

/// A request body in chunks.
struct Chunked<'a> {
    input: &'a mut dyn BufRead,
    left: u64,
    done: bool,
}

impl Read for Chunked<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.done {
            return Ok(0);
        }
        if self.left == 0 {
            let mut line = String::new();
            self.input.read_line(&mut line)?;
            if line.trim().is_empty() {
                line.clear();
                self.input.read_line(&mut line)?;
            }
            self.left = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            if self.left == 0 {
                self.done = true;
                let mut end = String::new();
                self.input.read_line(&mut end)?;
                return Ok(0);
            }
        }
        let room = buf
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.input.read(&mut buf[..room])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

fn serve(stream: &TcpStream, state: &State) -> Result {
    let mut input = BufReader::new(stream);
    let mut out = stream;
    while let Some(request) = read_head(&mut input)? {
        if request.expects {
            out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let (status, kind, answer) = {
            let mut body: Box<dyn Read> = if request.chunked {
                Box::new(Chunked {
                    input: &mut input,
                    left: 0,
                    done: false,
                })
            } else {
                Box::new((&mut input).take(request.length))
            };
            let answered = if request.gzip {
                answer(
                    state,
                    &request,
                    &mut flate2::read::MultiGzDecoder::new(&mut body),
                )
            } else {
                answer(state, &request, &mut body)
            };
            // What a handler left unread would be taken for the next request.
            io::copy(&mut body, &mut io::sink())?;
            match answered {
                Ok((kind, answer)) => ("200 OK", kind, answer),
                Err(e) => (
                    "500 Internal Server Error",
                    "text/plain".to_owned(),
                    e.to_string().into_bytes(),
                ),
            }
        };
        write!(
            out,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nCache-Control: no-cache\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        )?;
        out.write_all(&answer)?;
    }
    Ok(())
}

fn answer(state: &State, request: &Request, body: &mut dyn Read) -> Result<(String, Vec<u8>)> {
    let path = request.path.trim_start_matches('/');
    let (name, verb) = path.split_once('/').ok_or("no such page")?;
    let repo = state.repo(name)?;
    let upload = state
        .upload
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let receive = state
        .receive
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let protocol = Protocol::from_header(request.protocol.as_deref());
    let mut out = Vec::new();
    match (request.method.as_str(), verb) {
        ("GET", "info/refs") => {
            let service = request.query.strip_prefix("service=").ok_or("no service")?;
            let service = Service::from_name(service).ok_or("unknown service")?;
            git::advertise(&repo, service, protocol, Transport::Http, &upload, &mut out)?;
            Ok((
                format!("application/x-{}-advertisement", service.name()),
                out,
            ))
        }
        ("POST", "git-upload-pack") => {
            if let Err(e) = git::upload_pack(&repo, protocol, body, &mut out, &upload) {
                eprintln!("upload-pack: {e}");
            }
            Ok(("application/x-git-upload-pack-result".to_owned(), out))
        }
        ("POST", "git-receive-pack") => {
            match git::receive_pack(&repo, body, &receive, &mut |_| {}) {
                Ok(mut received) => {
                    received.commit()?;
                    received.write_report(&mut out, &["run 1 started".to_owned()])?;
                }
                Err(e) => e.write_report(&mut out)?,
            }
            Ok(("application/x-git-receive-pack-result".to_owned(), out))
        }
        _ => Err("no such page".into()),
    }
}

pub(super) fn post(address: SocketAddr, path: &str, body: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut input = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((key, value)) = line.split_once(':')
            && key.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut answer = vec![0; length];
    input.read_exact(&mut answer)?;
    Ok(answer)
}
