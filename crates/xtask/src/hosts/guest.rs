//! One emulated machine: booted, typed to on its console, its disks pulled and pushed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
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

/// A stick that can be plugged in and pulled out while the machine runs.
pub(super) struct Stick<'a> {
    pub(super) name: &'a str,
    pub(super) file: &'a Path,
}

/// What every stick gives in a second, as cheap ones do.
const STICK_BYTES_PER_SECOND: u64 = 40_000_000;

impl Guest {
    /// Boots from `disk`, whose file stays as it is like that of `tools`, and waits for its shell.
    /// `sticks` lie ready beside it; `folder` holds its sockets and its log.
    pub(super) fn boot(
        disk: &HostDisk,
        tools: &Path,
        sticks: &[Stick<'_>],
        folder: &Path,
    ) -> Result<Self> {
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
                "4096",
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
                // The second console is the test's; nobody else may ask for a name there.
                "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0 \
                 systemd.mask=serial-getty@hvc0.service",
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
        drive(&mut command, "root", &disk.root);
        drive(&mut command, "tools", tools);
        command.arg("-object").arg(format!(
            "throttle-group,id=port,x-bps-total={STICK_BYTES_PER_SECOND}"
        ));
        for stick in sticks {
            ready(&mut command, stick);
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

    /// Plugs a stick in, and waits until the machine has found it.
    pub(super) fn plug(&mut self, name: &str) -> Result<()> {
        let stick = json!({
            "driver": "virtio-blk-pci", "id": name, "serial": name,
            "drive": format!("{name}-port"),
        });
        self.tell("device_add", &stick)?;
        let device = device(name);
        self.ok(&format!(
            "timeout 60 sh -c 'until test -b {device}; do sleep 0.1; done'"
        ))
        .map(drop)
    }

    /// Pulls a stick out, as a hand does: at once, whatever is being read.
    pub(super) fn pull(&mut self, name: &str) -> Result<()> {
        self.tell("device_del", &json!({ "id": name }))?;
        self.monitor.until("DEVICE_DELETED", USUAL)?;
        self.monitor.until("\n", USUAL).map(drop)
    }

    /// Has the emulator do something, and waits for its answer.
    fn tell(&mut self, what: &str, arguments: &Value) -> Result<()> {
        self.number += 1;
        let id = format!("order-{}", self.number);
        let order = json!({ "execute": what, "arguments": arguments, "id": &id });
        self.monitor.send(&format!("{order}\n"))?;
        loop {
            let line = self.monitor.until("\n", USUAL)?;
            let said: Value = serde_json::from_str(line.trim()).unwrap_or_default();
            if said["id"] != id.as_str() {
                continue;
            }
            if said["error"].is_null() {
                return Ok(());
            }
            bail!("the emulator refuses {order}: {}", said["error"]["desc"]);
        }
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

/// Where the machine finds a stick.
pub(super) fn device(name: &str) -> String {
    format!("/dev/disk/by-id/virtio-{name}")
}

fn drive(command: &mut Command, name: &str, file: &Path) {
    command
        .arg("-drive")
        .arg(format!(
            "file={},format=raw,if=none,id={name}-file,snapshot=on,cache=unsafe",
            file.display()
        ))
        .arg("-device")
        .arg(format!(
            "virtio-blk-pci,drive={name}-file,id={name},serial={name}"
        ));
}

/// Lays a stick ready: nothing writes to it, and it outlives being pulled out.
fn ready(command: &mut Command, stick: &Stick<'_>) {
    let (name, file) = (stick.name, stick.file.display());
    command
        .arg("-blockdev")
        .arg(format!(
            "driver=raw,node-name={name}-raw,read-only=on,file.driver=file,file.filename={file}"
        ))
        .arg("-blockdev")
        .arg(format!(
            "driver=throttle,node-name={name}-port,throttle-group=port,read-only=on,\
             file={name}-raw"
        ));
}
