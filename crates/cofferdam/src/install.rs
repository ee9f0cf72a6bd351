//! `cofferdam install`: from a medium and a paper to a serving appliance.
//!
//! Everything that can be refused is refused before the first change. Each step finds its own work
//! done or does it, so that a killed install is completed by running it again.

pub(crate) mod accounts;
pub(crate) mod background;
pub(crate) mod confine;
mod gate;
pub(crate) mod look;
pub(crate) mod place;
mod program;
mod ready;
pub(crate) mod record;
mod settings;
mod uninstall;
pub(crate) mod units;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use vocab::{Digest, Stopwatch};

use crate::cli::{Global, Install};
use crate::config::Config;
use crate::{output, tls};
use accounts::Account;
use place::Place;
use record::Record;

pub(crate) use uninstall::run as uninstall;

/// The port where nobody says another.
const PORT: u16 = 8470;

/// The port of SSH where nobody says another.
const SSH_PORT: u16 = 2222;

/// Says each step when it is done, with its time.
struct Steps {
    json: bool,
    done: Vec<Value>,
}

impl Steps {
    fn run<T>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<(T, String)>,
    ) -> anyhow::Result<T> {
        let watch = Stopwatch::start();
        let (value, said) = work().with_context(|| format!("failed: {name}"))?;
        let seconds = watch.elapsed().as_secs_f64();
        if !self.json {
            output::line(&format!("✓ {name}: {said} ({seconds:.1} s)"));
        }
        self.done
            .push(json!({ "step": name, "said": said, "seconds": seconds }));
        Ok(value)
    }
}

/// What was asked for, checked.
struct Plan {
    place: Place,
    data: PathBuf,
    listen: SocketAddr,
    ssh_listen: SocketAddr,
    /// Every name and address that clients use; the first stands in addresses.
    names: Vec<String>,
    host: String,
    program: Digest,
}

pub(crate) fn run(global: &Global, args: &Install) -> anyhow::Result<ExitCode> {
    let mut steps = Steps {
        json: global.json,
        done: Vec::new(),
    };
    let plan = Plan::check(global, args)?;
    let bundle = verify(&mut steps, &plan, args)?;
    let place = &plan.place;

    let changed = steps.run("program", || {
        program::place(place, &plan.program, bundle.as_ref())
    })?;
    let account = steps.run("user and ids", || {
        let slots = crate::cmd::usual_slots();
        let account = accounts::ensure(place, &plan.data, slots)?;
        let said = format!(
            "{} is {}:{}, jobs have ids from {}",
            accounts::NAME,
            account.uid,
            account.gid,
            account.first_id
        );
        Ok((account, said))
    })?;
    steps.run("data directory", || plan.make_data(account))?;
    steps.run("certificate", || plan.certify(args, account))?;
    steps.run("guards of the host", || {
        let program = fs::canonicalize(place.program()).context("cannot find the program")?;
        let told = confine::tell(place, &program, &plan.program.hex())?;
        let said = match told.is_empty() {
            true => "none that need to be told".to_owned(),
            false => told.join("; "),
        };
        Ok(((), said))
    })?;
    start(&mut steps, &plan, args, changed)?;
    let password = match args.no_start {
        true => None,
        false => steps.run("first administrator", || ready::administrator(&plan.data))?,
    };
    if let (Some(bundle), Some(from), false) = (&bundle, &args.from, args.no_start) {
        steps.run("import", || {
            ready::import(&plan.data, from, &bundle.fingerprint)
        })?;
    }
    let told = finish(&plan, bundle.as_ref(), password.as_deref())?;
    if global.json {
        output::json(&json!({ "steps": steps.done, "installed": told }));
    } else {
        tell(&told);
    }
    Ok(ExitCode::SUCCESS)
}

/// Where SSH is served beside pages at `listen`: a free port where theirs is one.
fn ssh_beside(listen: SocketAddr) -> SocketAddr {
    let port = match listen.port() {
        0 => 0,
        _ => SSH_PORT,
    };
    SocketAddr::new(listen.ip(), port)
}

fn verify(steps: &mut Steps, plan: &Plan, args: &Install) -> anyhow::Result<Option<gate::Cleared>> {
    let Some(from) = &args.from else {
        return Ok(None);
    };
    let fingerprint = gate::fingerprint(args.root_fingerprint.as_deref())?;
    let cleared = steps.run("bundle", || {
        let cleared = gate::clear(from, &fingerprint, &plan.host, &plan.program, &plan.data)?;
        let manifest = &cleared.verified.manifest;
        let signers: Vec<&str> = cleared
            .verified
            .signers
            .iter()
            .map(|signer| signer.name.as_str())
            .collect();
        let said = format!(
            "{} {} number {}, signed by {}{}",
            manifest.product,
            manifest.channel,
            manifest.seq,
            signers.join(" and "),
            match cleared.holds_program {
                true => "; this program is the one in it",
                false => "; it holds no program to compare this one with",
            }
        );
        Ok((cleared, said))
    })?;
    Ok(Some(cleared))
}

impl Plan {
    /// Refuses what cannot work. Changes nothing.
    fn check(global: &Global, args: &Install) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("installing makes a user and units; run this as root");
        }
        let place = Place::new(&args.prefix);
        if !global.data.is_absolute() {
            bail!("--data {} must begin with a slash", global.data.display());
        }
        let data = place.of(&global.data);
        if let Some(record) = Record::load(&place)?
            && record.data != data
        {
            bail!(
                "this host's appliance has its data in {}; install again without --data, or \
                 uninstall first",
                record.data.display()
            );
        }
        if data.exists() && !data.join("name").exists() && has_entries(&data)? {
            bail!(
                "{} is no data directory and not empty; name another with --data",
                data.display()
            );
        }
        let kernel_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = kernel_name.trim().to_owned();
        let mut names = args.names.clone();
        for name in &names {
            if name.parse::<std::net::IpAddr>().is_err() && !tls::is_name(name) {
                bail!("--name {name} is neither a host's name nor an address");
            }
        }
        if tls::is_name(&host) && !names.contains(&host) {
            names.push(host.clone());
        }
        if names.is_empty() {
            names.push("localhost".to_owned());
        }
        if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
            tls::check(cert, key)?;
        }
        let listen = args
            .listen
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], PORT)));
        let bytes = fs::read("/proc/self/exe").context("cannot read this program's own file")?;
        Ok(Self {
            data,
            listen,
            ssh_listen: args.ssh_listen.unwrap_or_else(|| ssh_beside(listen)),
            names,
            host,
            program: Digest::of(&bytes),
            place,
        })
    }

    /// Makes it, the appliance's user's own, with settings that fit this installation.
    fn make_data(&self, account: Account) -> anyhow::Result<((), String)> {
        let data = &self.data;
        let known = data.join("name").exists();
        let made_data = match Record::load(&self.place)? {
            Some(record) => record.made_data,
            None => !known,
        };
        place::make_dir(data)?;
        let owner = fs::metadata(data)?.uid();
        if owner != account.uid {
            if known {
                bail!(
                    "{} belongs to user {owner}; give it to {} with `chown -R {}:{} {}`, then \
                     install again",
                    data.display(),
                    accounts::NAME,
                    account.uid,
                    account.gid,
                    data.display()
                );
            }
            chown(data, Some(account.uid), Some(account.gid))
                .with_context(|| format!("cannot give {} away", data.display()))?;
        }
        let record = Record {
            data: data.clone(),
            made_data,
        };
        record.save(&self.place)?;
        // What comes after the database, each start of the appliance completes.
        if !data.join("cofferdam.db").exists() {
            self.as_account(account, &["init", "--name", &self.host])?;
        }
        let path = data.join("config.toml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let before: Config =
            toml::from_str(&text).with_context(|| format!("cannot use {}", path.display()))?;
        let mut new = settings::set(&text, "runner", "first_id", &account.first_id.to_string());
        if before.web.public_url.is_none() {
            let listen = settings::quoted(&self.listen.to_string());
            new = settings::set(&new, "web", "listen", &listen);
            new = settings::set(
                &new,
                "web",
                "public_url",
                &settings::quoted(&self.address()),
            );
        }
        if before.ssh.listen.is_none() && before.web.public_url.is_none() {
            let listen = settings::quoted(&self.ssh_listen.to_string());
            new = settings::set(&new, "ssh", "listen", &listen);
        }
        if new != text {
            place::put(&path, new.as_bytes(), 0o644)?;
        }
        let said = format!(
            "{}{}",
            data.display(),
            if known { ", kept" } else { ", new" }
        );
        Ok(((), said))
    }

    /// Makes the certificate, or takes the site's.
    fn certify(&self, args: &Install, account: Account) -> anyhow::Result<((), String)> {
        if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
            // Only root can read the key, and only the appliance's user writes in its directory.
            let both = tls::check(cert, key)?;
            self.as_account_with(account, &["tls", "init", "--stdin"], &both)?;
            return Ok(((), "the site's own".to_owned()));
        }
        let mut words = vec!["tls", "init"];
        for name in &self.names {
            words.extend(["--name", name]);
        }
        self.as_account(account, &words)?;
        let said = format!("for {}, by an authority of its own", self.names.join(", "));
        Ok(((), said))
    }

    /// Runs the installed program as the appliance's user.
    fn as_account(&self, account: Account, words: &[&str]) -> anyhow::Result<()> {
        self.as_account_with(account, words, "")
    }

    /// As [`Plan::as_account`], with `input` on its standard input.
    fn as_account_with(&self, account: Account, words: &[&str], input: &str) -> anyhow::Result<()> {
        let program = self.place.program();
        let run = || -> std::io::Result<std::process::Output> {
            let mut child = Command::new(&program)
                .args(words)
                .arg("--data")
                .arg(&self.data)
                .env_clear()
                .current_dir("/")
                .uid(account.uid)
                .gid(account.gid)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        };
        let said = run().with_context(|| format!("cannot run {}", program.display()))?;
        if !said.status.success() {
            let why = String::from_utf8_lossy(&said.stderr);
            bail!("as user {}: {}", accounts::NAME, why.trim());
        }
        Ok(())
    }

    /// What people type.
    fn address(&self) -> String {
        let name = match self.names[0].parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => self.names[0].clone(),
        };
        match self.listen.port() {
            443 => format!("https://{name}"),
            port => format!("https://{name}:{port}"),
        }
    }
}

fn start(steps: &mut Steps, plan: &Plan, args: &Install, changed: bool) -> anyhow::Result<()> {
    let place = &plan.place;
    let systemd = place.has_systemd();
    let wrote = match systemd {
        true => steps.run("units", || {
            let config = Config::load(&plan.data)?;
            let wrote = units::write(place, &plan.data, config.web.listen.port())?;
            Ok((wrote, format!("{}, {}", units::SERVICE, units::LAUNCHER)))
        })?,
        false => false,
    };
    if args.no_start {
        return Ok(());
    }
    steps.run("start", || {
        let said = match systemd {
            true => {
                units::start(wrote || changed)?;
                "now and with the host".to_owned()
            }
            false => {
                let log = place.at("/var/log/cofferdam.log");
                place::make_dir(log.parent().unwrap_or(Path::new("/")))?;
                if changed {
                    background::stop(place)?;
                }
                let pid = background::start(place, &plan.data, &log)?;
                format!(
                    "as process {pid}; this host has no systemd, so let its own start-up run \
                     `cofferdam serve --data {}`",
                    plan.data.display()
                )
            }
        };
        Ok(((), said))
    })?;
    steps.run("ready", || {
        ready::wait(&plan.data)?;
        Ok(((), plan.address()))
    })
}

/// How people come in.
fn finish(
    plan: &Plan,
    bundle: Option<&gate::Cleared>,
    password: Option<&str>,
) -> anyhow::Result<Value> {
    let shown = tls::show(&plan.data, vocab::Clock::system().now())?;
    Ok(json!({
        "address": plan.address(),
        "data": plan.data,
        "authority": shown.authority,
        "authority_sha256": shown.authority_sha256,
        "administrator": password.map(|password| json!({ "name": "admin", "password": password })),
        "bundle": bundle.map(|bundle| bundle.verified.digest.hex()),
    }))
}

fn tell(told: &Value) {
    let word = |key: &str| output::text(told, key);
    output::line(&format!("\nCofferdam is at {}/", word("address")));
    if told["authority"].is_string() {
        output::line(&format!("  its authority: {}", word("authority")));
        output::line(&format!(
            "  also at {}/ca.crt, SHA-256 {}",
            word("address"),
            word("authority_sha256")
        ));
    }
    if let Some(password) = told["administrator"]["password"].as_str() {
        output::line(&format!(
            "  sign in as admin with the password {password}   (shown this once)"
        ));
    }
}

fn has_entries(dir: &Path) -> anyhow::Result<bool> {
    let mut entries =
        fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    Ok(entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lost+found")))
}
