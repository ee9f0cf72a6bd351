//! Trying the sandbox by hand: unpack a layer, run one command in a jail.

use std::fs::File;
use std::io::{self, Write};

use sandbox::{ExecSpec, JailSpec, Launcher, LauncherConfig, LayerLimits, Root};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// `unpack TAR PARENT NAME`
pub(crate) fn unpack(words: &[String]) -> Outcome {
    let [tar, parent, name] = words else {
        return Err("unpack TAR PARENT NAME".into());
    };
    let launcher = Launcher::start(&LauncherConfig::new())?;
    let archive = File::open(tar)?.into();
    let facts = launcher.unpack_layer(parent.as_ref(), name, archive, LayerLimits::default())?;
    println!("{facts:?}");
    Ok(())
}

/// `run LAYER SCRIPT`, where the layer `usr` is the host's own.
pub(crate) fn run(words: &[String]) -> Outcome {
    let [layer, script] = words else {
        return Err("run LAYER|usr SCRIPT".into());
    };
    let launcher = Launcher::start(&LauncherConfig::new())?;
    let root = if layer == "usr" {
        Root::HostUsr
    } else {
        Root::Layers(vec![layer.into()])
    };
    let jail = launcher.create(&JailSpec::new(root))?;
    let (mut reader, writer) = sandbox::pipe()?;
    let exec = jail.exec(ExecSpec {
        argv: vec!["/bin/sh".into(), "-c".into(), script.clone()],
        stdout: Some(writer.try_clone()?),
        stderr: Some(writer),
        ..ExecSpec::default()
    })?;
    io::copy(&mut reader, &mut io::stdout())?;
    writeln!(io::stdout(), "{:?}", exec.wait(None))?;
    writeln!(io::stdout(), "{:?}", jail.destroy()?)?;
    Ok(())
}
