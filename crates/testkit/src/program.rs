//! A child process: its lines as events, its end, and its sure removal.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;

/// A running child. Dropping it kills and reaps it.
pub struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    last: VecDeque<String>,
}

impl Program {
    /// Starts `command` with its standard output read line by line; standard error stays as the
    /// command has it.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let output = child
            .stdout
            .take()
            .ok_or("the child has no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { break };
                // Nobody listens any more: keep draining, so that the child never blocks.
                drop(sender.send(String::from_utf8_lossy(&line).into_owned()));
            }
        });
        Ok(Self {
            name,
            child,
            lines,
            last: VecDeque::new(),
        })
    }

    /// The next line; an error when the output ended.
    pub fn line(&mut self) -> Result<String> {
        match self.lines.recv() {
            Ok(line) => {
                if self.last.len() == 20 {
                    self.last.pop_front();
                }
                self.last.push_back(line.clone());
                Ok(line)
            }
            Err(_) => {
                let status = self.child.wait()?;
                let said = self.last.iter().cloned().collect::<Vec<_>>().join("\n");
                Err(format!("{} ended with {status}; its last lines:\n{said}", self.name).into())
            }
        }
    }

    /// Reads on to the first line that `wanted` accepts.
    pub fn line_with(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        loop {
            let line = self.line()?;
            if wanted(&line) {
                return Ok(line);
            }
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` to this child only.
    pub fn signal(&self, signal: Signal) -> Result {
        let id = i32::try_from(self.child.id())?;
        let id = Pid::from_raw(id).ok_or("the child has no process id")?;
        Ok(kill_process(id, signal)?)
    }

    /// Kills it at once, as a crash would, and reaps it.
    pub fn kill(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Whether it ended already.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already reaped is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
