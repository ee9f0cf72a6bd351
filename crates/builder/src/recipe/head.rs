//! `[bundle]` and `[sign]`: for whom a bundle is, how long it may be imported, who signs.

use std::path::PathBuf;

use bundle::manifest::VOLUME_MAX_BYTES;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// `[bundle]`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the content is for, such as `lab`.
    pub product: String,
    /// The line of releases, such as `stable`.
    pub channel: String,
    /// Version of the content as people say it; absent means the day of the lock.
    pub content: Option<String>,
    /// Processor architectures, sorted.
    pub arch: Vec<String>,
    /// Largest volume in bytes.
    pub volume_bytes: u64,
    /// How long after its lock it may be imported.
    pub not_after: Span,
    /// What happens when a name moves to other content.
    pub keep_tags: KeepTags,
    /// The version of the content that it goes back from, when it means to go back.
    pub rollback_of: Option<String>,
    /// The appliances that it is meant for, sorted; empty means all.
    pub audience: Vec<String>,
    /// The oldest appliance that can use it.
    pub min_appliance: Option<String>,
    /// Undo never goes below the highest epoch that was imported.
    pub security_epoch: u64,
    /// Release notes, from the recipe's folder.
    pub notes: Option<PathBuf>,
}

/// A span of days or of calendar months.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// `180d`
    Days(i64),
    /// `6mo`, `1y`
    Months(i64),
}

impl Span {
    /// The day that lies this far after `day`.
    #[must_use]
    pub fn after(self, day: Date) -> Date {
        let span = match self {
            Self::Days(n) => jiff::Span::new().days(n),
            Self::Months(n) => jiff::Span::new().months(n),
        };
        day.saturating_add(span)
    }

    fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = text[..split].parse().ok()?;
        let span = match &text[split..] {
            "d" => Self::Days(count),
            "mo" => Self::Months(count),
            "y" => Self::Months(count.checked_mul(12)?),
            _ => return None,
        };
        let sane = match span {
            Self::Days(n) => (1..=3660).contains(&n),
            Self::Months(n) => (1..=120).contains(&n),
        };
        sane.then_some(span)
    }
}

/// What happens when a name moves to other content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepTags {
    /// The bundle says so, and the import shows it.
    #[default]
    Replace,
    /// The lock is refused.
    Refuse,
}

/// `[sign]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// Folder of the trust root, from the recipe's folder.
    #[serde(default)]
    pub trust: Option<PathBuf>,
    /// Key files that sign, from the recipe's folder; `--key` adds to them.
    #[serde(default)]
    pub release: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHead {
    product: String,
    channel: String,
    content: Option<String>,
    #[serde(default = "amd64")]
    arch: Vec<String>,
    #[serde(default = "four_gigabytes")]
    volume: String,
    #[serde(default = "half_a_year")]
    not_after: String,
    #[serde(default)]
    keep_tags: KeepTags,
    #[serde(default)]
    audience: Vec<String>,
    min_appliance: Option<String>,
    rollback_of: Option<String>,
    #[serde(default)]
    security_epoch: u64,
    notes: Option<PathBuf>,
}

fn amd64() -> Vec<String> {
    vec!["amd64".to_owned()]
}

fn four_gigabytes() -> String {
    "4GB".to_owned()
}

fn half_a_year() -> String {
    "6mo".to_owned()
}

impl RawHead {
    /// The error is the key and what is wrong with it.
    pub(super) fn checked(mut self) -> Result<Head, (&'static str, String)> {
        for (key, text) in [("product", &self.product), ("channel", &self.channel)] {
            if !is_word(text) {
                let said = "one word of a-z, 0-9 and '-', at most 32 letters";
                return Err((key, format!("{key} {text:?} must be {said}")));
            }
        }
        self.arch.sort();
        self.arch.dedup();
        if self.arch.is_empty() || self.arch.iter().any(|a| a != "amd64" && a != "arm64") {
            let said = "arch must be a list of \"amd64\" and \"arm64\"";
            return Err(("arch", said.to_owned()));
        }
        let volume_bytes = volume_bytes(&self.volume).ok_or_else(|| {
            let said = format!(
                "volume {:?} must be a size such as \"650MB\" or \"4GB\", at most {VOLUME_MAX_BYTES} \
                 bytes, which FAT32 holds",
                self.volume
            );
            ("volume", said)
        })?;
        let not_after = Span::parse(&self.not_after).ok_or_else(|| {
            let said = "must be a span such as \"90d\", \"6mo\" or \"1y\", at most ten years";
            (
                "not_after",
                format!("not_after {:?} {said}", self.not_after),
            )
        })?;
        if let Some(text) = &self.content
            && (text.is_empty() || text.len() > 64 || !text.chars().all(is_plain))
        {
            let said = "must be letters, digits, '.', '-' and '_', at most 64";
            return Err(("content", format!("content {text:?} {said}")));
        }
        if let Some(text) = &self.min_appliance
            && !is_version(text)
        {
            let said = format!("min_appliance {text:?} must be a version such as \"0.2.0\"");
            return Err(("min_appliance", said));
        }
        self.audience.sort();
        self.audience.dedup();
        Ok(Head {
            product: self.product,
            channel: self.channel,
            content: self.content,
            arch: self.arch,
            volume_bytes,
            not_after,
            keep_tags: self.keep_tags,
            audience: self.audience,
            min_appliance: self.min_appliance,
            rollback_of: self.rollback_of,
            security_epoch: self.security_epoch,
            notes: self.notes,
        })
    }
}

fn is_word(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=32).contains(&text.len()) && text.chars().all(ok) && !text.starts_with('-')
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// `MAJOR.MINOR.PATCH`
pub(super) fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |p: &&str| !p.is_empty() && p.len() < 9 && p.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(number)
}

fn volume_bytes(text: &str) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let count: u64 = text[..split].parse().ok()?;
    let unit = match text[split..].trim_start() {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let bytes = count.checked_mul(unit)?;
    (100_000..=VOLUME_MAX_BYTES)
        .contains(&bytes)
        .then_some(bytes)
}
