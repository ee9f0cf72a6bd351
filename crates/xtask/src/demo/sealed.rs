//! The isolated host of the demonstration: a folder with a host's own files, and a network
//! namespace in which there is nothing but loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::carried::Carried;
use crate::shell::{part, run};

/// Where it serves, inside.
const ADDRESS: &str = "127.0.0.1:8470";
/// The network namespace.
const NETWORK: &str = "cofferdam-demo";

/// The host, with the appliance installed.
pub(crate) struct Sealed {
    root: PathBuf,
}

impl Sealed {
    /// Takes down what an earlier demonstration left behind.
    pub(crate) fn clear(root: &Path) -> Result<()> {
        let left = Self {
            root: root.to_owned(),
        };
        if left.program().is_file() {
            left.uninstall()?;
        }
        forget_network()
    }

    /// Compares the program with the paper, installs from the stick, and lets it import.
    pub(crate) fn install(folder: &Path, carried: &Carried) -> Result<Self> {
        let root = folder.join("host");
        part("a host with no network: only loopback", || {
            forget_network()?;
            run(Command::new("ip").args(["netns", "add", NETWORK]))?;
            run(Command::new("ip").args(["-n", NETWORK, "link", "set", "lo", "up"]))?;
            make_host(&root)
        })?;
        let host = Self { root };
        let program = folder.join("cofferdam");
        part(
            "copy the program from the stick; compare it with the paper",
            || {
                fs::copy(carried.stick.join("cofferdam-linux-x86_64"), &program)?;
                run(Command::new("chmod").arg("+x").arg(&program))?;
                run(Command::new("sha256sum").arg(&program))
            },
        )?;
        part("cofferdam install --from the stick", || {
            run(host
                .inside(program)
                .args(["install", "--listen", ADDRESS, "--name", "127.0.0.1"])
                .args(["--root-fingerprint", &carried.fingerprint])
                .arg("--from")
                .arg(&carried.stick)
                .env("COFFERDAM_PREFIX", &host.root)
                .env_remove("COFFERDAM_DATA")
                .stdin(Stdio::null()))
        })?;
        part("cofferdam bundle history", || {
            let said = host.ok(&["bundle", "history"])?;
            print!("{said}");
            if !said.contains("active") {
                bail!("nothing was imported");
            }
            Ok(())
        })?;
        Ok(host)
    }

    /// Stops it and removes all of it.
    pub(crate) fn uninstall(&self) -> Result<()> {
        run(self
            .inside(self.program())
            .args(["uninstall", "--purge", "--yes"])
            .env("COFFERDAM_PREFIX", &self.root)
            .env_remove("COFFERDAM_DATA")
            .stdin(Stdio::null()))?;
        forget_network()
    }

    /// `program` in the host's network, and nothing else of it changed: `ip netns exec` would hide
    /// the control groups, in which jobs are held.
    pub(crate) fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{NETWORK}"))
            .arg("--")
            .arg(program);
        command
    }

    /// `cofferdam WORDS` on the host.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.inside(self.program());
        command
            .args(words)
            .env("COFFERDAM_DATA", self.data())
            .env_remove("COFFERDAM_SERVER")
            .env_remove("COFFERDAM_TOKEN")
            .stdin(Stdio::null());
        command
    }

    /// Runs `cofferdam WORDS`; its standard output, or an error with all it said.
    pub(crate) fn ok(&self, words: &[&str]) -> Result<String> {
        let output = self
            .command(words)
            .output()
            .context("cannot start nsenter")?;
        if !output.status.success() {
            bail!(
                "cofferdam {} ended with {}: {}",
                words.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Address and port, inside.
    pub(crate) fn address(&self) -> &'static str {
        ADDRESS
    }

    /// The network namespace's name.
    pub(crate) fn network(&self) -> &'static str {
        NETWORK
    }

    /// The certificate of the appliance's own authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.data().join("keys/tls/ca.crt")
    }

    fn data(&self) -> PathBuf {
        self.root.join("var/lib/cofferdam")
    }

    fn program(&self) -> PathBuf {
        self.root.join("opt/cofferdam/current/cofferdam")
    }
}

/// The files that an installation reads and writes on a bare host.
fn make_host(root: &Path) -> Result<()> {
    let etc = root.join("etc");
    fs::create_dir_all(&etc)?;
    for (name, text) in [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\n"),
        ("shadow", "root:*:1::::::\n"),
        ("subuid", ""),
        ("subgid", ""),
    ] {
        fs::write(etc.join(name), text)?;
    }
    Ok(())
}

fn forget_network() -> Result<()> {
    let there = Path::new("/run/netns").join(NETWORK);
    if there.exists() {
        run(Command::new("ip").args(["netns", "delete", NETWORK]))?;
    }
    Ok(())
}
