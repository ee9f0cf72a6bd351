//! Log records as HTML lines: anchors, times on demand, colours, groups that fold.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use queue::logs::{Kind, Record};

use crate::ansi;

/// The lines of each step, as HTML, in the order of the log; numbered where `from_start` says
/// that the records hold the step's first line.
pub(crate) fn by_step(
    records: &[Record],
    from_start: &dyn Fn(u32) -> bool,
) -> BTreeMap<u32, String> {
    let mut steps: BTreeMap<u32, Lines> = BTreeMap::new();
    for record in records {
        let lines = steps.entry(record.step).or_insert_with(|| Lines {
            numbered: from_start(record.step),
            ..Lines::default()
        });
        lines.push(record);
    }
    steps
        .into_iter()
        .map(|(step, lines)| (step, lines.done()))
        .collect()
}

#[derive(Default)]
struct Lines {
    html: String,
    count: usize,
    numbered: bool,
    in_group: bool,
}

impl Lines {
    fn push(&mut self, record: &Record) {
        match record.kind {
            Kind::Endgroup => self.close(),
            Kind::Group => {
                self.close();
                self.html.push_str("<details class=\"g\" open><summary>");
                self.line(record, "<span class=\"tw\"></span>");
                self.html.push_str("</summary>");
                self.in_group = true;
            }
            _ => self.line(record, ""),
        }
    }

    fn line(&mut self, record: &Record, before: &str) {
        self.count += 1;
        let (at, kind) = (record.offset, record.kind.as_str());
        let n = if self.numbered {
            self.count.to_string()
        } else {
            "·".to_owned()
        };
        let time = clock(record.at_ms);
        let text = ansi::html(&ansi::spans(&record.text));
        write!(
            self.html,
            "<div class=\"l k-{kind}\" id=\"o{at}\"><a class=\"n\" href=\"#o{at}\" data-n=\"{n}\" \
             aria-label=\"Line {n}\"></a><span class=\"t\">{time}</span>{before}{text}</div>"
        )
        .expect("a String takes every write");
    }

    fn close(&mut self) {
        if self.in_group {
            self.html.push_str("</details>");
            self.in_group = false;
        }
    }

    fn done(mut self) -> String {
        self.close();
        self.html
    }
}

/// `09:31:04.123`, UTC.
fn clock(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map(|at| at.strftime("%H:%M:%S%.3f").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, kind: Kind, text: &str) -> Record {
        Record {
            offset,
            at_ms: 1_795_472_245_123,
            step: 1,
            kind,
            continued: false,
            text: text.to_owned(),
        }
    }

    #[test]
    fn groups_fold_and_markup_stays_text() {
        let html = by_step(
            &[
                record(0, Kind::Group, "<b>set up</b>"),
                record(10, Kind::Out, "</div><script>alert(1)</script>"),
                record(20, Kind::Endgroup, ""),
                record(30, Kind::Error, "\u{1b}[31mbad"),
            ],
            &|_| true,
        )
        .remove(&1)
        .unwrap();
        assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
        assert_eq!(
            html.matches("<details").count(),
            html.matches("</details>").count()
        );
        assert!(
            html.contains("id=\"o30\"") && html.contains("data-n=\"3\""),
            "{html}"
        );
        assert!(html.contains("<span class=\"c1\">bad</span>"), "{html}");
        assert!(html.contains("22:17:25.123"), "{html}");
    }

    #[test]
    fn an_unclosed_group_is_closed_with_its_step() {
        let html = by_step(
            &[record(0, Kind::Group, "a"), record(5, Kind::Group, "b")],
            &|_| false,
        )
        .remove(&1)
        .unwrap();
        assert!(html.contains("data-n=\"·\""), "{html}");
        assert_eq!(html.matches("<details").count(), 2);
        assert_eq!(html.matches("</details>").count(), 2);
    }
}
