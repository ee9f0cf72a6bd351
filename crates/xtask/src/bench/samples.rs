//! Samples of one row, their median and 99th percentile, and the ratio of two.

use serde_json::{Value, json};

/// Values in one unit.
pub(super) struct Samples {
    values: Vec<f64>,
}

impl Samples {
    pub(super) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { values }
    }

    /// The value below which this share of all lies.
    fn at(&self, percent: usize) -> f64 {
        let last = self.values.len().saturating_sub(1);
        let index = (last * percent).div_ceil(100);
        self.values.get(index).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn median(&self) -> f64 {
        self.at(50)
    }

    fn json(&self) -> Value {
        json!({ "p50": self.median(), "p99": self.at(99), "n": self.values.len() })
    }
}

/// What a figure is held against.
pub(super) enum Figure {
    /// Our median over the other's is at most this.
    Ratio(f64),
    /// Our median is at most the first, our 99th percentile at most the second.
    Most(f64, f64),
    /// Our median is at least this.
    Least(f64),
    /// None was set.
    None,
}

/// One row of the table.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) ours: Samples,
    pub(super) other: Option<(String, Samples)>,
    pub(super) figure: Figure,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.other
            .as_ref()
            .map(|(_, other)| self.ours.median() / other.median())
    }

    /// The figure in words, and whether it is met.
    fn verdict(&self) -> (String, Option<bool>) {
        match self.figure {
            Figure::Ratio(most) => (
                format!("≤ {most:.2} ×"),
                self.ratio().map(|ratio| ratio <= most),
            ),
            Figure::Most(median, high) => {
                let met = self.ours.median() <= median && self.ours.at(99) <= high;
                (format!("≤ {median} / {high}"), Some(met))
            }
            Figure::Least(least) => {
                let met = self.ours.median() >= least;
                (format!("≥ {least}"), Some(met))
            }
            Figure::None => (String::new(), None),
        }
    }

    pub(super) fn line(&self) -> String {
        let (figure, met) = self.verdict();
        let other = self
            .other
            .as_ref()
            .map_or_else(String::new, |(name, samples)| {
                format!("{name}: {:.1} / {:.1}", samples.median(), samples.at(99))
            });
        let ratio = self
            .ratio()
            .map_or_else(String::new, |ratio| format!("{ratio:.2} ×"));
        let met = met.map_or("", |met| if met { "met" } else { "not met" });
        let ours = format!(
            "{:.1} / {:.1} {}",
            self.ours.median(),
            self.ours.at(99),
            self.unit
        );
        format!(
            "{:<44} {ours:>22}  {other:<34} {ratio:>8}  {figure:<12} {met}",
            self.name
        )
    }

    pub(super) fn json(&self) -> Value {
        let (figure, met) = self.verdict();
        json!({
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours.json(),
            "other": self.other.as_ref().map(|(name, samples)| {
                json!({ "name": name, "samples": samples.json() })
            }),
            "ratio": self.ratio(),
            "figure": figure,
            "met": met,
        })
    }
}

/// Bytes as MiB.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    let kibibytes = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
    f64::from(kibibytes) / 1024.0
}

pub(super) fn heading() -> String {
    let columns = (
        "what",
        "ours p50 / p99",
        "beside it p50 / p99",
        "ratio",
        "figure",
    );
    format!(
        "{:<44} {:>22}  {:<34} {:>8}  {:<12}",
        columns.0, columns.1, columns.2, columns.3, columns.4
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_high_percentile_and_verdict() {
        let ours = Samples::new((1..=101).map(f64::from).collect());
        assert!((ours.median() - 51.0).abs() < 1e-9);
        assert!((ours.at(99) - 100.0).abs() < 1e-9);
        let other = Samples::new(vec![102.0]);
        let row = Row {
            name: "x".to_owned(),
            unit: "ms".to_owned(),
            ours,
            other: Some(("y".to_owned(), other)),
            figure: Figure::Ratio(0.75),
        };
        assert!(
            row.line().contains("0.50 ×") && row.line().ends_with(" met"),
            "{}",
            row.line()
        );
        assert_eq!(row.json()["met"], true);
    }
}
