//! What happens on a booted host, from the plugged stick to the removed appliance.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::disks::{Disks, stick};
use super::guest::{Extra, Guest, Said};
use crate::shell::{part, run, say};

/// Most commands that an installation may take.
const COMMANDS_MAX: usize = 5;
/// Most seconds, by the host's own clock, from the first command to the first green job.
const SECONDS_MAX: f64 = 300.0;

/// Where the appliance is for a developer's machine: the second network namespace.
const ADDRESS: &str = "https://bare:8470";
const REPO: &str = "lab/tasks-app";

const LONG: Duration = Duration::from_secs(600);

/// Runs in the tree of tools, in the network namespace of the developer's machine.
const IN_TREE: &str = "ip netns exec dev chroot /tools env HOME=/root GIT_TERMINAL_PROMPT=0";

/// Tells the whole story on Debian `suite`.
pub(super) fn tell(
    root: &Path,
    disks: &Disks,
    suite: &str,
    binary: &Path,
    image: &Path,
) -> Result<()> {
    let folder = root.join("target/hosts").join(format!("run-{suite}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let medium = folder.join("stick.img");
    let app = plain_app(root, &folder)?;
    part("fill the stick", || {
        let content = [
            (binary, "cofferdam-linux-x86_64"),
            (image, "debian.tar"),
            (app.as_path(), "tasks-app"),
        ];
        stick(&medium, 512, &content)
    })?;
    let extra = [
        Extra {
            name: "stick",
            file: &medium,
            read_only: true,
        },
        Extra {
            name: "tools",
            file: disks.tools(),
            read_only: false,
        },
    ];
    let guest = Guest::boot(&disks.host(suite), &folder, &extra)?;
    let mut story = Story {
        guest,
        typed: Vec::new(),
        token: String::new(),
    };
    let told = story.all(binary);
    if told.is_err() {
        story.last_words();
    }
    told?;
    story.guest.shut_down()
}

/// The application with a workflow that needs nothing but the image: this stick brings no packages.
fn plain_app(root: &Path, folder: &Path) -> Result<PathBuf> {
    let app = folder.join("tasks-app");
    let source = root.join("appliance/tasks-app");
    run(Command::new("cp").arg("-r").arg(source).arg(&app))?;
    let path = app.join(".github/workflows/ci.yml");
    let text = std::fs::read_to_string(&path)?;
    let (head, rest) = text
        .split_once("      - name: Install\n")
        .context("the workflow installs nothing")?;
    let (_, test) = rest
        .split_once("      - name: Test\n")
        .context("the workflow tests nothing")?;
    let test = test.replacen("pytest -q", "python -m unittest -v", 1);
    std::fs::write(&path, format!("{head}      - name: Test\n{test}"))?;
    Ok(app)
}

/// One machine, and what a person has typed on it.
struct Story {
    guest: Guest,
    typed: Vec<(String, f64)>,
    token: String,
}

impl Story {
    fn all(&mut self, binary: &Path) -> Result<()> {
        self.is_bare()?;
        self.plug_in_a_developer()?;
        part("install, as a person does", || self.install(binary))?;
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
        self.typed.push((line.to_owned(), said.seconds));
        if said.code != 0 {
            bail!("`{line}` ended with {}:\n{}", said.code, said.text);
        }
        Ok(said)
    }

    fn install(&mut self, binary: &Path) -> Result<()> {
        let paper = crate::hosts::sha256_of(binary)?;
        let stick = "/dev/disk/by-id/virtio-stick";
        self.type_in(&format!("mount -o ro {stick} /media"), LONG)?;
        self.type_in("cp /media/cofferdam-linux-x86_64 /root/cofferdam", LONG)?;
        let sum = self.type_in("sha256sum /root/cofferdam", LONG)?;
        if !sum.text.starts_with(&paper) {
            bail!("the copy is not what the paper says: {}", sum.text);
        }
        let done = self.type_in("/root/cofferdam install", LONG)?;
        println!("{}", done.text);
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
            .ok(&format!("echo {password} > /tools/root/password"))?;
        self.guest
            .ok_within("cofferdam image import /media/debian.tar", LONG)
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
        self.guest
            .ok("cp -r /media/tasks-app /tools/root/app && umount /media")?;
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
        println!("{}", pushed.text);
        self.verdict(0)
    }

    /// Waits for the newest run; its exit code must be `code`.
    fn verdict(&mut self, code: i32) -> Result<()> {
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
        println!("{receipt}");
        let jobs = self
            .guest
            .ok("ls /sys/fs/cgroup/system.slice/cofferdam-launcher.service/ | grep -c '^jails$'")?;
        if jobs != "1" {
            bail!("the jobs do not live in the launcher's delegated control group");
        }
        self.guest
            .ok("cofferdam doctor")
            .map(|text| println!("{text}"))
    }

    /// A second install, a killed launcher, a restart of the host's unit: all as before.
    fn again(&mut self) -> Result<()> {
        let again = self.guest.ok_within("cofferdam install", LONG)?;
        if again.contains("with the password") {
            bail!("a second install made a second administrator:\n{again}");
        }
        self.guest.ok(
            "kill -9 $(systemctl show -p MainPID --value cofferdam-launcher) && \
             timeout 100 sh -c 'until systemctl -q is-active cofferdam-launcher && \
             cofferdam run dispatch lab/tasks-app ci.yml; do sleep 1; done'",
        )?;
        self.verdict(0)
    }

    fn uninstall(&mut self) -> Result<()> {
        let gone = self.guest.ok_within("/root/cofferdam uninstall", LONG)?;
        println!("{gone}");
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
            "journalctl --no-pager -n 60 -u cofferdam -u cofferdam-launcher; ps axf | tail -30",
            Duration::from_secs(60),
        );
        match asked {
            Ok(said) => println!("{}", said.text),
            Err(error) => println!("the host says nothing more: {error:#}"),
        }
        say(&format!(
            "its logs are in {}",
            self.guest.folder().display()
        ));
    }
}
