//! Root statements: who may sign bundles, how many, and who may change that.
//!
//! Statement n is signed by enough root keys of n-1 and of n. The first one is trusted by its
//! fingerprint, which people carry on paper. Refuses gaps, weak thresholds and keys that stand
//! twice. Source: docs/bundle-format.md, "Keys".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vocab::Digest;

use crate::refusal::Refusal;
use crate::sign::{KeyId, PublicKey, Signature};
use crate::{check, strict};

/// Largest statement that is read.
pub const ROOT_MAX_BYTES: u64 = 256 << 10;
/// Most keys of one role.
const KEYS: usize = 32;

/// A statement as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Version of this format: 1.
    pub cofferdam_root: u32,
    /// Whose trust this is, such as `lab`; the product of bundles under it.
    pub site: String,
    /// Its number, from 1.
    pub number: u64,
    /// Day on which it was made, `YYYY-MM-DD`.
    pub created: String,
    /// Who may make the next statement.
    pub root: Role,
    /// Who may sign bundles.
    pub release: Role,
    /// Keys that never count again, in any role, sorted.
    pub revoked: Vec<KeyId>,
    /// Channels whose floor becomes this number when the statement is accepted: what a leap, or
    /// a way back from one, needs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floor_reset: BTreeMap<String, u64>,
}

/// Keys, and how many of them must sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// How many different ones.
    pub threshold: usize,
    /// The keys, sorted by id.
    pub keys: Vec<NamedKey>,
}

/// A key and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedKey {
    /// Its id.
    pub id: KeyId,
    /// Whose, such as `release-a`.
    pub name: String,
    /// The key in base64, the second line of its `.pub` file.
    pub key: String,
}

/// A statement that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    statement: Statement,
    bytes: Vec<u8>,
}

/// A statement as it lies on a medium: its bytes and the signatures over them, by file name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedRoot {
    /// The bytes of `ROOT.n.json`.
    pub bytes: Vec<u8>,
    /// File name and text of each `ROOT.n.json.<key>.minisig`.
    pub signatures: Vec<(String, String)>,
}

impl SealedRoot {
    /// SHA-256 of the statement: what is printed on paper for the first one.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Accepts it as the first, because its fingerprint is the one that was typed.
    pub fn pinned(&self, fingerprint: &Digest) -> Result<Root, Refusal> {
        if self.fingerprint() != *fingerprint {
            return Err(Refusal::Root {
                number: 1,
                reason: format!(
                    "its fingerprint is {}, and the one on paper is {}; compare them digit by \
                     digit, and do not go on when they differ",
                    self.fingerprint().hex(),
                    fingerprint.hex()
                ),
            });
        }
        let statement = self.read()?;
        self.signed_by(&statement.root, &statement)?;
        Ok(self.accepted(statement))
    }

    /// Accepts it as the successor of `before`.
    pub fn after(&self, before: &Root) -> Result<Root, Refusal> {
        let statement = self.read()?;
        let number = statement.number;
        let refused = |reason: String| Refusal::Root { number, reason };
        if number != before.number() + 1 {
            return Err(refused(format!(
                "statement {} is in force, and {} must come next",
                before.number(),
                before.number() + 1
            )));
        }
        if statement.site != before.statement.site {
            return Err(refused(format!(
                "it speaks for {}, and this site is {}",
                statement.site, before.statement.site
            )));
        }
        self.signed_by(&before.statement.root, &before.statement)
            .map_err(|e| refused(format!("by the keys before it: {e}")))?;
        self.signed_by(&statement.root, &statement)
            .map_err(|e| refused(format!("by its own keys: {e}")))?;
        Ok(self.accepted(statement))
    }

    fn accepted(&self, statement: Statement) -> Root {
        Root {
            statement,
            bytes: self.bytes.clone(),
        }
    }

    /// The statement, read but not yet believed.
    pub fn read(&self) -> Result<Statement, Refusal> {
        let what = || "a root statement".to_owned();
        let statement: Statement = strict::from_slice(&self.bytes).map_err(|e| Refusal::Json {
            what: what(),
            reason: e.to_string(),
        })?;
        statement.check()?;
        Ok(statement)
    }

    fn signed_by(&self, role: &Role, statement: &Statement) -> Result<(), Refusal> {
        let signatures = parse_all(&self.signatures)?;
        count(&signatures, &self.bytes, role, &statement.revoked)
            .quorum(role, statement.number)
            .map(drop)
    }
}

impl Root {
    /// Takes one that was accepted before and has been kept: nothing is checked again but its form.
    pub fn kept(bytes: Vec<u8>) -> Result<Self, Refusal> {
        let sealed = SealedRoot {
            bytes,
            signatures: Vec::new(),
        };
        let statement = sealed.read()?;
        Ok(sealed.accepted(statement))
    }

    /// What it says.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.statement.number
    }

    /// Its exact bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

impl Statement {
    /// Its canonical bytes, to be signed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("our own types have text keys");
        bytes.push(b'\n');
        bytes
    }

    fn check(&self) -> Result<(), Refusal> {
        let wrong = |reason: String| Refusal::Root {
            number: self.number,
            reason,
        };
        if self.cofferdam_root != 1 || self.number == 0 {
            return Err(wrong(
                "it is not of format 1, or its number is 0".to_owned(),
            ));
        }
        check::name_rule("site", &self.site)?;
        check::day("created", &self.created)?;
        for (what, role) in [("root", &self.root), ("release", &self.release)] {
            role.check(what).map_err(wrong)?;
            let left = role.keys.iter().filter(|k| !self.revoked.contains(&k.id));
            if left.count() < role.threshold {
                return Err(wrong(format!(
                    "fewer {what} keys are left than its threshold asks for"
                )));
            }
        }
        if !self.revoked.is_sorted_by(|a, b| a < b) {
            return Err(wrong("its revoked keys are not sorted".to_owned()));
        }
        Ok(())
    }
}

impl Role {
    fn check(&self, what: &str) -> Result<(), String> {
        if self.threshold == 0 || self.threshold > self.keys.len() || self.keys.len() > KEYS {
            return Err(format!(
                "role {what} has {} keys and the threshold {}",
                self.keys.len(),
                self.threshold
            ));
        }
        if !self.keys.is_sorted_by(|a, b| a.id < b.id) {
            return Err(format!("the keys of role {what} are not sorted by id"));
        }
        let mut bodies = BTreeSet::new();
        for key in &self.keys {
            let parsed = PublicKey::parse(&key.key).map_err(|e| format!("key {}: {e}", key.id))?;
            if *parsed.id() != key.id || !bodies.insert(key.key.clone()) {
                return Err(format!("key {} is not what it is listed as", key.id));
            }
            check::name_rule("key", &key.name).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// The key of that id.
    #[must_use]
    pub fn find(&self, id: &KeyId) -> Option<&NamedKey> {
        self.keys.iter().find(|key| key.id == *id)
    }
}

/// Which keys of a role signed, and what was wrong with the other signatures.
pub(crate) struct Count {
    /// Each key once, with its signature's file.
    pub(crate) good: Vec<(NamedKey, Signature)>,
    bad: Vec<Refusal>,
}

impl Count {
    /// The good ones, when there are enough.
    pub(crate) fn quorum(
        self,
        role: &Role,
        root: u64,
    ) -> Result<Vec<(NamedKey, Signature)>, Refusal> {
        let have = self.good.len();
        if have >= role.threshold {
            return Ok(self.good);
        }
        // With no good one at all the first bad one says more.
        if have == 0
            && let Some(first) = self.bad.into_iter().next()
        {
            return Err(first);
        }
        let good: Vec<&str> = self.good.iter().map(|(k, _)| k.name.as_str()).collect();
        let who: Vec<&str> = role.keys.iter().map(|k| k.name.as_str()).collect();
        Err(Refusal::Quorum {
            have,
            need: role.threshold,
            root,
            told: if good.is_empty() {
                "none is there".to_owned()
            } else {
                format!("good is that of {}", good.join(", "))
            },
            who: who.join(", "),
        })
    }
}

/// Counts the different keys of `role` that signed `document`.
pub(crate) fn count(
    signatures: &[Signature],
    document: &[u8],
    role: &Role,
    revoked: &[KeyId],
) -> Count {
    let mut count = Count {
        good: Vec::new(),
        bad: Vec::new(),
    };
    for signature in signatures {
        match judge(signature, document, role, revoked) {
            Ok(key) if count.good.iter().all(|(k, _)| k.id != key.id) => {
                count.good.push((key, signature.clone()));
            }
            Ok(_) => {}
            Err(refusal) => count.bad.push(refusal),
        }
    }
    count
}

fn judge(
    signature: &Signature,
    document: &[u8],
    role: &Role,
    revoked: &[KeyId],
) -> Result<NamedKey, Refusal> {
    let bad = |reason: String| Refusal::Signature {
        what: signature.file.clone(),
        reason,
    };
    if revoked.contains(&signature.key) {
        return Err(bad(format!("key {} was revoked", signature.key)));
    }
    let named = role
        .find(&signature.key)
        .ok_or_else(|| bad(format!("key {} is not in the role", signature.key)))?;
    let key = PublicKey::parse(&named.key).map_err(|e| bad(e.to_string()))?;
    signature.check(&key, document)?;
    Ok(named.clone())
}

pub(crate) fn parse_all(signatures: &[(String, String)]) -> Result<Vec<Signature>, Refusal> {
    signatures
        .iter()
        .map(|(file, text)| Signature::parse(file, text))
        .collect()
}
