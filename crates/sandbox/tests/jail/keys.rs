//! A job goes for the keys that seal the log and sign what is attested of it: by path, through the
//! processes that hold them, and by mounts; each way works when the layers that stop it are off.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sandbox::{DefenceOff, Launcher, ReadOnlyBind};
use tempfile::TempDir;

use crate::common::{launcher, run_as, sh, spec};

const KEYS: [&str; 3] = ["attest.key", "audit.key", "audit.minisign"];
const SECRET: &str = "thirty-two-bytes-that-nobody-has";

/// A data directory with its keys, and the process that serves from it.
struct Appliance {
    data: TempDir,
    server: Child,
}

impl Appliance {
    fn start() -> Self {
        let data = tempfile::tempdir().expect("a scratch directory");
        let keys = data.path().join("keys");
        fs::create_dir(&keys).expect("a scratch directory");
        for name in KEYS {
            fs::write(keys.join(name), format!("{SECRET} {name}\n")).expect("a scratch directory");
            fs::set_permissions(keys.join(name), Permissions::from_mode(0o600))
                .expect("a scratch directory");
        }
        for dir in [keys.as_path(), data.path()] {
            fs::set_permissions(dir, Permissions::from_mode(0o700)).expect("a scratch directory");
        }
        // It holds a key open, and knows it by heart.
        let server = Command::new("sleep")
            .arg("1000")
            .env("KEY", format!("{SECRET} heart"))
            .current_dir(data.path())
            .stdin(File::open(keys.join("attest.key")).expect("a key"))
            .stdout(Stdio::null())
            .spawn()
            .expect("sleep starts");
        Self { data, server }
    }

    fn path(&self) -> &Path {
        self.data.path()
    }

    fn by_path(&self) -> String {
        format!("cat {}/keys/*", self.path().display())
    }

    /// Its environment, its open files, its working directory and its root.
    fn by_process(&self) -> String {
        let (pid, data) = (self.server.id(), self.path().display());
        format!(
            "for p in /proc/{pid} /proc/[0-9]*; do\n\
             tr '\\0' '\\n' <$p/environ; cat $p/cwd/keys/* $p/root{data}/keys/*\n\
             [ -f $p/fd/0 ] && cat $p/fd/0\n\
             done"
        )
    }

    fn by_mount(&self) -> String {
        let data = self.path().display();
        format!(
            "mkdir -p /tmp/m\n\
             mount --bind {data}/keys /tmp/m && cat /tmp/m/*\n\
             mount -t overlay none -o lowerdir={data}/keys:/usr /tmp/m && cat /tmp/m/*.key\n\
             mount -t proc none /tmp/m && cat /tmp/m/[0-9]*/cwd/keys/*\n\
             cat /mnt/keys/*"
        )
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.server.kill().expect("it is ours");
        self.server.wait().expect("it is ours");
    }
}

/// What a jail without these layers, which is shown these binds, prints of `script`.
fn printed(launcher: &Launcher, off: DefenceOff, bind: Option<PathBuf>, script: &str) -> String {
    let mut spec = spec();
    spec.off = off;
    spec.binds.extend(bind.map(|source| ReadOnlyBind {
        source,
        target: "/mnt/keys".to_owned(),
    }));
    let jail = launcher.create(&spec).expect("a jail");
    let script = format!("{{\n{script}\n}} 2>&1");
    // As the job's root and as its user.
    sh(&jail, &script).out + &run_as(&jail, 1001, &["sh", "-c", &script]).out
}

fn without(change: impl FnOnce(&mut DefenceOff)) -> DefenceOff {
    let mut off = DefenceOff::default();
    change(&mut off);
    off
}

#[test]
fn a_job_reads_no_key_by_its_path() {
    let Some(launcher) = launcher() else { return };
    let appliance = Appliance::start();
    let attack = appliance.by_path();
    let got = printed(&launcher, DefenceOff::default(), None, &attack);
    assert!(!got.contains(SECRET), "{got}");
    // Either layer alone stops it.
    for off in [
        without(|off| off.pivot = true),
        without(|off| off.user_namespace = true),
    ] {
        let got = printed(&launcher, off, None, &attack);
        assert!(!got.contains(SECRET), "{off:?}: {got}");
    }
    let off = without(|off| (off.pivot, off.user_namespace) = (true, true));
    let got = printed(&launcher, off, None, &attack);
    for name in KEYS {
        assert!(got.contains(&format!("{SECRET} {name}")), "{got}");
    }
}

#[test]
fn a_job_reads_no_key_through_the_process_that_holds_it() {
    let Some(launcher) = launcher() else { return };
    let appliance = Appliance::start();
    let attack = appliance.by_process();
    let got = printed(&launcher, DefenceOff::default(), None, &attack);
    assert!(!got.contains(SECRET), "{got}");
    let got = printed(
        &launcher,
        without(|off| off.pid_namespace = true),
        None,
        &attack,
    );
    assert!(!got.contains(SECRET), "without a pid namespace: {got}");
    let off = without(|off| {
        off.pid_namespace = true;
        off.user_namespace = true;
        off.capabilities = true;
        off.landlock = true;
        off.seccomp = true;
    });
    let got = printed(&launcher, off, None, &attack);
    assert!(got.contains(&format!("{SECRET} heart")), "{got}");
    assert!(got.contains(&format!("{SECRET} audit.key")), "{got}");
}

#[test]
fn a_job_reads_no_key_by_a_mount() {
    let Some(launcher) = launcher() else { return };
    let appliance = Appliance::start();
    let attack = appliance.by_mount();
    let got = printed(&launcher, DefenceOff::default(), None, &attack);
    assert!(!got.contains(SECRET), "{got}");
    // A job that was shown the keys would read them: nothing but layers and files of its own is.
    let shown = Some(appliance.path().join("keys"));
    let got = printed(&launcher, DefenceOff::default(), shown, &attack);
    assert!(got.contains(&format!("{SECRET} attest.key")), "{got}");
    // Its own mounts work where nothing refuses them.
    let off = without(|off| {
        off.pivot = true;
        off.user_namespace = true;
        off.capabilities = true;
        off.landlock = true;
        off.seccomp = true;
    });
    let got = printed(&launcher, off, None, &attack.replace("cat /mnt/keys/*", ""));
    assert!(got.contains(&format!("{SECRET} attest.key")), "{got}");
}
