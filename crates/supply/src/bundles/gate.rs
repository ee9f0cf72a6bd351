//! The gate: what this appliance is and has, against which a verified bundle is judged.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bundle::{Appliance, Item, Judged, Refusal, Verified};
use store::Db;

use super::BundleError;
use super::floors::Floors;
use super::intake::About;
use crate::generation;
use crate::sql::bundles as sql;

/// Whether `verified` may come in here.
pub(super) fn judge(
    db: &Db,
    about: &About,
    floors: &Floors,
    now: SystemTime,
    verified: &Verified,
    quorum_override: bool,
) -> Result<Judged, BundleError> {
    if verified.root.number() < floors.root {
        return Err(Refusal::Root {
            number: floors.root,
            reason: format!(
                "it was in force here, and this medium and the database know statements up to {}; \
                 bring a medium that has it",
                verified.root.number()
            ),
        }
        .into());
    }
    let appliance = appliance(db, about, floors, now, verified, quorum_override)?;
    Ok(verified.judge(&appliance)?)
}

fn appliance(
    db: &Db,
    about: &About,
    floors: &Floors,
    now: SystemTime,
    verified: &Verified,
    quorum_override: bool,
) -> Result<Appliance, BundleError> {
    let manifest = &verified.manifest;
    let items = match generation::active(db)? {
        Some(active) => sql::items(db, active)?,
        None => Vec::new(),
    };
    let pins: BTreeMap<String, String> = items.iter().flat_map(Item::pins).collect();
    Ok(Appliance {
        name: about.name.clone(),
        version: about.version,
        arch: about.arch.clone(),
        day: effective_day(&day(now), &floors.day, &about.built),
        seq: floors.seq(&manifest.product, &manifest.channel, &verified.digest),
        epoch: floors.epoch,
        active: sql::active_bundle(db)?.map(|b| (b.manifest, b.content)),
        keys: items.iter().map(Item::key).collect(),
        pins,
        quorum_override,
    })
}

/// The later of the clock's day, the newest signed day and the day of the build. Only signed days
/// raise the floor: a clock that runs ahead does so no longer than it does.
pub(super) fn effective_day(clock: &str, signed: &str, built: &str) -> String {
    clock.max(signed).max(built).to_owned()
}

/// The day of an instant, `YYYY-MM-DD` in UTC. Source: Hinnant, "civil_from_days".
pub(super) fn day(at: SystemTime) -> String {
    let days = at
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
        / 86_400;
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// An instant in unix milliseconds, as people read it.
pub(super) fn instant(ms: i64) -> String {
    let at = vocab::from_unix_ms(ms);
    let of_day = ms.max(0) / 1000 % 86_400;
    format!(
        "{} {:02}:{:02}:{:02}Z",
        day(at),
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |secs| day(UNIX_EPOCH + Duration::from_secs(secs));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(951_782_400), "2000-02-29");
        assert_eq!(at(1_795_651_200), "2026-11-26");
        assert_eq!(at(4_102_444_799), "2099-12-31");
    }

    #[test]
    fn the_latest_of_three_days_counts() {
        assert_eq!(effective_day("1970-01-01", "", "2026-11-01"), "2026-11-01");
        assert_eq!(
            effective_day("2016-01-01", "2026-12-01", "2026-11-01"),
            "2026-12-01"
        );
        assert_eq!(
            effective_day("2027-01-01", "2026-12-01", "2026-11-01"),
            "2027-01-01"
        );
    }
}
