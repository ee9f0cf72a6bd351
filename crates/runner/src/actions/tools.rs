//! Tools of the job's generation for `setup-*` actions: found, unpacked into the tool cache.
//!
//! A tool stands where hosted runners have it, `<cache>/<name>/<version>/<arch>` with its
//! `.complete` file beside it, so that what looks there itself finds it.

use std::io::{self, BufWriter, Read};
use std::os::fd::OwnedFd;

use bundle::{Compression, LayerReader};

use crate::environment;
use crate::executor::User;
use crate::job::Job;
use crate::observer::LineKind;
use crate::pyversion::{Spec, Version};
use crate::stage::Stage;
use crate::supply::{ToolFacts, ToolPacking};

/// The most that one tool may unpack to.
const TOOL_BYTES: u64 = 8 << 30;
/// Chunk in which a tool goes through the pipe.
const CHUNK_BYTES: usize = 256 << 10;

/// A version of a tool that the generation has.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub(super) version: Version,
    facts: ToolFacts,
}

/// Every version of `name` in the job's generation, newest first.
pub(super) fn offered(job: &Job<'_>, name: &str) -> Result<Vec<Offered>, String> {
    let Some(supply) = &job.order.supply else {
        return Ok(Vec::new());
    };
    let tools = supply.tools(name);
    let tools = tools.map_err(|e| format!("the generation could not be asked for {name}: {e}"))?;
    let mut found: Vec<Offered> = tools
        .into_iter()
        .filter_map(|facts| {
            let version = Version::parse(&facts.version)?;
            Some(Offered { version, facts })
        })
        .collect();
    found.sort_by_key(|tool| std::cmp::Reverse(tool.version));
    Ok(found)
}

/// What the site lets stand in for `text`, told in the log and later in the receipt.
pub(super) fn stand_in(job: &mut Job<'_>, name: &str, text: &str) -> Option<String> {
    let other = job.order.supply.as_ref()?.alias(name, text)?;
    let said = format!("{name} {text} is served by {other}, as the settings of this site allow");
    let step = job.step();
    job.log.warn(step, &said);
    job.served_as.push(said);
    Some(other)
}

/// Notes that a version was asked for in vain.
pub(super) fn note_missing(job: &Job<'_>, name: &str, text: &str) {
    if let Some(supply) = &job.order.supply {
        supply.want("toolcache", &format!("{name} {text}"));
    }
}

/// The versions as a list in words.
pub(super) fn listed(offered: &[Offered]) -> String {
    if offered.is_empty() {
        return "none".to_owned();
    }
    let versions: Vec<String> = offered.iter().map(|o| o.version.to_string()).collect();
    versions.join(", ")
}

/// The newest version that `spec` accepts.
pub(super) fn newest<'a>(offered: &'a [Offered], spec: Option<&Spec>) -> Option<&'a Offered> {
    offered
        .iter()
        .find(|tool| spec.is_none_or(|spec| spec.accepts(tool.version)))
}

/// Unpacks a tool into the tool cache, as root of the job; its directory.
pub(super) fn place(job: &mut Job<'_>, tool: &Offered) -> Result<String, String> {
    let facts = &tool.facts;
    let home = format!("{}/{}/{}", job.paths.tool_cache, facts.name, tool.version);
    let arch = environment::arch().to_lowercase();
    let dir = format!("{home}/{arch}");
    let complete = format!("{arch}.complete");
    let marked = job.sandbox().read_file(&format!("{home}/{complete}"), 4096);
    if marked.map_err(|e| e.to_string())?.is_some() {
        return Ok(dir);
    }
    let failed = |e: &dyn std::fmt::Display| {
        format!(
            "{} {} could not be unpacked: {e}",
            facts.name, facts.version
        )
    };
    let supply = job.order.supply.as_ref().ok_or("there is no generation")?;
    let archive = supply.open_tool(facts).map_err(|e| failed(&e))?;
    stream(job, archive, facts, &dir).map_err(|e| failed(&e))?;
    let mut mark = Stage::new(job.log.now());
    mark.file(&complete, b"", 0o644).map_err(|e| failed(&e))?;
    let mark = mark.seal().map_err(|e| failed(&e))?;
    job.sandbox()
        .unpack_tar(&home, mark, User::default())
        .map_err(|e| failed(&e))?;
    let text = format!(
        "{} {} of this generation, in {dir}",
        facts.name, facts.version
    );
    let step = job.step();
    job.log.say(step, LineKind::Info, &text);
    Ok(dir)
}

/// Sends the tree of a tool into the sandbox while its archive is being read.
fn stream(
    job: &Job<'_>,
    archive: Box<dyn Read + Send>,
    facts: &ToolFacts,
    dir: &str,
) -> Result<(), String> {
    let (reader, writer) = io::pipe().map_err(|e| format!("no pipe for it: {e}"))?;
    let packing = match facts.packing {
        ToolPacking::TarGz => Compression::Gzip,
        ToolPacking::TarZst => Compression::Zstd,
    };
    let sandbox = job.sandbox();
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || -> io::Result<()> {
            let mut tar = LayerReader::open(archive, packing, TOOL_BYTES)?;
            let mut out = BufWriter::with_capacity(CHUNK_BYTES, writer);
            io::copy(&mut tar, &mut out)?;
            io::Write::flush(&mut out)
        });
        let archive = OwnedFd::from(reader);
        let unpacked = sandbox.unpack_stripped(dir, archive, User::default(), facts.strip);
        let sent = sender
            .join()
            .map_err(|_| "reading its archive failed unexpectedly".to_owned())?;
        match (sent, unpacked) {
            // The unpacker may stop at the archive's own end, before the padding was sent.
            (Err(e), Ok(())) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            (Ok(()), Ok(())) => Ok(()),
            (_, Err(error)) => Err(error.to_string()),
            (Err(error), Ok(())) => Err(error.to_string()),
        }
    })
}
