//! What a job of an appliance gets from its generation: tools for `setup-*` actions.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

use bundle::Item;
use bundle::manifest::{Tool, ToolFormat};
use runner::{Supply, SupplyFacts, ToolFacts, ToolPacking};
use store::Store;
use supply::{GenerationId, Given, Wants, generation};
use vocab::Fence;

use crate::Appliance;
use crate::dispatcher::chain;

/// One generation, for one job.
pub(crate) struct Supplied {
    store: Arc<Store>,
    generation: GenerationId,
    facts: SupplyFacts,
    fence: Fence,
    wants: Wants,
    given: Given,
    aliases: Arc<BTreeMap<String, String>>,
}

impl Supplied {
    pub(crate) fn look(
        appliance: &Appliance,
        generation: GenerationId,
        fence: Fence,
    ) -> Result<Self, String> {
        let maker = appliance
            .store
            .read(|db| generation::maker(db, generation))
            .map_err(|e| chain(&e))?
            .ok_or_else(|| format!("generation {} is gone", generation.0))?;
        Ok(Self {
            store: appliance.store.clone(),
            generation,
            facts: SupplyFacts {
                generation: generation.0,
                product: maker.product,
                channel: maker.channel,
                seq: maker.seq,
                manifest: maker.manifest,
            },
            fence,
            wants: appliance.wants.clone(),
            given: appliance.given.clone(),
            aliases: appliance.aliases.clone(),
        })
    }
}

impl fmt::Debug for Supplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supplied")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl Supply for Supplied {
    fn facts(&self) -> SupplyFacts {
        self.facts.clone()
    }

    fn tools(&self, name: &str) -> Result<Vec<ToolFacts>, String> {
        let items = self
            .store
            .read(|db| generation::items_named(db, self.generation, "toolcache", name))
            .map_err(|e| chain(&e))?;
        Ok(items
            .into_iter()
            .filter_map(|item| match item {
                Item::Toolcache(tool) if tool.arch == "x64" => Some(facts(tool)),
                _ => None,
            })
            .collect())
    }

    fn open_tool(&self, tool: &ToolFacts) -> Result<Box<dyn Read + Send>, String> {
        let has = self
            .store
            .read(|db| generation::has_blob(db, self.generation, &tool.digest));
        if !has.map_err(|e| chain(&e))? {
            return Err(format!("{} is not in this generation", tool.digest));
        }
        let file = self.store.blobs().read(&tool.digest);
        let file = file.map_err(|e| chain(&e))?;
        self.given.note(self.fence, &tool.digest);
        Ok(Box::new(file))
    }

    fn alias(&self, name: &str, version: &str) -> Option<String> {
        let asked = format!("{name} {version}");
        self.aliases
            .iter()
            .find(|(from, _)| from.eq_ignore_ascii_case(&asked))
            .map(|(_, to)| to.clone())
    }

    fn want(&self, kind: &str, name: &str) {
        self.wants.note(kind, name, Some(self.fence.job));
    }
}

fn facts(tool: Tool) -> ToolFacts {
    ToolFacts {
        name: tool.name,
        version: tool.version,
        digest: tool.d,
        packing: match tool.format {
            ToolFormat::TarGz => ToolPacking::TarGz,
            ToolFormat::TarZst => ToolPacking::TarZst,
        },
        strip: tool.strip,
    }
}
