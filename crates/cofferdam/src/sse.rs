//! Reads server-sent events from a response body, one at a time.
//!
//! Source: WHATWG HTML, "Server-sent events".

use anyhow::Context;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    /// Its name; `message` where none was given.
    pub(crate) name: String,
    /// Its data, JSON throughout this API.
    pub(crate) data: Value,
}

/// The events of one response.
pub(crate) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    /// Reads `body` as events.
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            body,
            buffer: Vec::new(),
        }
    }

    /// The next event, `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(event) = parse(&String::from_utf8_lossy(&block))? {
                    return Ok(Some(event));
                }
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame.context("the server broke off")?.into_data() {
                self.buffer
                    .extend(data.iter().filter(|byte| **byte != b'\r'));
            }
        }
    }
}

/// One block of lines; `None` for a comment that only keeps the connection alive.
fn parse(block: &str) -> anyhow::Result<Option<Event>> {
    let mut name = "message".to_owned();
    let mut data = String::new();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => {
                if !data.is_empty() {
                    data.push('\n');
                }
                data.push_str(value);
            }
            _ => {}
        }
    }
    if data.is_empty() {
        return Ok(None);
    }
    let data = serde_json::from_str(&data).context("an event of the server is not JSON")?;
    Ok(Some(Event { name, data }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_comments_are_not() {
        assert!(parse(": keep\n\n").unwrap().is_none());
        let event = parse("event: run\nid: 7\ndata: {\"a\":\ndata: 1}\n\n")
            .unwrap()
            .unwrap();
        assert_eq!((event.name.as_str(), &event.data["a"]), ("run", &1.into()));
    }
}
