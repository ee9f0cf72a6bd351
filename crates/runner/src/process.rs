//! Watches one program from start to end: its output, its time, the wish to stop it.
//!
//! One poll waits for all of these; nothing is ever asked in turns. A program that must stop is
//! interrupted, then terminated, then everything in the sandbox is killed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vocab::Stopwatch;

use crate::cancel::Cancel;
use crate::executor::{ExecSpec, Exit, Process, Sandbox, SandboxError, Signal};
use crate::log::Log;
use crate::order::Grace;
use crate::output::{Asked, Stream};

/// Room in the pipe, so that a program that prints much is not stopped at every page.
const PIPE_BYTES: usize = 256 * 1024;
/// What is read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Pipes of earlier steps that are kept open for the programs they left behind.
const MOST_LINGERING: usize = 32;

/// Why a program had to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The step's own time is over.
    StepTimeout,
    /// The job's time is over.
    JobTimeout,
    /// The time for cleaning up is over.
    CleanupTimeout,
    /// Somebody asked.
    Cancelled(String),
}

/// The end of a program.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) exit: Exit,
    /// Set when it was asked to stop before it ended.
    pub(crate) stopped: Option<Stop>,
    pub(crate) asked: Asked,
}

/// When a program must stop at the latest, on the job's stopwatch.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Duration,
    pub(crate) why: Stop,
}

/// What the watch over all programs of a job needs.
pub(crate) struct Watch<'a> {
    pub(crate) sandbox: &'a dyn Sandbox,
    pub(crate) cancel: &'a Cancel,
    pub(crate) grace: Grace,
    pub(crate) since: Stopwatch,
    /// Output of programs that outlive the step that started them.
    pub(crate) lingering: Vec<Lingering>,
}

/// The output of a program that was left running.
#[derive(Debug)]
pub(crate) struct Lingering {
    reader: OwnedFd,
    stream: Stream,
}

/// How far the program has been asked to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pressure {
    None,
    Interrupted(Duration),
    Terminated(Duration),
    Killed,
}

impl Watch<'_> {
    /// Runs a program to its end. `heed_cancel` is false for what runs after a cancellation.
    pub(crate) fn run(
        &mut self,
        spec: &ExecSpec,
        stream: Stream,
        deadline: &Deadline,
        heed_cancel: bool,
        log: &mut Log<'_>,
    ) -> Result<Done, SandboxError> {
        let (reader, writer) = output_pipe().map_err(|e| SandboxError::Exec {
            program: spec.argv.first().cloned().unwrap_or_default(),
            reason: format!("no pipe for its output: {e}"),
        })?;
        let process = self.sandbox.exec(spec, writer)?;
        let mut run = Run {
            process,
            reader: Some(reader),
            stream,
            deadline,
            heed_cancel,
            pressure: Pressure::None,
            stopped: None,
        };
        while !self.turn(&mut run, log)? {}
        let exit = run.process.wait()?;
        self.leave(&mut run, log);
        Ok(Done {
            exit,
            stopped: run.stopped,
            asked: run.stream.asked,
        })
    }

    /// Waits for the next event and handles it; true when the program has ended.
    fn turn(&mut self, run: &mut Run<'_>, log: &mut Log<'_>) -> Result<bool, SandboxError> {
        let wait = self.press(run)?;
        let ready = self.wait(run, wait)?;
        for (at, linger) in self.lingering.iter_mut().enumerate() {
            if ready.lingering.contains(&at) && read_some(&linger.reader, &mut linger.stream, log) {
                linger.stream.finish(log);
                linger.stream = Stream::closed();
            }
        }
        self.lingering.retain(|l| !l.stream.is_closed());
        if ready.output
            && let Some(reader) = &run.reader
            && read_some(reader, &mut run.stream, log)
        {
            run.reader = None;
        }
        if ready.cancel && run.pressure == Pressure::None && run.heed_cancel {
            let reason = self.cancel.requested().unwrap_or_default();
            self.interrupt(run, Stop::Cancelled(reason))?;
        }
        Ok(ready.exit)
    }

    /// Raises the pressure when its time has come; returns how long to wait for the next rise.
    fn press(&self, run: &mut Run<'_>) -> Result<Option<Duration>, SandboxError> {
        let now = self.since.elapsed();
        let (rise, at) = match run.pressure {
            Pressure::None => (now >= run.deadline.at, run.deadline.at),
            Pressure::Interrupted(since) => {
                let at = since + self.grace.interrupt;
                (now >= at, at)
            }
            Pressure::Terminated(since) => {
                let at = since + self.grace.terminate;
                (now >= at, at)
            }
            Pressure::Killed => return Ok(None),
        };
        if !rise {
            return Ok(Some(at - now));
        }
        match run.pressure {
            Pressure::None => self.interrupt(run, run.deadline.why.clone())?,
            Pressure::Interrupted(_) => {
                run.process.signal(Signal::Terminate)?;
                run.pressure = Pressure::Terminated(now);
            }
            Pressure::Terminated(_) | Pressure::Killed => {
                run.process.signal(Signal::Kill)?;
                self.sandbox.kill_all()?;
                run.pressure = Pressure::Killed;
                return Ok(None);
            }
        }
        self.press(run)
    }

    fn interrupt(&self, run: &mut Run<'_>, why: Stop) -> Result<(), SandboxError> {
        run.process.signal(Signal::Interrupt)?;
        run.stopped = Some(why);
        run.pressure = Pressure::Interrupted(self.since.elapsed());
        Ok(())
    }

    fn wait(&self, run: &Run<'_>, most: Option<Duration>) -> Result<Ready, SandboxError> {
        let heed = run.heed_cancel && run.pressure == Pressure::None;
        let mut fds: Vec<BorrowedFd<'_>> = vec![run.process.exit_fd()];
        fds.extend(run.reader.as_ref().map(AsFd::as_fd));
        let cancel_at = fds.len();
        if heed {
            fds.push(self.cancel.fd());
        }
        let lingering_at = fds.len();
        fds.extend(self.lingering.iter().map(|l| l.reader.as_fd()));
        let mut polled: Vec<PollFd<'_>> = fds
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        wait_for_any(&mut polled, most)?;
        let hot = |at: usize| polled.get(at).is_some_and(|p| !p.revents().is_empty());
        Ok(Ready {
            exit: hot(0),
            output: run.reader.is_some() && hot(1),
            cancel: heed && hot(cancel_at),
            lingering: (lingering_at..polled.len())
                .filter(|at| hot(*at))
                .map(|at| at - lingering_at)
                .collect(),
        })
    }

    /// Takes what the program had printed when it ended. What its children print later is still
    /// read while the next steps run.
    fn leave(&mut self, run: &mut Run<'_>, log: &mut Log<'_>) {
        let Some(reader) = run.reader.take() else {
            run.stream.finish(log);
            return;
        };
        let mut left = PIPE_BYTES;
        let mut buffer = vec![0; CHUNK_BYTES];
        let closed = loop {
            match rustix::io::read(&reader, &mut buffer) {
                Ok(0) => break true,
                Ok(n) => {
                    run.stream.push(&buffer[..n], log);
                    left = left.saturating_sub(n);
                    if left == 0 {
                        break false;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break false,
                Err(_) => break true,
            }
        };
        let asked = std::mem::take(&mut run.stream.asked);
        if closed {
            run.stream.finish(log);
        } else if self.lingering.len() < MOST_LINGERING {
            let stream = std::mem::replace(&mut run.stream, Stream::closed());
            self.lingering.push(Lingering { reader, stream });
        } else {
            run.stream.finish(log);
        }
        run.stream.asked = asked;
    }

    /// The job is over and its programs are gone: takes the last of their output.
    pub(crate) fn finish(&mut self, log: &mut Log<'_>) {
        for mut linger in self.lingering.drain(..) {
            while !read_some(&linger.reader, &mut linger.stream, log) {
                let mut polled = [PollFd::new(&linger.reader, PollFlags::IN)];
                let ready = poll(
                    &mut polled,
                    Some(&Timespec {
                        tv_sec: 0,
                        tv_nsec: 0,
                    }),
                );
                if ready != Ok(1) {
                    break;
                }
            }
            linger.stream.finish(log);
        }
    }
}

struct Run<'a> {
    process: Box<dyn Process>,
    reader: Option<OwnedFd>,
    stream: Stream,
    deadline: &'a Deadline,
    heed_cancel: bool,
    pressure: Pressure,
    stopped: Option<Stop>,
}

struct Ready {
    exit: bool,
    output: bool,
    cancel: bool,
    lingering: Vec<usize>,
}

/// A pipe whose writer any user of the sandbox may open again by `/dev/stdout`.
fn output_pipe() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    // Only comfort: the pipe works with its usual size and owner too.
    let comfort = rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES)
        .and_then(|_| rustix::fs::fchmod(&writer, rustix::fs::Mode::from_raw_mode(0o622)));
    if let Err(error) = comfort {
        tracing::debug!(%error, "an output pipe stays as it was made");
    }
    Ok((reader, writer))
}

/// Reads once; true when the stream has ended.
fn read_some(reader: &OwnedFd, stream: &mut Stream, log: &mut Log<'_>) -> bool {
    let mut buffer = vec![0; CHUNK_BYTES];
    match rustix::io::read(reader, &mut buffer) {
        Ok(0) => true,
        Ok(n) => {
            stream.push(&buffer[..n], log);
            false
        }
        Err(Errno::INTR | Errno::AGAIN) => false,
        Err(_) => true,
    }
}

fn wait_for_any(polled: &mut [PollFd<'_>], most: Option<Duration>) -> Result<(), SandboxError> {
    let most = most.map(|most| Timespec {
        tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(most.subsec_nanos()),
    });
    match poll(polled, most.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(SandboxError::Gone {
            reason: format!("waiting for it failed: {e}"),
        }),
    }
}

/// Runs a small program of the runner's own and gives back what it printed, at most `limit` bytes.
pub(crate) fn capture(
    sandbox: &dyn Sandbox,
    spec: &ExecSpec,
    limit: usize,
    most: Duration,
) -> Result<(Exit, Vec<u8>), SandboxError> {
    let program = spec.argv.first().cloned().unwrap_or_default();
    let failed = |reason: String| SandboxError::Exec {
        program: program.clone(),
        reason,
    };
    let (reader, writer) = output_pipe().map_err(|e| failed(e.to_string()))?;
    let mut process = sandbox.exec(spec, writer)?;
    let watch = Stopwatch::start();
    let mut out = Vec::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut open = true;
    let mut ended = false;
    while open {
        match rustix::io::read(&reader, &mut buffer) {
            Ok(0) => open = false,
            Ok(n) => out.extend_from_slice(&buffer[..n.min(limit.saturating_sub(out.len()))]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if ended => open = false,
            Err(Errno::AGAIN) => {
                let left = most.saturating_sub(watch.elapsed());
                if left.is_zero() {
                    process.signal(Signal::Kill)?;
                    return Err(failed(format!("it took longer than {} s", most.as_secs())));
                }
                let mut polled = [
                    PollFd::from_borrowed_fd(process.exit_fd(), PollFlags::IN),
                    PollFd::new(&reader, PollFlags::IN),
                ];
                wait_for_any(&mut polled, Some(left))?;
                ended = !polled[0].revents().is_empty();
            }
            Err(e) => return Err(failed(e.to_string())),
        }
    }
    Ok((process.wait()?, out))
}
