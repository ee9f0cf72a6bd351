//! The disks of booted hosts: a bare Debian with its own kernel, the tools of the people around
//! it, and sticks. Kept until their recipe changes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::mirror::sources_for;
use crate::shell::{part, run, say};

/// Raised when this file makes another disk of the same recipe.
const FORMAT: &str = "3";

/// What a bare host has: an init, a kernel, its guard, and the tools to look at it.
const HOST_PACKAGES: &str =
    "systemd-sysv,udev,dbus,linux-image-amd64,apparmor,iproute2,kmod,passwd,procps,login,mount";

/// What a developer's machine has, in a tree of its own: nothing of it is on the host.
const TOOL_PACKAGES: &str = "git,curl,ca-certificates,python3-minimal,openssl";

/// Modules that the host's first file system is reached by.
const EARLY_MODULES: &str = "virtio_pci\\nvirtio_blk\\next4\\n";

const HOST_MIB: u64 = 12_288;
const TOOLS_MIB: u64 = 1_024;

/// Nobody reads manuals on a test host.
const LEAVE_OUT: [&str; 3] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
];

/// A root shell on the second console, for the test to type in.
const SHELL_UNIT: &str = "[Unit]\n\
    Description=A root shell on the second console\n\
    Wants=dev-hvc0.device\n\
    After=dev-hvc0.device\n\
    StartLimitIntervalSec=0\n\
    [Service]\n\
    Type=idle\n\
    Restart=always\n\
    RestartSec=1\n\
    ExecStart=/bin/bash -c 'stty -echo; echo; echo @@ready; exec env PS1= PS2= /bin/bash --noprofile --norc'\n\
    StandardInput=tty\n\
    StandardOutput=tty\n\
    StandardError=tty\n\
    TTYPath=/dev/hvc0\n\
    TTYReset=yes\n\
    Environment=TERM=dumb HOME=/root\n\
    Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
    SendSIGHUP=yes\n\
    TimeoutStopSec=5\n\
    Delegate=yes\n\
    [Install]\n\
    WantedBy=multi-user.target\n";

/// Timers that would work while the clock is being looked at.
const MASKED: [&str; 6] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
];

/// Every disk that the hosts need.
pub(super) struct Disks {
    folder: PathBuf,
    tools: PathBuf,
}

/// What one machine boots from.
pub(super) struct HostDisk {
    pub(super) root: PathBuf,
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
}

impl Disks {
    /// Builds what is missing for `suites`.
    pub(super) fn ensure(root: &Path, suites: &[&str]) -> Result<Self> {
        let folder = root.join("target/hosts");
        std::fs::create_dir_all(&folder)?;
        for suite in suites {
            ensure_host(&folder, suite)?;
        }
        let tools = ensure_tools(&folder)?;
        Ok(Self { folder, tools })
    }

    /// The disks of one machine.
    pub(super) fn host(&self, suite: &str) -> HostDisk {
        let folder = host_folder(&self.folder, suite);
        HostDisk {
            root: folder.join("root.img"),
            kernel: folder.join("vmlinuz"),
            initrd: folder.join("initrd"),
        }
    }

    /// The tree of tools.
    pub(super) fn tools(&self) -> &Path {
        &self.tools
    }
}

fn key(parts: &[&str]) -> String {
    hex::encode(Sha256::digest(parts.join("\0")))[..12].to_owned()
}

fn host_folder(folder: &Path, suite: &str) -> PathBuf {
    let parts = [FORMAT, suite, HOST_PACKAGES, EARLY_MODULES, SHELL_UNIT];
    folder.join(format!("{suite}-{}", key(&parts)))
}

fn ensure_host(folder: &Path, suite: &str) -> Result<()> {
    let done = host_folder(folder, suite);
    if done.is_dir() {
        return Ok(());
    }
    forget_older(folder, &format!("{suite}-"))?;
    let work = tempfile::tempdir_in(folder)?;
    let tree = work.path().join("tree");
    part(
        &format!("build a bare Debian {suite} (about a minute)"),
        || {
            // The first file system's modules and nothing more: a full initrd takes long to unpack.
            let early = format!(
                "mkdir -p \"$1/etc/initramfs-tools/conf.d\" \"$1/usr/share/initramfs-tools/modules.d\"; \
             echo MODULES=list > \"$1/etc/initramfs-tools/conf.d/host.conf\"; \
             printf '{EARLY_MODULES}' > \"$1/usr/share/initramfs-tools/modules.d/host\""
            );
            bootstrap(suite, HOST_PACKAGES, &tree, Some(&early))
        },
    )?;
    furnish(&tree)?;
    let made = work.path().join("made");
    std::fs::create_dir(&made)?;
    for (from, to) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd")] {
        let found = newest(&tree.join("boot"), from)?;
        std::fs::copy(found, made.join(to))?;
    }
    part("make its disk", || {
        file_system(&tree, &made.join("root.img"), HOST_MIB)
    })?;
    Ok(std::fs::rename(&made, &done)?)
}

fn ensure_tools(folder: &Path) -> Result<PathBuf> {
    let done = folder.join(format!("tools-{}.img", key(&[FORMAT, TOOL_PACKAGES])));
    if done.is_file() {
        return Ok(done);
    }
    forget_older(folder, "tools-")?;
    let work = tempfile::tempdir_in(folder)?;
    let tree = work.path().join("tree");
    part("build a developer's tree (about a minute)", || {
        bootstrap("bookworm", TOOL_PACKAGES, &tree, None)
    })?;
    let made = work.path().join("tools.img");
    file_system(&tree, &made, TOOLS_MIB)?;
    std::fs::rename(&made, &done)?;
    Ok(done)
}

fn bootstrap(suite: &str, packages: &str, tree: &Path, hook: Option<&str>) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=minbase", "--mode=root"])
        .arg(format!("--include={packages}"))
        .arg("--aptopt=Acquire::Languages \"none\"")
        .arg("--aptopt=APT::Install-Recommends \"false\"");
    for path in LEAVE_OUT {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    if let Some(hook) = hook {
        command.arg(format!("--essential-hook={hook}"));
    }
    command.arg(suite).arg(tree).args(sources_for(suite)?);
    run(command.stdin(Stdio::null()).stdout(Stdio::null()))
}

/// Names the host, gives the test its shell, and quiets what works at odd times.
fn furnish(tree: &Path) -> Result<()> {
    let put = |path: &str, text: &str| {
        let path = tree.join(path);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    put("etc/hostname", "bare\n")?;
    put("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 bare\n")?;
    put("etc/fstab", "/dev/vda / ext4 defaults 0 1\n")?;
    put("etc/machine-id", "")?;
    let units = tree.join("etc/systemd/system");
    put("etc/systemd/system/shell.service", SHELL_UNIT)?;
    let wanted = units.join("multi-user.target.wants");
    std::fs::create_dir_all(&wanted)?;
    std::os::unix::fs::symlink("../shell.service", wanted.join("shell.service"))?;
    for unit in MASKED {
        let path = units.join(unit);
        if path.symlink_metadata().is_err() {
            std::os::unix::fs::symlink("/dev/null", path)?;
        }
    }
    Ok(())
}

fn newest(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .collect();
    found.sort();
    found
        .pop()
        .with_context(|| format!("{} holds no {prefix}…", folder.display()))
}

fn file_system(tree: &Path, out: &Path, mib: u64) -> Result<()> {
    std::fs::File::create(out)?.set_len(mib << 20)?;
    run(Command::new("mke2fs")
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1",
            "-d",
        ])
        .arg(tree)
        .arg(out))
}

/// Disks of former recipes are gigabytes that nobody boots again.
fn forget_older(folder: &Path, prefix: &str) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with(prefix) {
            continue;
        }
        say(&format!("removing the disk of a former recipe: {name}"));
        if path.is_dir() {
            std::fs::remove_dir_all(&path)?;
        } else {
            std::fs::remove_file(&path)?;
        }
    }
    if folder.as_os_str().is_empty() {
        bail!("no folder for disks");
    }
    Ok(())
}
