//! How long a jail takes: request to the first byte of `echo` in it, in microseconds.

use std::io::Read;
use std::path::PathBuf;

use sandbox::{ExecSpec, JailSpec, Launcher, LauncherConfig, Root};

/// `bench ROUNDS WARM [LAYER…]`: prints minimum, median and 90th percentile of each part.
pub(crate) fn run(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [rounds, warm, layers @ ..] = words else {
        return Err("bench ROUNDS WARM [LAYER…]".into());
    };
    let config = LauncherConfig {
        warm: warm.parse()?,
        ..LauncherConfig::new()
    };
    let launcher = Launcher::start(&config)?;
    let root = match layers {
        [] => Root::HostUsr,
        layers => Root::Layers(layers.iter().map(PathBuf::from).collect()),
    };
    let spec = JailSpec::new(root);
    let (mut created, mut first, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.parse::<u32>()? {
        let watch = vocab::Stopwatch::start();
        let jail = launcher.create(&spec)?;
        created.push(watch.elapsed().as_micros());
        let (mut reader, writer) = sandbox::pipe()?;
        jail.exec(ExecSpec {
            argv: ["/bin/sh", "-c", "echo hi"].map(String::from).to_vec(),
            stdout: Some(writer),
            ..ExecSpec::default()
        })?;
        reader.read_exact(&mut [0])?;
        first.push(watch.elapsed().as_micros());
        let watch = vocab::Stopwatch::start();
        jail.destroy()?;
        gone.push(watch.elapsed().as_micros());
    }
    for (name, mut times) in [
        ("create", created),
        ("first byte", first),
        ("destroy", gone),
    ] {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!("{name:>10}: min {} p50 {} p90 {}", at(0), at(50), at(90));
    }
    Ok(())
}
