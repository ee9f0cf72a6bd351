//! What happens on a booted host, from the plugged stick to the removed appliance.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::disks::Disks;
use super::guest::{Guest, Said, Stick, device};
use super::sticks::Sticks;
use crate::shell::{part, relay, say};

/// Most commands that an installation may take.
const COMMANDS_MAX: usize = 5;
/// Most seconds, by the host's own clock, from the first command to the first green job.
const SECONDS_MAX: f64 = 300.0;

/// Where the appliance is for a developer's machine: the second network namespace.
const ADDRESS: &str = "https://bare:8470";
pub(super) const REPO: &str = "lab/tasks-app";

/// A workflow that only looks around.
pub(super) const LOOK: &str = "look.yml";
const LOOK_TEXT: &str = "on: workflow_dispatch\\njobs:\\n  look:\\n    runs-on: debian-12\\n    \
                         steps:\\n      - run: uname -a\\n";

pub(super) const LONG: Duration = Duration::from_secs(600);

/// Runs in the tree of tools, in the network namespace of the developer's machine.
const IN_TREE: &str = "ip netns exec dev chroot /tools env HOME=/root GIT_TERMINAL_PROMPT=0";

/// Tells the whole story on Debian `suite`.
pub(super) fn tell(root: &Path, disks: &Disks, suite: &str, sticks: &Sticks) -> Result<()> {
    let folder = root.join("target/hosts").join(format!("run-{suite}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let beside = [("stick", &sticks.first), ("next", &sticks.next)];
    let beside = beside.map(|(name, file)| Stick { name, file });
    let guest = Guest::boot(&disks.host(suite), disks.tools(), &beside, &folder)?;
    let mut story = Story {
        guest,
        typed: Vec::new(),
        token: String::new(),
    };
    let told = story.all(sticks);
    if told.is_err() {
        story.last_words();
    }
    told?;
    story.guest.shut_down()
}

/// One machine, and what a person has typed on it.
pub(super) struct Story {
    pub(super) guest: Guest,
    typed: Vec<(String, f64)>,
    token: String,
}

impl Story {
    fn all(&mut self, sticks: &Sticks) -> Result<()> {
        self.is_bare()?;
        self.plug_in_a_developer()?;
        part("install from the stick, as a person does", || {
            self.install(sticks)
        })?;
        part("open the pages; make a repo and a token", || {
            self.open_pages()
        })?;
        part("push; the first job is green", || self.push_green())?;
        self.count()?;
        part("break a test; it is red; mend it", || self.red_and_green())?;
        part("what a job can reach", || self.proofs())?;
        part("restarts and a second install change nothing", || {
            self.again()
        })?;
        part("a second stick, pulled out half-way", || {
            self.next_bundle(sticks)
        })?;
        part("the next version; back; one that is bad", || {
            self.updates(sticks)
        })?;
        part(
            "units and files for the host's guards are well formed",
            || self.guards(),
        )?;
        part("uninstall; the data stays; install finds it", || {
            self.uninstall()
        })
    }

    /// Nothing that the appliance could lean on is there.
    fn is_bare(&mut self) -> Result<()> {
        self.guest.ok(
            "for p in git docker podman python3 curl cargo cofferdam; do ! command -v $p || exit 1; \
             done",
        )?;
        let links = self.guest.ok("ls /sys/class/net")?;
        if links != "lo" {
            bail!("the host has a network: {links}");
        }
        let what = self.guest.ok(
            ". /etc/os-release; echo $PRETTY_NAME, kernel $(uname -r), $(cat /sys/kernel/security/lsm)",
        )?;
        say(&what);
        Ok(())
    }

    /// A second network namespace with a tree of its own: the machine of a developer.
    fn plug_in_a_developer(&mut self) -> Result<()> {
        for line in [
            "mkdir -p /tools && mount /dev/disk/by-id/virtio-tools /tools",
            "mount -t proc proc /tools/proc && mount --bind /dev /tools/dev",
            "ip netns add dev && ip link add out type veth peer name in netns dev",
            "ip address add 10.9.0.1/24 dev out && ip link set out up",
            "ip -n dev address add 10.9.0.2/24 dev in && ip -n dev link set in up",
            "ip -n dev link set lo up",
            "echo '10.9.0.1 bare' >> /tools/etc/hosts",
        ] {
            self.guest.ok(line)?;
        }
        Ok(())
    }

    /// One command of a person, counted and timed.
    fn type_in(&mut self, line: &str, limit: Duration) -> Result<Said> {
        let said = self.guest.run(line, limit)?;
        self.noted(line, said)
    }

    fn noted(&mut self, line: &str, said: Said) -> Result<Said> {
        self.typed.push((line.to_owned(), said.seconds));
        if said.code != 0 {
            bail!("`{line}` ended with {}:\n{}", said.code, said.text);
        }
        Ok(said)
    }

    fn install(&mut self, sticks: &Sticks) -> Result<()> {
        self.guest.plug("stick")?;
        self.type_in(&format!("mount -o ro {} /media", device("stick")), LONG)?;
        let bundle = "/media/lab-stable-000001";
        let copy = format!("cp {bundle}/cofferdam-linux-x86_64 /root/cofferdam");
        self.type_in(&copy, LONG)?;
        let sum = self.type_in("sha256sum /root/cofferdam", LONG)?;
        if !sum.text.starts_with(&sticks.program_sha256) {
            bail!("the copy is not what the paper says: {}", sum.text);
        }
        let line = format!("/root/cofferdam install --from {bundle}");
        self.guest.begin(&line)?;
        self.guest.expect("from the paper: ", LONG)?;
        self.guest.type_line(&sticks.fingerprint)?;
        let done = self.guest.end(LONG)?;
        let done = self.noted(&line, done)?;
        relay(&done.text);
        self.guest
            .ok("systemctl is-active cofferdam cofferdam-launcher")?;
        let who = self.guest.ok("ps -ww -o user:20=,args= -C cofferdam")?;
        let serving = who.lines().find(|line| line.contains(" serve "));
        if !serving.is_some_and(|line| line.starts_with("cofferdam ")) {
            bail!("the appliance does not run as its own user:\n{who}");
        }
        // What the first administrator's page needs, as a person would note it down.
        let password = done
            .text
            .split("with the password ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .context("install showed no password")?;
        self.guest
            .ok(&format!("echo {password} > /tools/root/password"))
            .map(drop)
    }

    /// As a browser does it: the authority fetched and compared, then the forms.
    fn open_pages(&mut self) -> Result<()> {
        let curl = format!("{IN_TREE} curl --silent --show-error --fail --max-time 60");
        self.guest.ok(&format!(
            "{curl} --insecure -o /root/ca.crt {ADDRESS}/ca.crt && \
             cmp /tools/root/ca.crt /var/lib/cofferdam/keys/tls/ca.crt"
        ))?;
        let trusting = format!("{curl} --cacert /root/ca.crt");
        let page = self.guest.ok(&format!("{trusting} {ADDRESS}/sign-in"))?;
        if !page.contains("<html") {
            bail!("the page is none: {page}");
        }
        let stranger = format!("{curl} --cacert /etc/ssl/certs/ca-certificates.crt {ADDRESS}/");
        if self.guest.run(&stranger, LONG)?.code != 60 {
            bail!("a client that does not know the authority was let in");
        }
        let form =
            format!("{trusting} --cookie /root/jar --cookie-jar /root/jar -H 'Origin: {ADDRESS}'");
        self.guest.ok(&format!(
            "{form} -o /dev/null --data-urlencode name=admin \
             --data-urlencode password=$(cat /tools/root/password) {ADDRESS}/sign-in"
        ))?;
        self.guest.ok(&format!(
            "{form} -o /dev/null --data path={REPO} --data visibility=private {ADDRESS}/new"
        ))?;
        let page = self.guest.ok(&format!(
            "{form} --data name=laptop --data days=7 --data scope=repo:write \
             --data scope=run:write {ADDRESS}/tokens | grep 'id=\"made\"'"
        ))?;
        self.token = page
            .split("id=\"made\" tabindex=\"0\">")
            .nth(1)
            .and_then(|rest| rest.split('<').next())
            .context("the page shows no token")?
            .to_owned();
        Ok(())
    }

    fn push_green(&mut self) -> Result<()> {
        // FAT knows no modes: everything on the stick looks like a program.
        self.guest.ok(
            "cp -r /media/tasks-app /tools/root/app && umount /media && \
             find /tools/root/app -type f -exec chmod 644 {} +",
        )?;
        self.guest.pull("stick")?;
        let git = format!("{IN_TREE} git -C /root/app");
        self.guest.ok(&format!(
            "{git} init -q -b main && {git} config http.sslCAInfo /root/ca.crt && \
             {git} config user.name Dev && {git} config user.email dev@lab.example && \
             {git} remote add origin https://admin:{}@bare:8470/{REPO}.git && \
             {git} add -A && {git} commit -q -m 'A task list with tests'",
            self.token
        ))?;
        let pushed = self.type_in(&format!("{git} push -q origin main"), LONG)?;
        relay(&pushed.text);
        self.verdict(0)
    }

    /// Waits for the newest run; its exit code must be `code`.
    pub(super) fn verdict(&mut self, code: i32) -> Result<()> {
        let seen = self
            .guest
            .run(&format!("cofferdam run watch {REPO}"), LONG)?;
        self.typed
            .push(("(the run itself)".to_owned(), seen.seconds));
        if seen.code != code {
            bail!(
                "`run watch` ended with {}, not {code}:\n{}",
                seen.code,
                seen.text
            );
        }
        Ok(())
    }

    /// At most five commands and five minutes by the host's own clock.
    fn count(&mut self) -> Result<()> {
        let commands: Vec<&(String, f64)> = self
            .typed
            .iter()
            .filter(|(line, _)| !line.starts_with('('))
            .collect();
        let seconds: f64 = self.typed.iter().map(|(_, seconds)| seconds).sum();
        for (line, seconds) in &self.typed {
            say(&format!("{seconds:6.1} s  {}", line.replace(IN_TREE, "$")));
        }
        say(&format!(
            "{} commands, {seconds:.0} s by the host's clock, from the plugged stick to the first \
             green job",
            commands.len()
        ));
        if commands.len() > COMMANDS_MAX || seconds > SECONDS_MAX {
            bail!("that is more than {COMMANDS_MAX} commands or {SECONDS_MAX} s");
        }
        Ok(())
    }

    fn red_and_green(&mut self) -> Result<()> {
        let git = format!("{IN_TREE} git -C /root/app");
        // What later parts of the story start: a job that takes no time.
        self.guest.ok(&format!(
            "printf '{LOOK_TEXT}' > /tools/root/app/.github/workflows/{LOOK} && {git} add -A"
        ))?;
        for (from, to, code) in [("1", "2", 1), ("2", "1", 0)] {
            self.guest.ok(&format!(
                "sed -i 's/default=0) + {from}/default=0) + {to}/' /tools/root/app/tasks.py && \
                 {git} commit -q -a -m 'Count by {to}' && {git} push -q origin main"
            ))?;
            self.verdict(code)?;
        }
        Ok(())
    }

    /// The sandbox's own look around, and what a receipt says of a job that ran here.
    fn proofs(&mut self) -> Result<()> {
        let seen = self.guest.ok("cofferdam inspect | tail -1")?;
        if !seen.contains("were denied") {
            bail!("a job reached something: {seen}");
        }
        let receipt = self.guest.ok(&format!("cofferdam run show {REPO}"))?;
        relay(&receipt);
        let jobs = self
            .guest
            .ok("ls /sys/fs/cgroup/system.slice/cofferdam-launcher.service/ | grep -c '^jails$'")?;
        if jobs != "1" {
            bail!("the jobs do not live in the launcher's delegated control group");
        }
        let log = self.guest.ok(&format!("cofferdam run log {REPO}"))?;
        if !log.contains("Successfully installed") {
            bail!("the job installed no packages:\n{log}");
        }
        self.guest.ok("cofferdam doctor").map(|text| relay(&text))
    }

    /// A second install, a killed launcher, a restart of the host's unit: all as before.
    fn again(&mut self) -> Result<()> {
        let again = self.guest.ok_within("cofferdam install", LONG)?;
        if again.contains("with the password") {
            bail!("a second install made a second administrator:\n{again}");
        }
        self.guest.ok(&format!(
            "kill -9 $(systemctl show -p MainPID --value cofferdam-launcher) && \
             timeout 100 sh -c 'until systemctl -q is-active cofferdam-launcher && \
             cofferdam run dispatch {REPO} {LOOK}; do sleep 1; done'",
        ))?;
        self.verdict(0)
    }

    fn uninstall(&mut self) -> Result<()> {
        let gone = self.guest.ok_within("/root/cofferdam uninstall", LONG)?;
        relay(&gone);
        self.guest.ok(
            "! grep -q cofferdam /etc/passwd /etc/group /etc/shadow /etc/subuid /etc/subgid && \
             ! ls -d /opt/cofferdam /usr/local/bin/cofferdam /etc/systemd/system/cofferdam* \
             /run/cofferdam 2>/dev/null && ! pgrep -x cofferdam && \
             test -f /var/lib/cofferdam/cofferdam.db",
        )?;
        self.guest.ok_within("/root/cofferdam install", LONG)?;
        let runs = self.guest.ok(&format!("cofferdam run list {REPO}"))?;
        if !runs.contains("success") {
            bail!("the runs of before are gone:\n{runs}");
        }
        self.guest.begin("/root/cofferdam uninstall --purge")?;
        self.guest.expect("name (cofferdam): ", LONG)?;
        self.guest.type_line("cofferdam")?;
        let purged = self.guest.end(LONG)?;
        if purged.code != 0 {
            bail!(
                "`uninstall --purge` ended with {}: {}",
                purged.code,
                purged.text
            );
        }
        self.guest.ok("! test -e /var/lib/cofferdam").map(drop)
    }

    /// What the units logged, where something went wrong.
    fn last_words(&mut self) {
        let asked = self.guest.run(
            "journalctl --no-pager -n 60 -u 'cofferdam*'; cat /opt/cofferdam/update.json; ps axf | tail -30",
            Duration::from_secs(60),
        );
        match asked {
            Ok(said) => relay(&said.text),
            Err(error) => say(&format!("the host says nothing more: {error:#}")),
        }
        say(&format!(
            "its logs are in {}",
            self.guest.folder().display()
        ));
    }
}
