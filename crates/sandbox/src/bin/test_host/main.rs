//! The program that the integration tests re-exec as the launcher, and bind into jails to probe.

mod bench;
mod by_hand;
mod probes;

fn main() {
    sandbox::dispatch_reexec();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((verb, rest)) = words.split_first() else {
        return;
    };
    let done = match verb.as_str() {
        "bench" => bench::run(rest),
        "unpack" => by_hand::unpack(rest),
        "run" => by_hand::run(rest),
        "listen" => listen(rest),
        "probe" => {
            let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
            match probes::run(&rest) {
                Ok(said) => println!("{said}"),
                Err(e) => println!("errno {}", e.raw_os_error().unwrap_or(-1)),
            }
            Ok(())
        }
        _ => Err("no such verb".into()),
    };
    if let Err(e) = done {
        eprintln!("{verb}: {e}");
        std::process::exit(1);
    }
}

/// `listen PATH`: a launcher service.
fn listen(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [path] = words else {
        return Err("listen PATH".into());
    };
    Ok(sandbox::listen(
        &sandbox::LauncherConfig::new(),
        path.as_ref(),
        0,
        || {},
    )?)
}
