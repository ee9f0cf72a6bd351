//! The connected side: lock a recipe, build its bundle, plan the next one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::bundle::sign::{PublicKey, SecretKey};
use ::bundle::slip::{self, Have, Need, Slip};
use anyhow::{Context, bail};
use builder::recipe::Want;
use builder::{
    BuildError, BuildOptions, Built, Cache, Chain, Lock, LockOptions, Locked, Means, PlanOptions,
    Program, Recipe, Update,
};
use serde_json::{Value, json};
use vocab::{Clock, Digest};

use super::keys;
use super::progress::Progress;
use crate::cli::{self, Connected, Global};
use crate::output;
use crate::program;

pub(super) fn run(global: &Global, verb: Connected) -> anyhow::Result<ExitCode> {
    match verb {
        Connected::Lock(args) => lock(global, &args),
        Connected::Build(args) => build(global, &args),
        Connected::Plan(args) => plan(global, &args),
        Connected::Image(args) => image(global, &args),
        Connected::About => about(),
    }
}

/// What this program says of itself to the builder.
fn about() -> anyhow::Result<ExitCode> {
    let (version, schema) = (program::this().version, program::this().schema());
    output::line(&json!({ "version": version, "schema": schema }).to_string());
    Ok(ExitCode::SUCCESS)
}

/// The cache and everything else that outlives one call into the builder.
struct Bench {
    cache: Cache,
    program: PathBuf,
    progress: Progress,
    offline: bool,
}

impl Bench {
    fn new(global: &Global, fetching: &cli::Fetching) -> anyhow::Result<Self> {
        let folder = match &fetching.cache {
            Some(folder) => folder.clone(),
            None => default_cache()?,
        };
        Ok(Self {
            cache: Cache::open(&folder)?,
            program: std::env::current_exe().context("cannot find this program's own file")?,
            progress: Progress::new(global.json),
            offline: fetching.offline,
        })
    }

    fn means<'a>(&'a self, recipe: &'a Recipe) -> Means<'a> {
        Means {
            cache: &self.cache,
            folder: recipe.folder(),
            program: &self.program,
            offline: self.offline,
            watch: &self.progress,
        }
    }
}

fn default_cache() -> anyhow::Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let base = base.context("neither XDG_CACHE_HOME nor HOME is set; say --cache DIR")?;
    Ok(base.join("cofferdam"))
}

fn lock(global: &Global, args: &cli::Lock) -> anyhow::Result<ExitCode> {
    let recipe = Recipe::read(&args.recipe)?;
    let bench = Bench::new(global, &args.fetching)?;
    let before = Lock::read(&recipe.lock_path())?;
    let update = match args.update.as_slice() {
        [] => Update::Nothing,
        names if names.iter().any(String::is_empty) => Update::All,
        names => Update::Named(names.to_vec()),
    };
    let locked = relock(&recipe, before.as_ref(), update, &bench)?;
    show_locked(global, &recipe, &locked)?;
    Ok(if locked.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Locks, and writes the lock when it says anything new.
fn relock(
    recipe: &Recipe,
    before: Option<&Lock>,
    update: Update,
    bench: &Bench,
) -> anyhow::Result<Locked> {
    let options = LockOptions {
        today: today()?,
        update,
    };
    let locked = builder::lock(recipe, before, &options, &bench.means(recipe));
    bench.progress.end();
    let locked = locked?;
    if locked.changed {
        locked.lock.write(&recipe.lock_path())?;
    }
    Ok(locked)
}

fn show_locked(global: &Global, recipe: &Recipe, locked: &Locked) -> anyhow::Result<()> {
    let lock = &locked.lock;
    let failed: Vec<String> = locked
        .failures
        .iter()
        .map(|f| {
            let why = anyhow::Error::msg(chain(&f.error));
            format!("{}:{}: {}: {why}", recipe.path.display(), f.line, f.entry)
        })
        .collect();
    let blobs = lock.pins.iter().flat_map(|pin| &pin.blobs);
    let total: u64 = blobs.clone().map(|blob| blob.n).sum();
    if global.json {
        output::json(&json!({
            "lock": recipe.lock_path(), "seq": lock.seq, "day": lock.day,
            "changed": locked.changed, "entries": lock.pins.len(),
            "blobs": blobs.count(), "bytes": total,
            "moved": locked.moved, "removes": lock.removes, "failures": failed,
        }));
        return Ok(());
    }
    for pin in &lock.pins {
        let size: u64 = pin.blobs.iter().map(|blob| blob.n).sum();
        output::line(&format!("{}: {}", pin.entry, output::bytes(size)));
    }
    for name in &locked.moved {
        output::line(&format!("moved: {name}"));
    }
    for line in &failed {
        eprintln!("{line}");
    }
    let said = if locked.changed {
        "written"
    } else {
        "unchanged"
    };
    output::line(&format!(
        "{}: {said}; number {}, {} of content",
        recipe.lock_path().display(),
        lock.seq,
        output::bytes(total)
    ));
    Ok(())
}

/// An error with its causes, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        said += &format!(": {inner}");
        cause = inner.source();
    }
    said
}

fn build(global: &Global, args: &cli::Build) -> anyhow::Result<ExitCode> {
    let recipe = Recipe::read(&args.recipe)?;
    let bench = Bench::new(global, &args.fetching)?;
    let trust = match (&args.trust, &recipe.sign.trust) {
        (Some(trust), _) => trust.clone(),
        (None, Some(trust)) => recipe.folder().join(trust),
        (None, None) => PathBuf::from("trust"),
    };
    let trust = Chain::read(&trust)?;
    let keys = open_keys(&recipe, args)?;
    let lock = locked(&recipe, args, &bench)?;
    let signer = args.appliance_key.as_deref().map(public_key).transpose()?;
    let have: Option<(Have, Digest)> = open_slip(args.have.as_deref(), signer.as_ref())?;
    let need: Option<(Need, Digest)> = open_slip(args.need.as_deref(), signer.as_ref())?;
    let options = BuildOptions {
        out: &args.out,
        seq: args.seq,
        trust: &trust,
        keys: &keys,
        have: have.as_ref(),
        need: need.as_ref().map(|(need, _)| need),
    };
    let built = builder::build(&recipe, &lock, &options, &bench.means(&recipe));
    bench.progress.end();
    show_built(global, &built?);
    Ok(ExitCode::SUCCESS)
}

/// The recipe's lock, made when it is missing or outgrown and that is allowed.
fn locked(recipe: &Recipe, args: &cli::Build, bench: &Bench) -> anyhow::Result<Lock> {
    let lock = Lock::read(&recipe.lock_path())?;
    let stands = match &lock {
        None => false,
        Some(lock) => match builder::check_lock(recipe, lock) {
            Ok(()) => true,
            Err(e @ (BuildError::NotLocked { .. } | BuildError::OtherBundle { .. })) => {
                if args.locked {
                    return Err(e.into());
                }
                false
            }
            Err(e) => return Err(e.into()),
        },
    };
    if let (Some(lock), true) = (&lock, stands) {
        return Ok(lock.clone());
    }
    if args.locked {
        bail!("there is no lock at {}", recipe.lock_path().display());
    }
    let locked = relock(recipe, lock.as_ref(), Update::Nothing, bench)?;
    if let Some(first) = locked.failures.first() {
        bail!(
            "{}:{}: {}: {}",
            recipe.path.display(),
            first.line,
            first.entry,
            chain(&first.error)
        );
    }
    Ok(locked.lock)
}

/// Opens every key that the recipe or the command line names.
fn open_keys(recipe: &Recipe, args: &cli::Build) -> anyhow::Result<Vec<SecretKey>> {
    let named = recipe
        .sign
        .release
        .iter()
        .map(|path| recipe.folder().join(path));
    let mut keys: Vec<SecretKey> = Vec::new();
    for path in named.chain(args.key.iter().cloned()) {
        let key = keys::open(&cli::Key {
            key: path,
            password: cli::Password {
                password_file: args.password.password_file.clone(),
            },
        })?;
        if keys.iter().all(|known| known.id() != key.id()) {
            keys.push(key);
        }
    }
    Ok(keys)
}

fn public_key(path: &Path) -> anyhow::Result<PublicKey> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the key {}", path.display()))?;
    PublicKey::parse(&text).with_context(|| format!("key {}", path.display()))
}

fn open_slip<S: Slip>(
    path: Option<&Path>,
    key: Option<&PublicKey>,
) -> anyhow::Result<Option<(S, Digest)>> {
    let Some(path) = path else { return Ok(None) };
    let told = || format!("cannot use the slip {}", path.display());
    let bytes = fs::read(path).with_context(told)?;
    slip::open(&bytes, key).map(Some).with_context(told)
}

fn show_built(global: &Global, built: &Built) {
    let manifest = &built.manifest;
    let carried: u64 = manifest.volumes.iter().map(|v| v.size).sum();
    let assumed = manifest.base.as_ref().map_or(0, |base| base.assumed.len());
    let missing = built.threshold.saturating_sub(built.signed_by.len());
    if global.json {
        let said: Value = json!({
            "folder": built.folder, "manifest_sha256": built.digest.hex(),
            "product": manifest.product, "channel": manifest.channel, "seq": manifest.seq,
            "content": manifest.content, "items": manifest.items.len(),
            "blobs": manifest.blobs.len(), "assumed": assumed,
            "volumes": manifest.volumes.len(), "bytes": carried,
            "closure_bytes": manifest.closure.bytes,
            "signed_by": built.signed_by, "signatures_missing": missing,
            "met": built.wants.met, "unmet": built.wants.unmet,
            "program": matches!(built.program, Program::Beside(_)),
        });
        output::json(&said);
        return;
    }
    output::line(&format!("built {}", built.folder.display()));
    output::line(&format!(
        "  {} {} number {}, content {}: {} items, {} blobs in {} volumes of {}",
        manifest.product,
        manifest.channel,
        manifest.seq,
        manifest.content,
        manifest.items.len(),
        manifest.blobs.len(),
        manifest.volumes.len(),
        output::bytes(carried)
    ));
    if assumed > 0 {
        output::line(&format!("  a delta: {assumed} blobs are taken for granted"));
    }
    if let Program::LeftOut(_) = built.program {
        output::line(
            "  the program is left out: the appliance has it; a new host is installed from a whole \
             bundle",
        );
    }
    output::line(&format!("  manifest SHA-256 {}", built.digest.hex()));
    match missing {
        0 => output::line(&format!("  signed by {}", built.signed_by.join(", "))),
        n => output::line(&format!(
            "  {n} more of {} signatures must be added: cofferdam bundle sign {} --key NAME",
            built.threshold,
            built.folder.display()
        )),
    }
    for name in &built.wants.unmet {
        output::line(&format!(
            "  asked for by jobs and not in the recipe: {name}"
        ));
    }
}

fn plan(global: &Global, args: &cli::Plan) -> anyhow::Result<ExitCode> {
    let bench = Bench::new(global, &args.fetching)?;
    let lock = match &args.recipe {
        Some(path) => Lock::read(&Recipe::read(path)?.lock_path())?,
        None => None,
    };
    let built_in = |name: &str| {
        workflow::ActionRef::parse(name).is_ok_and(|action| runner::is_built_in(&action))
    };
    let options = PlanOptions {
        lock: lock.as_ref(),
        cache: &bench.cache,
        built_in: &built_in,
    };
    let found = builder::plan(&args.repos, &options);
    bench.progress.end();
    let found = found?;
    if global.json {
        output::json(&json!({ "needs": found.needs, "problems": found.problems }));
        return Ok(ExitCode::SUCCESS);
    }
    for need in &found.needs {
        let places = need.found.join(", ");
        if need.met {
            output::line(&format!("# {}: there already ({places})\n", need.name));
        } else {
            output::line(&format!("# {}: {places}\n{}", need.name, need.lines));
        }
    }
    for problem in &found.problems {
        eprintln!("{problem}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the image of one entry as an archive, to be tried or imported by hand.
fn image(global: &Global, args: &cli::MakeImage) -> anyhow::Result<ExitCode> {
    let recipe = Recipe::read(&args.recipe)?;
    let bench = Bench::new(global, &args.fetching)?;
    let debian = recipe.entries.iter().find_map(|entry| match &entry.want {
        Want::Oci(oci) if oci.name == args.name => oci.debian.as_ref(),
        _ => None,
    });
    let debian = debian.with_context(|| {
        let recipe = args.recipe.display();
        format!(
            "{recipe} builds no image called {} from Debian packages",
            args.name
        )
    })?;
    let day = args.day.as_deref().map_or_else(today, |day| {
        day.parse()
            .with_context(|| format!("{day:?} is no day; write YYYY-MM-DD"))
    })?;
    let made = builder::debian_archive(debian, &args.name, day, &args.out, &bench.means(&recipe));
    bench.progress.end();
    made?;
    output::line(&format!("made {}", args.out.display()));
    Ok(ExitCode::SUCCESS)
}

fn today() -> anyhow::Result<jiff::civil::Date> {
    let now = jiff::Timestamp::try_from(Clock::system().now()).context("the clock is off")?;
    Ok(now.to_zoned(jiff::tz::TimeZone::UTC).date())
}
