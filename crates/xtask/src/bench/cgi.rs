//! A web server for `git http-backend` alone: CGI over plain sockets, with nothing in between.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A server on a free port, for as long as this process lives.
pub(super) struct CgiServer {
    address: String,
}

impl CgiServer {
    /// Serves the repositories under `folder`.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let folder = folder.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let folder = folder.clone();
                std::thread::spawn(move || {
                    if let Err(error) = serve(&folder, &stream) {
                        eprintln!("xtask: a connection to C git broke off: {error:#}");
                    }
                });
            }
        });
        Ok(Self { address })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Answers requests until the client closes.
fn serve(folder: &Path, stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader)? {
        answer(folder, &request, &mut writer)?;
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        bail!("no request line: {line:?}");
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        request
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if request.header("transfer-encoding") == Some("chunked") {
        read_chunks(reader, &mut request.body)?;
    } else if let Some(length) = request.header("content-length") {
        let length: u64 = length.parse()?;
        reader.take(length).read_to_end(&mut request.body)?;
    }
    Ok(Some(request))
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16)?;
        reader.by_ref().take(size).read_to_end(body)?;
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn answer(folder: &Path, request: &Request, writer: &mut impl Write) -> Result<()> {
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "dev")
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env(
            "CONTENT_TYPE",
            request.header("content-type").unwrap_or_default(),
        );
    for (name, variable) in [
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = request.header(name) {
            command.env(variable, value);
        }
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start git http-backend")?;
    let mut input = child
        .stdin
        .take()
        .context("the child has no standard input")?;
    let output = child
        .stdout
        .take()
        .context("the child has no standard output")?;
    std::thread::scope(|scope| {
        // The backend may answer before it has read everything.
        scope.spawn(move || drop(input.write_all(&request.body)));
        relay(BufReader::with_capacity(1 << 16, output), writer)
    })?;
    child.wait()?;
    Ok(())
}

/// The backend's headers and body as an HTTP answer in chunks.
fn relay(mut output: impl BufRead, writer: &mut impl Write) -> Result<()> {
    let mut status = "200 OK".to_owned();
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if output.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        match line.strip_prefix("Status: ") {
            Some(value) => value.trim().clone_into(&mut status),
            None => head.push_str(&line),
        }
    }
    let mut first =
        format!("HTTP/1.1 {status}\r\n{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    loop {
        let bytes = output.fill_buf()?;
        let count = bytes.len();
        first.extend_from_slice(format!("{count:x}\r\n").as_bytes());
        first.extend_from_slice(bytes);
        first.extend_from_slice(b"\r\n");
        writer.write_all(&first)?;
        first.clear();
        if count == 0 {
            return Ok(());
        }
        output.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::git::{self, Tree};

    #[test]
    fn stock_git_pushes_to_it_and_clones_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let bare = folder.path().join("a.git");
        git::run(
            folder.path(),
            &["init", "-q", "--bare", bare.to_str().unwrap()],
        )
        .unwrap();
        git::run(&bare, &["config", "http.receivepack", "true"]).unwrap();
        let server = CgiServer::start(folder.path()).unwrap();
        let url = format!("http://{}/a.git", server.address());
        let tree = Tree::init(&folder.path().join("tree")).unwrap();
        tree.write("a", "text").unwrap();
        let commit = tree.commit("first").unwrap();
        tree.push(&url, "HEAD:main").unwrap();
        git::run(folder.path(), &["clone", "-q", &url, "copy"]).unwrap();
        let head = git::run(&folder.path().join("copy"), &["rev-parse", "HEAD"]).unwrap();
        assert_eq!(head.trim(), commit);
    }
}
