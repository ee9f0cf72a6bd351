//! The one transaction that makes an import true.

use std::collections::{BTreeMap, BTreeSet};

use audit::{Entry, Kind, Who};
use bundle::{Item, Verified};
use store::Tx;
use vocab::unix_ms;

use super::diff::between;
use super::floors::{self, Floor};
use super::intake::Intake;
use super::{BundleError, gc, trust};
use crate::sql::bundles as sql;
use crate::{GenerationId, generation};

/// Most entries of one kind of item; the rest stands in the commit's own entry as a count.
const ITEM_ENTRIES: usize = 100;

/// An entry about this bundle.
pub(super) fn about(kind: Kind, verified: &Verified) -> Entry {
    let manifest = &verified.manifest;
    let name = format!("{} {} {}", manifest.product, manifest.channel, manifest.seq);
    Entry::success(kind)
        .object("bundle", format!("bundle:{}", verified.digest.hex()), name)
        .detail("content", manifest.content.as_str())
}

/// Inserts the generation with all that comes with it, and makes it active.
pub(super) fn commit(
    intake: &Intake,
    who: &Who,
    verified: &Verified,
    bundle: i64,
    brought_by: Option<&str>,
) -> Result<GenerationId, BundleError> {
    let store = &intake.store;
    let manifest = &verified.manifest;
    // First the sealed floors: a crash in between leaves them higher, never lower, and the very
    // same bundle may come in all the same.
    let mut raised = store.read(|db| floors::read(db, store.dir()))?;
    trust::floors_after(&mut raised, &verified.new_roots);
    let floor = Floor {
        seq: manifest.seq,
        manifest: Some(verified.digest),
    };
    raised.set(&manifest.product, &manifest.channel, floor);
    raised.epoch = raised.epoch.max(manifest.security_epoch);
    raised.day = raised.day.max(manifest.created.clone());
    floors::seal(store.dir(), &raised)?;

    let now_ms = unix_ms(intake.auditor.now());
    let id = store.write(|tx| {
        let before = match generation::active(tx)? {
            Some(active) => sql::items(tx, active)?,
            None => Vec::new(),
        };
        let (epoch, _) = sql::head(tx)?;
        trust::accept(tx, &intake.auditor, who, &verified.new_roots, now_ms)?;
        sql::set_floor(tx, &manifest.product, &manifest.channel, manifest.seq)?;
        sql::raise_day(tx, &manifest.created)?;
        let id = generation::insert(tx, bundle, manifest, &manifest.closure_blobs(), now_ms)?;
        sql::commit(tx, bundle, now_ms)?;
        for seq in sql::give_up_older(tx, &manifest.product, &manifest.channel, manifest.seq)? {
            let entry = about(Kind::BundleAborted, verified).detail("overtaken", seq);
            intake.auditor.append(tx, who, entry)?;
        }
        gc::let_go_of_old(tx, intake)?;
        if let Some(by) = brought_by {
            let entry = about(Kind::BundleApproved, verified).detail("brought_by", by);
            intake.auditor.append(tx, who, entry)?;
        }
        let diff = between(&before, &manifest.items);
        let mut entry = about(Kind::BundleCommitted, verified)
            .detail("generation", id.0)
            .detail("manifest", verified.digest.to_string())
            .detail("items", manifest.items.len())
            .detail("added", diff.added.len())
            .detail("moved", diff.moved.len())
            .detail("retired", diff.retired.len())
            .detail("comment", verified.comment.as_str());
        if !verified.override_by.is_empty() {
            entry = entry.detail("overridden", true);
        }
        intake.auditor.append(tx, who, entry)?;
        if manifest.security_epoch > epoch {
            let entry = about(Kind::EpochRaised, verified)
                .detail("from", epoch)
                .detail("to", manifest.security_epoch);
            intake.auditor.append(tx, who, entry)?;
        }
        tell_items(tx, intake, who, &before, verified)?;
        Ok::<_, BundleError>(id)
    })?;
    intake.auditor.set_generation(id.0);
    gc::keep_reserve(store);
    Ok(id)
}

/// Accepts root statements that came with the bundle that is active already.
pub(super) fn roots_only(
    intake: &Intake,
    who: &Who,
    verified: &Verified,
) -> Result<(), BundleError> {
    if verified.new_roots.is_empty() {
        return Ok(());
    }
    let store = &intake.store;
    let mut raised = store.read(|db| floors::read(db, store.dir()))?;
    trust::floors_after(&mut raised, &verified.new_roots);
    floors::seal(store.dir(), &raised)?;
    let now_ms = unix_ms(intake.auditor.now());
    store.write(|tx| trust::accept(tx, &intake.auditor, who, &verified.new_roots, now_ms))
}

/// Says what the generation brings that the one before had not, one entry an item.
fn tell_items(
    tx: &mut Tx<'_>,
    intake: &Intake,
    who: &Who,
    before: &[Item],
    verified: &Verified,
) -> Result<(), BundleError> {
    let manifest = &verified.manifest;
    if !verified.override_by.is_empty() {
        let names: Vec<&str> = verified
            .override_by
            .iter()
            .map(|s| s.name.as_str())
            .collect();
        let entry = about(Kind::KeyQuorumOverride, verified).detail("by", names.join(", "));
        intake.auditor.append(tx, who, entry)?;
    }
    let known: BTreeMap<String, &Item> = before.iter().map(|i| (i.key(), i)).collect();
    let mut packages = 0;
    for kind in ["oci", "action", "toolcache", "pypi"] {
        let mut told = 0;
        for item in manifest.items.iter().filter(|item| item.kind() == kind) {
            let old = known.get(&item.key());
            if old.is_some_and(|old| *old == item) {
                continue;
            }
            let entry = match (item, old.is_some()) {
                (Item::Oci(_), _) => Kind::ImageAdded,
                (Item::Action(_), true) => Kind::ActionMoved,
                (Item::Action(_), false) => Kind::ActionAdded,
                (Item::Toolcache(_), _) => Kind::ToolcacheAdded,
                _ => {
                    packages += 1;
                    continue;
                }
            };
            told += 1;
            if told <= ITEM_ENTRIES {
                let entry = Entry::success(entry)
                    .object("item", item.key(), item.key())
                    .detail("origin", item.source().uri.as_str())
                    .detail("seq", manifest.seq);
                intake.auditor.append(tx, who, entry)?;
            }
        }
    }
    if packages > 0 {
        let entry = about(Kind::IndexAdded, verified)
            .detail("kind", "pypi")
            .detail("projects", packages);
        intake.auditor.append(tx, who, entry)?;
    }
    let kept: BTreeSet<String> = manifest.items.iter().map(Item::key).collect();
    let gone = before.iter().filter(|old| old.kind() == "oci");
    for key in gone.map(Item::key).filter(|key| !kept.contains(key)) {
        let entry = Entry::success(Kind::ImageRemoved)
            .object("item", key.clone(), key)
            .detail("seq", manifest.seq);
        intake.auditor.append(tx, who, entry)?;
    }
    Ok(())
}
