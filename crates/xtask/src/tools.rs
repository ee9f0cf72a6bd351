//! The programs of the host that a task needs: looked for first, installed only when missing.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{has_program, in_ci, is_root, part, run, say};

/// A program (or a file, by its whole path) and the Debian package that brings it.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const fn tool(program: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool {
        program,
        package,
        purpose,
    }
}

/// What the demonstration needs.
pub(crate) const DEMO: &[Tool] = &[
    tool("git", "git", "pushes for real"),
    tool("mmdebstrap", "mmdebstrap", "builds the Debian image"),
    tool("cc", "build-essential", "compiles SQLite"),
    tool(
        "pip3",
        "python3-pip",
        "resolves Python packages for a bundle",
    ),
    tool("npm", "npm", "fetches Node for a bundle"),
    tool("ip", "iproute2", "makes a network with nothing in it"),
];

/// What the tests need beyond that.
pub(crate) const TESTS: &[Tool] = &[
    tool("chromium", "chromium", "shows the pages"),
    tool("chromedriver", "chromium-driver", "drives the browser"),
    tool("unshare", "util-linux", "gives a test its own mounts"),
    tool(
        "fusermount3",
        "fuse3",
        "mounts the file system that forgets",
    ),
    tool(
        "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        "fonts-dejavu-core",
        "gives the browser its letters",
    ),
    tool(
        "/usr/bin/python3",
        "python3",
        "is the interpreter of jobs in the host's own /usr",
    ),
    tool(
        "/usr/bin/pip3",
        "python3-pip",
        "installs a wheel in such a job",
    ),
    tool("minisign", "minisign", "checks signatures beside us"),
    tool("bsdtar", "libarchive-tools", "reads volumes beside us"),
    tool(
        "openssl",
        "openssl",
        "checks signatures where no minisign is",
    ),
    tool("curl", "curl", "talks to the server as a stranger would"),
    tool("skopeo", "skopeo", "copies images from the appliance"),
    tool("podman", "podman", "pulls images from the appliance"),
    tool("dockerd", "docker.io", "pulls images from the appliance"),
];

/// What the booted hosts need beyond the demonstration.
pub(crate) const HOSTS: &[Tool] = &[
    tool(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "emulates the machines",
    ),
    tool("mke2fs", "e2fsprogs", "makes their disks"),
    tool("mkfs.vfat", "dosfstools", "makes the sticks"),
    tool("mcopy", "mtools", "fills the sticks"),
    tool("strip", "binutils", "leaves out what only debuggers read"),
];

/// What the measurements compare with.
pub(crate) const BENCH: &[Tool] = &[
    tool("crun", "crun", "is measured beside our sandbox"),
    tool("skopeo", "skopeo", "is measured beside our import"),
    tool("dockerd", "docker.io", "is measured beside our import"),
    tool("mke2fs", "e2fsprogs", "makes a stick that is pulled"),
    tool("losetup", "mount", "plugs that stick in"),
];

/// Installs what is missing of `wanted`. Without root it says what to install, and fails in CI.
pub(crate) fn ensure(wanted: &[Tool]) -> Result<()> {
    let missing: Vec<Tool> = wanted
        .iter()
        .copied()
        .filter(|tool| !has_program(tool.program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    for tool in &missing {
        say(&format!(
            "missing: {} ({}), from package {}",
            tool.program, tool.purpose, tool.package
        ));
    }
    if !is_root() {
        let advice = format!("as root: apt-get install {}", packages.join(" "));
        if in_ci() {
            bail!("programs are missing and this is not root; {advice}");
        }
        say(&format!("going on without them; {advice}"));
        return Ok(());
    }
    part(&format!("install {}", packages.join(" ")), || {
        apt(&["update", "-q"])?;
        let mut words = vec!["install", "-q", "-y", "--no-install-recommends"];
        words.extend(&packages);
        apt(&words)
    })
}

fn apt(words: &[&str]) -> Result<()> {
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(words)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null()))
}

/// Installs the test runner when it is missing.
pub(crate) fn ensure_nextest() -> Result<()> {
    if has_program("cargo-nextest") {
        return Ok(());
    }
    part("install cargo-nextest (missing)", || {
        run(Command::new("cargo").args(["install", "--locked", "cargo-nextest"]))
    })
}
