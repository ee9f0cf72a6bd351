//! The program itself: what installs an appliance, and what an appliance becomes next.
//!
//! The program says its own version and schema; its ELF header says for which machine it is.
//! Refuses a program that is not static, because the host that it goes to has nothing.

use std::collections::BTreeMap;

use bundle::Item;
use bundle::manifest::{Origin, SelfUpdate};
use serde::Deserialize;

use super::{Means, SourceError, blob};
use crate::child::Child;
use crate::lock::Pin;
use crate::recipe::Own;

/// Media type of the program.
pub(crate) const PROGRAM_TYPE: &str = "application/vnd.cofferdam.program";

/// What the program says of itself: `cofferdam bundle about`.
#[derive(Deserialize)]
struct About {
    version: String,
    schema: BTreeMap<String, u32>,
}

pub(super) fn resolve(want: &Own, means: &Means<'_>) -> Result<Pin, SourceError> {
    let path = match &want.program {
        Some(program) => means.folder.join(program),
        None => means.program.to_owned(),
    };
    let path = std::path::absolute(&path).map_err(SourceError::io(&path))?;
    let bytes = std::fs::read(&path).map_err(SourceError::io(&path))?;
    let arch = arch_of(&bytes).map_err(|reason| {
        let named = want.program.as_deref().unwrap_or(&path);
        SourceError::Refused(format!("{} {reason}", named.display()))
    })?;
    let kept = means.cache.keep_bytes(&bytes)?;
    let text = path.display().to_string();
    let said = Child::new(&text, "cofferdam")
        .args(["bundle", "about"])
        .read()?;
    let about: About = serde_json::from_slice(&said)
        .map_err(|e| SourceError::Refused(format!("the program does not say what it is: {e}")))?;
    Ok(Pin {
        blobs: vec![blob(kept, PROGRAM_TYPE)],
        items: vec![Item::Selfupdate(SelfUpdate {
            version: about.version,
            arch: arch.to_owned(),
            d: kept.digest,
            schema: about.schema,
            source: Origin {
                uri: "program:cofferdam".to_owned(),
                checked: "read from this host".to_owned(),
            },
        })],
        ..Pin::default()
    })
}

/// For which machine a program is, out of its ELF header.
fn arch_of(elf: &[u8]) -> Result<&'static str, String> {
    let number = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("is no 64-bit ELF program".to_owned());
    }
    let arch = match number(18) {
        Some(62) => "amd64",
        Some(183) => "arm64",
        _ => return Err("is for a machine that is not known".to_owned()),
    };
    let offset = elf
        .get(32..40)
        .and_then(|b| b.try_into().ok())
        .map(u64::from_le_bytes);
    let (size, count) = (number(54).unwrap_or(0), number(56).unwrap_or(0));
    for index in 0..u64::from(count) {
        let at = offset.unwrap_or(0) + index * u64::from(size);
        let kind = usize::try_from(at).ok().and_then(number);
        // PT_INTERP: it asks for a loader of the host.
        if kind == Some(3) {
            return Err("is not static; build it with `cargo xtask dist`".to_owned());
        }
    }
    Ok(arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_another_machine_or_one_that_needs_a_loader_is_refused() {
        let mut elf = vec![0; 200];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 62;
        assert_eq!(arch_of(&elf), Ok("amd64"));
        (elf[32], elf[54], elf[56], elf[64]) = (64, 56, 1, 3);
        assert!(arch_of(&elf).unwrap_err().contains("not static"));
        elf[18] = 8;
        assert!(arch_of(&elf).unwrap_err().contains("not known"));
        assert!(arch_of(b"#!/bin/sh\n").is_err());
    }
}
