//! The program that the integration tests re-exec as the launcher, and bind into jails to probe.

mod bench;
mod probes;

fn main() {
    sandbox::dispatch_reexec();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|w| w == "bench")
        && let Err(e) = bench::run(&words[1..])
    {
        eprintln!("bench: {e}");
    }
    if let [word, path] = &words[..]
        && word == "listen"
    {
        let ended = sandbox::listen(&sandbox::LauncherConfig::new(), path.as_ref(), 0);
        eprintln!("listen: {ended:?}");
    }
    if words.first().is_some_and(|w| w == "probe") {
        let rest: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        match probes::run(&rest) {
            Ok(said) => println!("{said}"),
            Err(e) => println!("errno {}", e.raw_os_error().unwrap_or(-1)),
        }
    }
}
