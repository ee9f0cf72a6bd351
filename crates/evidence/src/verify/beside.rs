//! What stands beside the log in an export, for checks by those who know its formats.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::{FINDINGS, Finding, SMALL, Verdict, VerifyError};
use crate::archive::{self, Place};
use crate::checkpoint::Checkpoint;
use crate::note::Note;

/// The file that is wrong, and what is wrong with it.
pub type Wrong = (String, String);

/// The files of a good export.
#[derive(Debug)]
pub struct Beside {
    file: File,
    places: BTreeMap<String, Place>,
    checkpoint: Checkpoint,
}

impl Beside {
    /// The log's state that the export was made in.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Names of files that begin with `prefix`, sorted.
    #[must_use]
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let from = self.places.range(prefix.to_owned()..);
        from.map(|(name, _)| name)
            .take_while(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// The bytes of a file, at most `most`.
    pub fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, Wrong> {
        let wrong = |what: String| (name.to_owned(), what);
        let place = self.places.get(name).cloned();
        let place = place.ok_or_else(|| wrong("is missing".to_owned()))?;
        archive::content(&mut self.file, &place, most).map_err(|e| wrong(e.to_string()))
    }
}

impl Verdict {
    /// Goes on with what stands beside the log of the export at `path`: `look` gives what holds,
    /// in words, or what does not. Does nothing where something was wrong before.
    pub fn further(
        &mut self,
        path: &Path,
        look: impl FnOnce(&mut Beside) -> Result<Vec<String>, Vec<Wrong>>,
    ) -> Result<(), VerifyError> {
        if !self.good {
            return Ok(());
        }
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let changed = || std::io::Error::other("it changed while it was read");
        let places = archive::list(&mut file, length).map_err(|_| changed())?;
        let places: BTreeMap<String, Place> = places
            .into_iter()
            .map(|place| (place.name.clone(), place))
            .collect();
        let note = places.get("checkpoint").ok_or_else(changed)?;
        let note = archive::content(&mut file, note, SMALL).map_err(|_| changed())?;
        let key = self.key.parse().map_err(|_| changed())?;
        let checkpoint = Note::read(&note)
            .and_then(|note| Checkpoint::parse(note.verified(&key)?))
            .map_err(|_| changed())?;
        let mut beside = Beside {
            file,
            places,
            checkpoint,
        };
        match look(&mut beside) {
            Ok(notes) => self.notes.extend(notes),
            Err(wrong) => {
                for (file, what) in wrong.into_iter().take(FINDINGS) {
                    let offset = beside.places.get(&file).map_or(0, |place| place.offset);
                    self.findings.push(Finding { file, offset, what });
                }
                self.good = self.findings.is_empty();
            }
        }
        Ok(())
    }
}
