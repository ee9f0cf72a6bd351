//! One emulated machine: booted, typed to on its console, its disks pulled and pushed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vocab::Stopwatch;

use super::disks::HostDisk;
use super::wire::Wire;
use crate::shell::say;

/// Longest that a boot may take on a busy machine.
const BOOT: Duration = Duration::from_secs(400);
/// Longest that a command may take that names no limit.
const USUAL: Duration = Duration::from_secs(120);

/// A machine that runs.
pub(super) struct Guest {
    child: Child,
    console: Wire,
    monitor: Wire,
    folder: PathBuf,
    number: u32,
}

/// What a command said on the console.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) text: String,
    /// By the machine's own clock.
    pub(super) seconds: f64,
}

/// A disk beside the machine's first one.
pub(super) struct Extra<'a> {
    pub(super) name: &'a str,
    pub(super) file: &'a Path,
    pub(super) read_only: bool,
}

impl Guest {
    /// Boots from `disk`, whose file stays as it is, and waits for its shell. `folder` holds its
    /// sockets and its log.
    pub(super) fn boot(disk: &HostDisk, folder: &Path, extra: &[Extra<'_>]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        for name in ["console.sock", "monitor.sock"] {
            let path = folder.join(name);
            if path.exists() {
                std::fs::remove_file(path)?;
            }
        }
        let mut command = Command::new("qemu-system-x86_64");
        command
            .current_dir(folder)
            .args([
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
                "-smp",
                "2",
                "-m",
                "3072",
            ])
            .args([
                "-nodefaults",
                "-display",
                "none",
                "-nic",
                "none",
                "-no-reboot",
            ])
            .arg("-kernel")
            .arg(&disk.kernel)
            .arg("-initrd")
            .arg(&disk.initrd)
            .args([
                "-append",
                "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0",
            ])
            .args([
                "-chardev",
                "file,id=log,path=serial.log",
                "-serial",
                "chardev:log",
            ])
            .args(["-device", "virtio-serial-pci", "-device", "virtio-rng-pci"])
            .args([
                "-chardev",
                "socket,id=shell,path=console.sock,server=on,wait=off",
            ])
            .args(["-device", "virtconsole,chardev=shell"])
            .args(["-qmp", "unix:monitor.sock,server=on,wait=off"]);
        drive(&mut command, "root", &disk.root, "snapshot=on,cache=unsafe");
        for disk in extra {
            let how = if disk.read_only {
                "readonly=on"
            } else {
                "snapshot=on,cache=unsafe"
            };
            drive(&mut command, disk.name, disk.file, how);
        }
        let watch = Stopwatch::start();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("emulator.log"))?)
            .spawn()
            .context("cannot start qemu-system-x86_64")?;
        // From here on a failure ends the machine: its guard is dropped.
        let mut guard = Guard(Some(child));
        let console = Wire::connect(&folder.join("console.sock"), "console")?;
        let mut monitor = Wire::connect(&folder.join("monitor.sock"), "monitor")?;
        monitor.until("\n", USUAL)?;
        monitor.send("{\"execute\":\"qmp_capabilities\"}\n")?;
        monitor.until("return", USUAL)?;
        let mut guest = Self {
            child: guard.0.take().context("the machine was started")?,
            console,
            monitor,
            folder: folder.to_owned(),
            number: 0,
        };
        guest.console.until("@@ready", BOOT).with_context(|| {
            format!(
                "it did not boot; see {}",
                folder.join("serial.log").display()
            )
        })?;
        say(&format!("booted in {} s", watch.elapsed().as_secs()));
        Ok(guest)
    }

    /// Runs one line in its shell to the end.
    pub(super) fn run(&mut self, line: &str, limit: Duration) -> Result<Said> {
        self.begin(line)?;
        self.end(limit)
            .with_context(|| format!("in the machine: {line}"))
    }

    /// Types one line; what it asks for can be awaited and typed.
    pub(super) fn begin(&mut self, line: &str) -> Result<()> {
        self.number += 1;
        // A terminal takes lines of up to 4,095 bytes.
        if line.len() > 3_800 {
            bail!("a line is too long for a terminal: {line}");
        }
        let n = self.number;
        self.console.send(&format!(
            "t=$EPOCHREALTIME; {{ {line}\n}} 2>&1; echo \"@\"@{n} $? $t $EPOCHREALTIME @@\n"
        ))
    }

    /// Waits until `words` are on the console.
    pub(super) fn expect(&mut self, words: &str, limit: Duration) -> Result<String> {
        self.console.until(words, limit)
    }

    /// Types `text` and the key Enter.
    pub(super) fn type_line(&mut self, text: &str) -> Result<()> {
        self.console.send(&format!("{text}\n"))
    }

    /// The end of what [`Guest::begin`] began.
    pub(super) fn end(&mut self, limit: Duration) -> Result<Said> {
        let mark = format!("@@{} ", self.number);
        let text = self.console.until(&mark, limit)?;
        let rest = self.console.until("@@", USUAL)?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [code, from, to, _] = words[..] else {
            bail!("the shell ended a command with {rest:?}");
        };
        let text = text.strip_suffix(&mark).unwrap_or(&text).replace('\r', "");
        Ok(Said {
            code: code.parse()?,
            text: text.trim().to_owned(),
            seconds: to.parse::<f64>()? - from.parse::<f64>()?,
        })
    }

    /// As [`Guest::run`]; what it said, or an error when it failed.
    pub(super) fn ok(&mut self, line: &str) -> Result<String> {
        self.ok_within(line, USUAL)
    }

    /// As [`Guest::ok`] with a limit of its own.
    pub(super) fn ok_within(&mut self, line: &str, limit: Duration) -> Result<String> {
        let said = self.run(line, limit)?;
        if said.code != 0 {
            bail!("`{line}` ended with {}:\n{}", said.code, said.text);
        }
        Ok(said.text)
    }

    /// Pulls a disk out, as a hand does: at once, whatever is being read.
    pub(super) fn pull(&mut self, name: &str) -> Result<()> {
        self.monitor.send(&format!(
            "{{\"execute\":\"device_del\",\"arguments\":{{\"id\":\"{name}\"}}}}\n"
        ))?;
        self.monitor.until("DEVICE_DELETED", USUAL).map(drop)
    }

    /// Asks the machine to shut down, and waits until it has.
    pub(super) fn shut_down(mut self) -> Result<()> {
        self.console.send("systemctl poweroff\n")?;
        self.monitor.until("SHUTDOWN", Duration::from_secs(200))?;
        self.child
            .wait()
            .context("the emulator did not end")
            .map(drop)
    }

    /// Where its log is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

/// Ends the emulator; one that has ended already is only reaped.
fn end(child: &mut Child) {
    if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
        say(&format!("the emulator was not ended: {error}"));
    }
}

fn drive(command: &mut Command, name: &str, file: &Path, how: &str) {
    command
        .arg("-drive")
        .arg(format!(
            "file={},format=raw,if=none,id={name}-file,{how}",
            file.display()
        ))
        .arg("-device")
        .arg(format!(
            "virtio-blk-pci,drive={name}-file,id={name},serial={name}"
        ));
}
