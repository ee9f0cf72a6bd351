//! How a bundle came in: who signed it, who approved it, and where the log says so.

use audit::{Filter, Kind};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::{Db, StoreError};
use supply::GenerationId;
use supply::bundles::{self, Row};

/// One deed, as the audit log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deed {
    /// The entry's place in the log.
    pub seq: u64,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Who: `u:17`, `uid:0`.
    pub by: String,
}

/// How one bundle came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Custody {
    /// Its product.
    pub product: String,
    /// Its channel.
    pub channel: String,
    /// Its number there.
    pub seq: u64,
    /// SHA-256 of its manifest, in hex.
    pub manifest: String,
    /// Who signed it, by the root statement: name and key.
    pub signers: Vec<(String, String)>,
    /// Who approved it, where another person had to.
    pub approved: Vec<Deed>,
    /// Who made it the active generation.
    pub committed: Option<Deed>,
}

impl Custody {
    /// How the bundle of that row came in.
    pub fn load(db: &Db, row: &Row) -> Result<Self, StoreError> {
        let object = format!("bundle:{}", row.manifest.hex());
        let deeds = |kind: Kind| -> Result<Vec<Deed>, StoreError> {
            let filter = Filter {
                kind: Some(kind.as_str().to_owned()),
                object: Some(object.clone()),
                ..Filter::default()
            };
            let mut lines = audit::list(db, &filter, 100)?;
            lines.reverse();
            Ok(lines.iter().map(deed).collect())
        };
        let signers = row.signed.signers.iter();
        Ok(Self {
            product: row.product.clone(),
            channel: row.channel.clone(),
            seq: row.seq,
            manifest: row.manifest.hex(),
            signers: signers
                .map(|signer| (signer.name.clone(), signer.key.to_string()))
                .collect(),
            approved: deeds(Kind::BundleApproved)?,
            committed: deeds(Kind::BundleCommitted)?.pop(),
        })
    }

    /// How the bundle came in that made `generation`; `None` when there is no such generation.
    pub fn of_generation(db: &Db, generation: GenerationId) -> Result<Option<Self>, StoreError> {
        let all = bundles::history(db)?;
        let made = all.into_iter().find(|row| row.generation == generation.0);
        made.map(|row| Self::load(db, &row.bundle)).transpose()
    }

    /// What is written to each thing that the bundle brought.
    #[must_use]
    pub fn annotations(&self) -> Map<String, Value> {
        let signers: Vec<Value> = self
            .signers
            .iter()
            .map(|(name, key)| json!({ "name": name, "key": key }))
            .collect();
        let mut map = Map::new();
        let name = format!("{} {} {}", self.product, self.channel, self.seq);
        map.insert("bundle".into(), name.into());
        map.insert("bundleSequence".into(), self.seq.into());
        map.insert(
            "bundleManifest".into(),
            format!("sha256:{}", self.manifest).into(),
        );
        map.insert("bundleSigners".into(), signers.into());
        if let Some(committed) = &self.committed {
            map.insert("logIndex".into(), committed.seq.into());
        }
        map
    }
}

pub(crate) fn deed(line: &audit::Line) -> Deed {
    let value: Value = serde_json::from_str(&line.text).unwrap_or_default();
    let text = |pointer: &str| {
        let found = value.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    Deed {
        seq: u64::try_from(line.seq.0).unwrap_or(0),
        at: text("/t"),
        by: text("/who/id"),
    }
}

#[cfg(test)]
mod tests {
    use audit::{Actor, Auditor, Entry, Origin, Via, Who};
    use store::Store;
    use supply::testing::Draft;
    use vocab::{Clock, Entropy, UserId, from_unix_ms};

    use super::*;

    #[test]
    fn a_bundle_is_told_of_with_who_signed_approved_and_committed_it_and_where() {
        let dir = tempfile::tempdir().unwrap();
        let tables = [audit::MIGRATIONS, supply::MIGRATIONS];
        let store = Store::open(dir.path(), &tables, store::StoreOptions::default()).unwrap();
        Draft::default().activate(&store, 7).unwrap();
        let generation = store.read(supply::generation::active).unwrap().unwrap();
        let load = || {
            let found = store.read(|db| Custody::of_generation(db, generation));
            found.unwrap().unwrap()
        };
        let before = load();
        assert_eq!((before.seq, &before.committed), (7, &None));
        assert!(!before.annotations().contains_key("logIndex"));

        let origin = Origin {
            host: "lab".into(),
            boot: "b".into(),
        };
        let clock = Clock::scripted(from_unix_ms(1_790_000_000_000));
        let auditor = Auditor::new(clock, Entropy::scripted(1), origin);
        let by = |id| {
            let name = "dev".parse().unwrap();
            Who::new(
                Actor::User {
                    id: UserId(id),
                    name,
                },
                Via::Http,
            )
        };
        let about = |kind, manifest: &str| {
            Entry::success(kind).object("bundle", format!("bundle:{manifest}"), "x")
        };
        store
            .write::<_, crate::AttestError>(|tx| {
                auditor.append(tx, &by(3), about(Kind::BundleCommitted, "of another"))?;
                auditor.append(tx, &by(4), about(Kind::BundleApproved, &before.manifest))?;
                auditor.append(tx, &by(4), about(Kind::BundleCommitted, &before.manifest))?;
                Ok(())
            })
            .unwrap();
        let after = load();
        assert_eq!(after.approved.len(), 1);
        assert_eq!(
            (after.approved[0].seq, after.approved[0].by.as_str()),
            (1, "u:4")
        );
        assert_eq!(after.committed.as_ref().unwrap().seq, 2);
        let said = after.annotations();
        assert_eq!(said["logIndex"], 2);
        assert_eq!(said["bundleSequence"], 7);
        assert_eq!(
            said["bundleManifest"],
            format!("sha256:{}", before.manifest)
        );
    }
}
