//! The launcher process: makes jails, answers for them, and takes them down.
//!
//! One thread and one event loop; nothing in it waits for a jail. Searching for what a jail left
//! is done by a short-lived child of its own.

mod listen;
mod make;
mod observe;
mod root;
mod sweep;
mod userns;

pub use listen::listen;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{WaitId, WaitIdOptions};

use crate::cgroup::{Cgroup, Hierarchy};
use crate::error::CreateError;
use crate::protocol::{FromWarden, Hello, ToLauncher, ToWarden};
use crate::slots::{Slot, Slots};
use crate::spec::{JailSpec, LauncherConfig};
use crate::wire::Channel;

/// Everything the launcher holds.
struct Server {
    config: LauncherConfig,
    channel: Channel,
    hierarchy: Hierarchy,
    slots: Slots,
    jails: Vec<Held>,
    sweeps: Vec<Sweep>,
    /// Inits that wait for a request.
    warm: Vec<make::Half>,
    /// Inode numbers of the namespaces that this process was started in, by kind.
    host: Vec<(&'static str, u64)>,
}

/// A live jail.
struct Held {
    slot: Slot,
    spec: JailSpec,
    warden: Channel,
    /// The init's end of this closes when the launcher does.
    setup: Channel,
    pid: i32,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    files: root::Files,
    layer: Option<PathBuf>,
    /// Set once the caller asked for the end or hung up.
    ending: bool,
    /// Set once its init has ended.
    dead: bool,
}

/// A child that searches for what a jail left; its slot is in use until then.
struct Sweep {
    slot: Slot,
    pidfd: OwnedFd,
}

/// What woke the loop.
enum Event {
    Main,
    Warden(usize),
    JailEnded(usize),
    SweepEnded(usize),
}

/// Serves on the socket until its other end closes. Never returns. With `settings` those count,
/// whatever the caller says: it may have fewer rights than this process.
pub(crate) fn run(channel: Channel, settings: Option<&LauncherConfig>) -> ! {
    // The terminal's Ctrl-C and a service manager's first word are for the caller, who drains;
    // this process ends when the caller hangs up. Without a terminal it has no session to leave.
    if let Err(e) = rustix::process::setsid()
        && e != rustix::io::Errno::PERM
    {
        crate::sys::say!("sandbox launcher: no session of its own: {e}");
    }
    crate::sys::ignore_polite_signals();
    let code = match serve(channel, settings) {
        Ok(()) => 0,
        Err(e) => {
            crate::sys::say!("sandbox launcher: {e}");
            70
        }
    };
    // Without the launcher no init lives on.
    std::process::exit(code);
}

fn serve(channel: Channel, settings: Option<&LauncherConfig>) -> io::Result<()> {
    let Some((ToLauncher::Hello(asked), _)) = channel.recv()? else {
        return Ok(());
    };
    let config = settings.cloned().unwrap_or(asked);
    let mut server = match Server::prepare(config, channel) {
        Ok(server) => server,
        Err((channel, why)) => return channel.send(&Hello::Refused(why), &[]),
    };
    server.channel.send(&Hello::Ready, &[])?;
    loop {
        let events = server.wait()?;
        if events.is_empty() && server.wants_warm() {
            server.warm_one();
        }
        for event in events {
            if !server.handle(event)? {
                server.end_all();
                return Ok(());
            }
        }
        server.forget_ended();
    }
}

impl Server {
    fn prepare(config: LauncherConfig, channel: Channel) -> Result<Self, (Channel, String)> {
        match prepare(&config) {
            Ok((hierarchy, slots, host)) => {
                let (jails, sweeps, warm) = (Vec::new(), Vec::new(), Vec::new());
                Ok(Self {
                    config,
                    channel,
                    hierarchy,
                    slots,
                    jails,
                    sweeps,
                    warm,
                    host,
                })
            }
            Err(why) => Err((channel, why)),
        }
    }

    /// The next events; none when there is nothing to do but to make an init ready.
    fn wait(&self) -> io::Result<Vec<Event>> {
        let mut polled = vec![PollFd::new(&self.channel, PollFlags::IN)];
        let mut meaning = vec![Event::Main];
        for (n, jail) in self.jails.iter().enumerate() {
            if !jail.ending {
                polled.push(PollFd::new(&jail.warden, PollFlags::IN));
                meaning.push(Event::Warden(n));
            }
            if !jail.dead {
                polled.push(PollFd::new(&jail.pidfd, PollFlags::IN));
                meaning.push(Event::JailEnded(n));
            }
        }
        for (n, sweep) in self.sweeps.iter().enumerate() {
            polled.push(PollFd::new(&sweep.pidfd, PollFlags::IN));
            meaning.push(Event::SweepEnded(n));
        }
        let at_once = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let limit = self.wants_warm().then_some(&at_once);
        match rustix::event::poll(&mut polled, limit) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
        let events = meaning
            .into_iter()
            .zip(ready)
            .filter(|(_, r)| *r)
            .map(|(m, _)| m);
        Ok(events.collect())
    }

    /// Whether to go on.
    fn handle(&mut self, event: Event) -> io::Result<bool> {
        match event {
            Event::Main => match self.channel.recv::<ToLauncher>()? {
                None => return Ok(false),
                Some((ToLauncher::Create { spec, layer }, fds)) => {
                    let mut fds = fds.into_iter();
                    if let (Some(warden), Some(init)) = (fds.next(), fds.next()) {
                        self.create(*spec, layer, warden.into(), init.into());
                    }
                }
                Some((ToLauncher::Hello(_), _)) => {}
            },
            Event::Warden(n) => self.answer(n),
            Event::JailEnded(n) => self.jails[n].has_ended(),
            Event::SweepEnded(n) => {
                let status = rustix::process::waitid(
                    WaitId::PidFd(self.sweeps[n].pidfd.as_fd()),
                    WaitIdOptions::EXITED,
                )?;
                let clean = status.is_some_and(|s| s.exit_status() == Some(0));
                if !clean {
                    let number = self.sweeps[n].slot.number;
                    self.slots.spoil(number);
                }
                self.sweeps[n].slot.number = u32::MAX;
            }
        }
        Ok(true)
    }

    fn create(
        &mut self,
        spec: JailSpec,
        layer: Option<crate::protocol::LayerDir>,
        warden: Channel,
        init: Channel,
    ) {
        let answer = match make::jail(self, spec, layer, init) {
            Ok(made) => {
                let held = made.into_held(warden);
                let created = FromWarden::Created {
                    slot: held.slot.number,
                    pid: u32::try_from(held.pid).unwrap_or(0),
                    id_base: held.slot.base,
                };
                if let Err(e) = held.warden.send(&created, &[]) {
                    // Its end of the channel reads as closed next, which ends the jail.
                    crate::sys::say!(
                        "sandbox launcher: a caller left before its jail was made: {e}"
                    );
                }
                self.jails.push(held);
                return;
            }
            Err(why) => FromWarden::NotCreated(why),
        };
        if let Err(e) = warden.send(&answer, &[]) {
            crate::sys::say!("sandbox launcher: a caller left before it was answered: {e}");
        }
    }

    fn answer(&mut self, n: usize) {
        let hierarchy = &self.hierarchy;
        let jail = &mut self.jails[n];
        let reply = match jail.warden.recv::<ToWarden>() {
            Ok(Some((ToWarden::Facts { pid }, _))) => match observe::facts(jail, &self.host, pid) {
                Ok(facts) => FromWarden::Facts(Box::new(facts)),
                Err(e) => FromWarden::Failed(format!("facts cannot be read: {e}")),
            },
            Ok(Some((ToWarden::Usage, _))) => FromWarden::Usage(observe::usage(jail)),
            Ok(Some((ToWarden::MarkOpaque { paths }, _))) => match jail.mark_opaque(&paths) {
                Ok(()) => FromWarden::Marked,
                Err(e) => FromWarden::Failed(format!("opaque directories: {e}")),
            },
            Ok(Some((ToWarden::Destroy, _)) | None) | Err(_) => {
                jail.end(hierarchy);
                return;
            }
        };
        if jail.warden.send(&reply, &[]).is_err() {
            jail.end(hierarchy);
        }
    }

    fn wants_warm(&self) -> bool {
        let wanted = usize::try_from(self.config.warm).unwrap_or(usize::MAX);
        let room = usize::try_from(self.slots.count()).unwrap_or(usize::MAX);
        self.warm.len() < wanted && self.jails.len() + self.sweeps.len() + self.warm.len() < room
    }

    /// Makes one more init ready; when that fails, no more are tried.
    fn warm_one(&mut self) {
        match make::half(self, &crate::spec::DefenceOff::default()) {
            Ok(half) => self.warm.push(half),
            Err(e) => {
                crate::sys::say!("sandbox launcher: no warm sandboxes from now on: {e}");
                self.config.warm = 0;
            }
        }
    }

    /// The caller is gone: ends every jail, reaps the inits and removes the groups.
    fn end_all(&mut self) {
        for half in self.warm.drain(..) {
            make::give_up(&half);
        }
        for jail in &mut self.jails {
            jail.end(&self.hierarchy);
        }
        for jail in self.jails.drain(..) {
            let reaped =
                rustix::process::waitid(WaitId::PidFd(jail.pidfd.as_fd()), WaitIdOptions::EXITED);
            if let Err(e) = reaped {
                crate::sys::say!("sandbox launcher: an init cannot be reaped: {e}");
            }
            for left in jail.cgroup.remove() {
                crate::sys::say!("sandbox launcher: control group {} is left", left.display());
            }
        }
    }

    /// Starts the search for each jail whose init has ended, and drops finished searches.
    fn forget_ended(&mut self) {
        self.sweeps.retain(|sweep| sweep.slot.number != u32::MAX);
        let mut at = 0;
        while at < self.jails.len() {
            if self.jails[at].ending && self.jails[at].dead {
                let held = self.jails.swap_remove(at);
                match sweep::start(held) {
                    Ok(sweep) => self.sweeps.push(sweep),
                    Err((slot, e)) => {
                        crate::sys::say!("sandbox launcher: a jail cannot be searched: {e}");
                        self.slots.spoil(slot.number);
                    }
                }
            } else {
                at += 1;
            }
        }
    }
}

impl Held {
    /// Ends every process of the jail; the search follows when its init is gone.
    fn end(&mut self, hierarchy: &Hierarchy) {
        self.ending = true;
        let usage = observe::usage(self);
        self.files.last_usage = Some(usage);
        let by_group = self.cgroup.kill();
        let by_pid = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
        if let (Err(e), Err(_)) = (by_group, by_pid) {
            crate::sys::say!(
                "sandbox launcher: a {} jail resists: {e}",
                hierarchy.version()
            );
        }
    }

    /// The init has ended. The caller learns it from init's closed channel, and may still ask for
    /// usage; the search waits until it asks for the end or hangs up.
    fn has_ended(&mut self) {
        self.dead = true;
        if self.files.last_usage.is_none() {
            self.files.last_usage = Some(observe::usage(self));
        }
    }

    fn mark_opaque(&self, paths: &[String]) -> io::Result<()> {
        let layer = self.layer.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
        root::mark_opaque(layer, paths)
    }
}

type Prepared = (Hierarchy, Slots, Vec<(&'static str, u64)>);

/// Checks the host and moves this process into a mount namespace of its own.
fn prepare(config: &LauncherConfig) -> Result<Prepared, String> {
    crate::probe::mandatory()?;
    crate::slots::check_host(std::path::Path::new("/etc"), config.id_base, config.slots)?;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |e: io::Error| format!("{what}: {e}")
    };
    let host = observe::host_namespaces().map_err(failed("the host's namespaces"))?;
    root::private_mounts(config).map_err(failed("the launcher's own mounts"))?;
    userns::keep_capabilities().map_err(failed("the launcher's own ids"))?;
    let hierarchy = Hierarchy::prepare(config.cgroup_parent.as_deref())
        .map_err(failed("control groups with memory and pids"))?;
    let slots = Slots::new(&config.state_dir, config.id_base, config.slots)
        .map_err(failed("the directory of slot locks"))?;
    hierarchy.sweep(|base| slots.free(base));
    Ok((hierarchy, slots, host))
}

/// A failed step of making a jail.
fn stage(what: &str) -> impl FnOnce(io::Error) -> CreateError + use<> {
    let stage = what.to_owned();
    move |e| CreateError::Stage {
        stage,
        why: e.to_string(),
    }
}
