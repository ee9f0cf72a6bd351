//! Variables: named values that are no secrets.

use std::collections::BTreeMap;

use audit::{Auditor, Entry, Kind, Who};
use store::{Db, Tx};
use vocab::{RepoId, unix_ms};

use crate::names::{check_name, check_value};
use crate::{Home, NAMED_VALUES_MAX, SecretError, ValueError, sql};

/// Sets a variable, new or not.
pub fn set_var(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    home: Home<'_>,
    name: &str,
    value: &str,
) -> Result<(), SecretError> {
    check_name(name)?;
    check_value(name, value)?;
    let there = sql::vars(tx, home.repo())?;
    let many = i64::try_from(there.len()).unwrap_or(i64::MAX);
    if !there.contains_key(name) && many >= NAMED_VALUES_MAX {
        return Err(ValueError::TooMany.into());
    }
    sql::set_var(tx, home.repo(), name, value, unix_ms(log.now()))?;
    let entry = home
        .object(Entry::success(Kind::VariableChange))
        .detail("name", name)
        .detail("set", true);
    log.append(tx, who, entry)?;
    Ok(())
}

/// Removes a variable. Returns whether there was one.
pub fn remove_var(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    home: Home<'_>,
    name: &str,
) -> Result<bool, SecretError> {
    if !sql::remove_var(tx, home.repo(), name)? {
        return Ok(false);
    }
    let entry = home
        .object(Entry::success(Kind::VariableChange))
        .detail("name", name)
        .detail("set", false);
    log.append(tx, who, entry)?;
    Ok(true)
}

/// The variables that stand in `home`.
pub fn list_vars(db: &Db, home: Home<'_>) -> rusqlite::Result<BTreeMap<String, String>> {
    sql::vars(db, home.repo())
}

/// The variables that a job of `repo` sees: the instance's, and over them the repo's.
pub fn vars_for_job(db: &Db, repo: RepoId) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut vars = sql::vars(db, RepoId(0))?;
    vars.extend(sql::vars(db, repo)?);
    Ok(vars)
}
