//! What of a log is evidence toward which control: counts, and the first entries of each.
//!
//! A control without an entry has its row too, and so has one that no kind of entry speaks to. That
//! a control is met is never said.

use serde_json::Value;

use super::text::{csv_row, fields};

/// The mapping of this program: framework, control, title, kinds of entries, and the document that
/// numbers and titles were taken from.
pub const MAPPING: &str = include_str!("controls.csv");
pub(super) const HEAD: &str =
    "framework,control,title,evidence toward it,entries,for example,source";
/// Entries that are named for each control.
pub const EXAMPLES: usize = 3;
/// Most controls of a mapping.
const CONTROLS_MAX: usize = 10_000;

/// The controls of a mapping, and what was seen toward them.
#[derive(Clone, Debug)]
pub struct Controls(Vec<Control>);

/// One control and what was seen toward it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// The framework, such as `NIST SP 800-53r5`.
    pub framework: String,
    /// Its name there, such as `AU-2`.
    pub control: String,
    /// Its title.
    pub title: String,
    /// Kinds of entries that are evidence toward it, some with `*` at their end.
    pub kinds: Vec<String>,
    /// The document that number and title were taken from.
    pub source: String,
    /// How many entries there are.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<u64>,
}

impl Controls {
    /// By this program's own mapping.
    #[must_use]
    pub fn own() -> Self {
        Self::of(MAPPING)
    }

    /// By another mapping of the same form, such as the one that an export carries.
    #[must_use]
    pub fn of(mapping: &str) -> Self {
        let control = |line: &str| {
            let fields = fields(line);
            let field = |at: usize| fields.get(at).cloned().unwrap_or_default();
            Control {
                framework: field(0),
                control: field(1),
                title: field(2),
                kinds: field(3).split_whitespace().map(str::to_owned).collect(),
                source: field(4),
                count: 0,
                examples: Vec::new(),
            }
        };
        let lines = mapping.lines().skip(1).take(CONTROLS_MAX);
        Self(lines.map(control).collect())
    }

    /// Counts an entry toward each control that its kind speaks to.
    pub fn see(&mut self, entry: &Value) {
        let kind = entry["act"].as_str().unwrap_or_default();
        self.add(kind, 1, entry["seq"].as_u64().as_slice());
    }

    /// Counts `count` entries of one kind, the first of which are `seqs`.
    pub fn add(&mut self, kind: &str, count: u64, seqs: &[u64]) {
        let speaks = |control: &&mut Control| control.kinds.iter().any(|w| fits(w, kind));
        for control in self.0.iter_mut().filter(speaks) {
            control.count += count;
            for seq in seqs {
                let at = control.examples.partition_point(|known| known < seq);
                control.examples.insert(at, *seq);
                control.examples.truncate(EXAMPLES);
            }
        }
    }

    /// Each control in the order of the mapping.
    pub fn iter(&self) -> impl Iterator<Item = &Control> {
        self.0.iter()
    }

    /// The table as CSV; `hidden` is how many entries were not seen.
    #[must_use]
    pub fn csv(&self, hidden: u64) -> String {
        let mut text = format!("{HEAD}\n");
        for row in self.rows(hidden) {
            text.push_str(&csv_row(&row));
            text.push('\n');
        }
        text
    }

    pub(super) fn rows(&self, hidden: u64) -> Vec<Vec<String>> {
        self.0.iter().map(|control| control.row(hidden)).collect()
    }

    /// Framework, control and kinds of each row: for checks of the mapping.
    pub fn mapped(&self) -> impl Iterator<Item = (&str, &str, &[String])> {
        self.0
            .iter()
            .map(|c| (c.framework.as_str(), c.control.as_str(), c.kinds.as_slice()))
    }
}

/// Whether a kind is the wanted one, or begins as `wanted` does before its `*`.
pub(super) fn fits(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => kind == wanted,
    }
}

impl Control {
    /// What to say of it, where the bodies of `hidden` entries were not seen.
    #[must_use]
    pub fn words(&self, hidden: u64) -> &'static str {
        match (self.count, hidden) {
            _ if self.kinds.is_empty() => "missing: no kind of entry speaks to it",
            (0, 0) => "missing: no such entry in this range",
            (0, _) => "missing: no such entry is shown; others are hidden",
            _ => "yes",
        }
    }

    fn row(&self, hidden: u64) -> Vec<String> {
        let examples: Vec<String> = self.examples.iter().map(u64::to_string).collect();
        vec![
            self.framework.clone(),
            self.control.clone(),
            self.title.clone(),
            self.words(hidden).to_owned(),
            self.count.to_string(),
            examples.join(" "),
            self.source.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    /// The controls that the project answers for, by framework.
    const WANTED: [(&str, &str); 5] = [
        (
            "NIST SP 800-53r5",
            "AU-2 AU-3 AU-3(1) AU-4 AU-5 AU-6 AU-7 AU-8 AU-9 AU-9(2) AU-9(3) AU-9(4) AU-10 AU-11 \
             AU-12 AC-2 AC-3 AC-6(9) AC-7 CM-3 CM-5 CM-6 CM-7 CM-8 CM-14 IA-2 IA-5 MA-2 MA-3(3) \
             MP-5 MP-7 RA-5 SA-10 SA-11 SA-15 SC-7 SC-12 SC-13 SC-39 SI-2 SI-3 SI-7 SI-7(1) \
             SI-7(6) SI-7(15) SI-10 SR-3 SR-4 SR-9 SR-11",
        ),
        (
            "NIST SP 800-171r2, CMMC L2",
            "3.3.1 3.3.2 3.3.3 3.3.4 3.3.5 3.3.6 3.3.7 3.3.8 3.3.9 3.4.1 3.4.2 3.4.3 3.4.4 3.4.5 \
             3.4.6 3.4.7 3.4.8 3.4.9 3.8.1 3.8.2 3.8.3 3.8.4 3.8.5 3.8.6 3.8.7 3.8.8 3.8.9 3.14.1 \
             3.14.2 3.14.3 3.14.4 3.14.5 3.14.6 3.14.7",
        ),
        (
            "IEC 62443-3-3",
            "SR_2.8 SR_2.9 SR_2.10 SR_2.11 SR_2.12 SR_3.4 SR_3.9 SR_6.1 SR_7.6 SR_7.8",
        ),
        ("IEC 62443-4-1", "SUM-1 SUM-2 SUM-3 SUM-4 SUM-5 SM-6 SM-8"),
        ("SSDF 1.1", "PO.3 PO.5 PS.1 PS.2 PS.3 PW.4 PW.6 RV.1"),
    ];

    #[test]
    fn every_control_has_one_row_with_its_title_and_where_that_stands() {
        let controls = Controls::own();
        let there: Vec<String> = controls
            .mapped()
            .map(|(framework, control, _)| format!("{framework} {control}"))
            .collect();
        let unique: BTreeSet<&String> = there.iter().collect();
        assert_eq!(unique.len(), there.len());
        for (framework, all) in WANTED {
            for control in all.split_whitespace() {
                let name = format!("{framework} {}", control.replace('_', " "));
                assert!(unique.contains(&name), "{name}");
            }
        }
        assert!(
            controls
                .0
                .iter()
                .all(|c| !c.title.is_empty() && !c.source.is_empty())
        );
    }

    #[test]
    fn entries_are_counted_and_what_is_missing_has_its_row() {
        let mut controls = Controls::of(
            "framework,control,title,kinds,source\nF,A,\"a, b\",git.* boot,S\nF,B,b,,S\nF,C,c,x.y,S\n",
        );
        for (seq, act) in ["git.push", "boot", "boots", "git.fetch", "boot", "boot"]
            .iter()
            .enumerate()
        {
            controls.see(&json!({ "seq": seq, "act": act }));
        }
        let said = "F,A,\"a, b\",yes,5,0 1 3,S\nF,B,b,missing: no kind of entry speaks to it,0,,S\n\
                    F,C,c,missing: no such entry in this range,0,,S\n";
        assert_eq!(controls.csv(0), format!("{HEAD}\n{said}"));
        assert!(controls.csv(1).contains("others are hidden"));
        assert!(!controls.csv(0).contains("ompliant"));
    }

    #[test]
    fn entries_counted_one_by_one_or_by_kind_give_the_same() {
        let (mut singly, mut by_kind) = (Controls::own(), Controls::own());
        let log = [
            "git.push", "boot", "git.push", "login.ok", "git.push", "git.push",
        ];
        for (seq, kind) in (0u64..).zip(log) {
            singly.see(&serde_json::json!({"seq": seq, "act": kind}));
        }
        for (kind, count, first) in [
            ("login.ok", 1, &[3][..]),
            ("git.push", 4, &[0, 2, 4]),
            ("boot", 1, &[1]),
        ] {
            by_kind.add(kind, count, first);
        }
        assert!(singly.iter().eq(by_kind.iter()));
        assert!(
            singly
                .iter()
                .any(|c| (c.count, &c.examples[..]) == (6, &[0, 1, 2][..]))
        );
    }
}
