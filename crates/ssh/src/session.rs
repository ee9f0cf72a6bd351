//! One channel: waits for its command, then carries bytes between the client and whoever serves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::connection::Busy;
use crate::{Ended, GitCommand, GitVerb, Guest, Streams};

/// What may wait between the network and whoever serves, each way.
const PIPE_BYTES: usize = 256 << 10;
/// How much goes into one message of the protocol.
const CHUNK_BYTES: usize = 32 << 10;
/// How long a client that was answered may be silent before it has sent all it wanted to.
const LINGER: Duration = Duration::from_secs(10);
/// How long a client may go on sending what nobody wants any more.
const LINGER_MAX: Duration = Duration::from_secs(600);
/// The stream for words to a person.
const STDERR: u32 = 1;

/// What a channel is asked to do.
pub(crate) enum Start {
    /// Serve a command of git.
    Git {
        guest: Arc<dyn Guest>,
        command: GitCommand,
        protocol: Option<String>,
        busy: Busy,
    },
    /// Say something, and end.
    Say { words: String, status: u32 },
}

/// Works for one channel until it closes. Reads from the first moment on, so that no client can
/// make the connection wait for a channel that does nothing.
pub(crate) async fn run(
    channel: Channel<Msg>,
    mut start: oneshot::Receiver<Start>,
    stall: Duration,
) {
    let (mut read, write) = channel.split();
    let start = loop {
        tokio::select! {
            started = &mut start => break started,
            said = read.wait() => match said {
                None | Some(ChannelMsg::Close) => return,
                Some(_) => {}
            },
        }
    };
    let ended = match start {
        Err(_) => return,
        Ok(Start::Say { words, status }) => tell(&write, &Ended { status, words }).await,
        Ok(Start::Git {
            guest,
            command,
            protocol,
            busy,
        }) => {
            let served = serve(&mut read, &write, &*guest, command, protocol, stall).await;
            drop(busy);
            served
        }
    };
    if ended.is_err() || write.close().await.is_err() {
        tracing::debug!("the client of a channel went away");
    }
}

async fn serve(
    read: &mut ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
    guest: &dyn Guest,
    command: GitCommand,
    protocol: Option<String>,
    stall: Duration,
) -> Result<(), russh::Error> {
    let (to_input, input) = tokio::io::duplex(PIPE_BYTES);
    let (output, from_output) = tokio::io::duplex(PIPE_BYTES);
    let lingers = command.verb == GitVerb::ReceivePack;
    let work = guest.serve(command, protocol, Streams { input, output });
    let progress = Progress::default();
    let answering = async {
        let (ended, sent) = tokio::join!(work, send(from_output, write, &progress));
        sent?;
        tell(write, &ended).await?;
        if lingers {
            progress.until_all_is_sent().await;
        }
        Ok(())
    };
    // Whichever ends first drops the pipes, and with them whatever still works at their ends.
    tokio::select! {
        answered = answering => answered,
        () = feed(read, to_input, &progress) => Ok(()),
        () = progress.stopped_for(stall) => {
            tracing::info!("a command was given up: no byte went either way for too long");
            Ok(())
        }
    }
}

/// The last of a channel: words for the person, the exit status, the end.
async fn tell(write: &ChannelWriteHalf<Msg>, ended: &Ended) -> Result<(), russh::Error> {
    if !ended.words.is_empty() {
        let line = format!("{}\n", ended.words);
        write.extended_data_bytes(STDERR, line.into_bytes()).await?;
    }
    write.exit_status(ended.status).await?;
    write.eof().await
}

/// From whoever serves to the client, until there is no more.
async fn send(
    mut from: DuplexStream,
    to: &ChannelWriteHalf<Msg>,
    progress: &Progress,
) -> Result<(), russh::Error> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let n = from.read(&mut chunk).await?;
        if n == 0 {
            return Ok(());
        }
        to.data_bytes(Bytes::copy_from_slice(&chunk[..n])).await?;
        progress.made();
    }
}

/// From the client to whoever serves, until the client has closed the channel. What nobody reads
/// any more is dropped.
async fn feed(from: &mut ChannelReadHalf, to: DuplexStream, progress: &Progress) {
    let mut to = Some(to);
    loop {
        match from.wait().await {
            None | Some(ChannelMsg::Close) => return,
            Some(ChannelMsg::Data { data }) => {
                if let Some(pipe) = &mut to
                    && pipe.write_all(&data).await.is_err()
                {
                    to = None;
                }
                progress.made();
            }
            Some(ChannelMsg::Eof) => {
                to = None;
                progress.all_is_sent();
            }
            Some(_) => {}
        }
    }
}

/// Whether bytes move.
struct Progress {
    steps: watch::Sender<u64>,
    all_sent: watch::Sender<bool>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            steps: watch::Sender::new(0),
            all_sent: watch::Sender::new(false),
        }
    }
}

impl Progress {
    fn made(&self) {
        self.steps
            .send_modify(|steps| *steps = steps.wrapping_add(1));
    }

    fn all_is_sent(&self) {
        self.all_sent.send_replace(true);
    }

    /// Resolves once nothing has moved for `time`.
    async fn stopped_for(&self, time: Duration) {
        let mut steps = self.steps.subscribe();
        while timeout(time, steps.changed()).await.is_ok() {}
    }

    /// Resolves once the client has said that it sends no more, or is silent.
    async fn until_all_is_sent(&self) {
        let mut all_sent = self.all_sent.subscribe();
        let ended = async {
            tokio::select! {
                _ = all_sent.wait_for(|sent| *sent) => {}
                () = self.stopped_for(LINGER) => {}
            }
        };
        if timeout(LINGER_MAX, ended).await.is_err() {
            tracing::info!("the client of a push went on sending after its answer");
        }
    }
}
