//! The combinations of a matrix: every mix of its lists, without what is excluded, with what is
//! included.

use crate::expr::{Object, Value, equal};

/// The most legs of one job.
pub const MAX_LEGS: usize = 256;

/// The most mixes of the lists that are looked at before excluding.
const MAX_MIXES: u128 = 4096;
/// The most items of `include`, and of `exclude`.
const MAX_ITEMS: usize = 1024;

/// One set of matrix values.
#[derive(Debug)]
pub(crate) struct Combination {
    /// The `matrix` context.
    pub(crate) values: Value,
    /// The values that go into the leg's name.
    pub(crate) labels: Vec<String>,
}

/// Why a matrix cannot be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MatrixError {
    #[error("matrix of job {job} is of kind {kind}; it must be a mapping of lists")]
    NotMapping { job: String, kind: &'static str },
    #[error("matrix of job {job}: '{key}' must be a list, and is of kind {kind}")]
    NotList {
        job: String,
        key: String,
        kind: &'static str,
    },
    #[error("matrix of job {job}: '{key}' does not contain any values")]
    NoValues { job: String, key: String },
    #[error("matrix of job {job} does not contain any values")]
    Empty { job: String },
    #[error("matrix of job {job}: an item of '{list}' must be a mapping with at least one key")]
    BadItem { job: String, list: &'static str },
    #[error("matrix of job {job}: '{list}' has {items} items; the limit is {MAX_ITEMS}")]
    TooManyItems {
        job: String,
        list: &'static str,
        items: usize,
    },
    #[error("matrix of job {job}: exclude names '{key}', which is no key of the matrix")]
    UnknownKey { job: String, key: String },
    #[error(
        "matrix of job {job} makes {} legs; the limit is {MAX_LEGS}",
        grouped(*legs)
    )]
    TooMany { job: String, legs: u128 },
}

/// A whole number with a comma between thousands.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The combinations of `matrix`, in order.
pub(crate) fn combinations(job: &str, matrix: &Value) -> Result<Vec<Combination>, MatrixError> {
    let Some(matrix) = matrix.as_object() else {
        return Err(MatrixError::NotMapping {
            job: job.to_owned(),
            kind: matrix.kind(),
        });
    };
    let parts = Parts::read(job, matrix)?;
    let mut combinations = parts.product()?;
    let originals = combinations.len();
    for include in &parts.include {
        let mut matched = false;
        for combination in &mut combinations[..originals] {
            matched |= parts.merge(include, combination);
        }
        if !matched {
            combinations.push(Combination {
                labels: leaves(&Value::object((*include).clone())),
                values: Value::object((*include).clone()),
            });
        }
    }
    if combinations.len() > MAX_LEGS {
        let legs = u128::try_from(combinations.len()).unwrap_or(u128::MAX);
        return Err(MatrixError::TooMany {
            job: job.to_owned(),
            legs,
        });
    }
    if combinations.is_empty() {
        return Err(MatrixError::Empty {
            job: job.to_owned(),
        });
    }
    Ok(combinations)
}

struct Parts<'a> {
    job: &'a str,
    vectors: Vec<(&'a str, &'a [Value])>,
    include: Vec<&'a Object>,
    exclude: Vec<&'a Object>,
}

impl<'a> Parts<'a> {
    fn read(job: &'a str, matrix: &'a Object) -> Result<Self, MatrixError> {
        let mut parts = Self {
            job,
            vectors: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
        };
        for (key, value) in matrix.iter() {
            let list = value.as_array();
            match (key, list) {
                ("include" | "exclude", None) if matches!(value, Value::Null) => {}
                ("include", Some(items)) => parts.include = parts.items(items, "include")?,
                ("exclude", Some(items)) => parts.exclude = parts.items(items, "exclude")?,
                (_, Some([])) => {
                    let key = key.to_owned();
                    return Err(MatrixError::NoValues {
                        job: job.to_owned(),
                        key,
                    });
                }
                (_, Some(items)) => parts.vectors.push((key, items)),
                (_, None) => {
                    let (key, kind) = (key.to_owned(), value.kind());
                    return Err(MatrixError::NotList {
                        job: job.to_owned(),
                        key,
                        kind,
                    });
                }
            }
        }
        for key in parts
            .exclude
            .iter()
            .flat_map(|item| item.iter().map(|(key, _)| key))
        {
            if !parts.has_vector(key) {
                let key = key.to_owned();
                return Err(MatrixError::UnknownKey {
                    job: job.to_owned(),
                    key,
                });
            }
        }
        Ok(parts)
    }

    fn items(
        &self,
        items: &'a [Value],
        list: &'static str,
    ) -> Result<Vec<&'a Object>, MatrixError> {
        if items.len() > MAX_ITEMS {
            return Err(MatrixError::TooManyItems {
                job: self.job.to_owned(),
                list,
                items: items.len(),
            });
        }
        items
            .iter()
            .map(|item| match item.as_object() {
                Some(object) if !object.is_empty() => Ok(object),
                _ => Err(MatrixError::BadItem {
                    job: self.job.to_owned(),
                    list,
                }),
            })
            .collect()
    }

    fn has_vector(&self, key: &str) -> bool {
        self.vectors
            .iter()
            .any(|(vector, _)| crate::expr::same_text(vector, key))
    }

    /// Every mix of the lists that is not excluded; the last list varies fastest.
    fn product(&self) -> Result<Vec<Combination>, MatrixError> {
        if self.vectors.is_empty() {
            return Ok(Vec::new());
        }
        let size = self.vectors.iter().try_fold(1_u128, |size, (_, items)| {
            size.checked_mul(u128::try_from(items.len()).ok()?)
        });
        // Far beyond the limit, excluding cannot help; do not try.
        let size = size.unwrap_or(u128::MAX);
        if size > MAX_MIXES {
            return Err(MatrixError::TooMany {
                job: self.job.to_owned(),
                legs: size,
            });
        }
        let mut kept = Vec::new();
        let mut picks = vec![0; self.vectors.len()];
        loop {
            let values: Object = self
                .vectors
                .iter()
                .zip(&picks)
                .map(|((key, items), &pick)| (*key, items[pick].clone()))
                .collect();
            if !self
                .exclude
                .iter()
                .any(|filter| matches_filter(filter, &values))
            {
                let values = Value::object(values);
                kept.push(Combination {
                    labels: leaves(&values),
                    values,
                });
            }
            if !advance(&mut picks, &self.vectors) {
                break;
            }
        }
        if kept.len() > MAX_LEGS {
            let legs = u128::try_from(kept.len()).unwrap_or(u128::MAX);
            return Err(MatrixError::TooMany {
                job: self.job.to_owned(),
                legs,
            });
        }
        Ok(kept)
    }

    /// Adds the extra keys of `include` to a combination whose own values it does not change.
    fn merge(&self, include: &Object, combination: &mut Combination) -> bool {
        let Some(values) = combination.values.as_object() else {
            return false;
        };
        let same = include
            .iter()
            .filter(|(key, _)| self.has_vector(key))
            .all(|(key, filter)| {
                values
                    .get(key)
                    .is_some_and(|value| matches_value(filter, value))
            });
        if same {
            let mut values = values.clone();
            for (key, value) in include.iter().filter(|(key, _)| !self.has_vector(key)) {
                values.set(key, value.clone());
            }
            combination.values = Value::object(values);
        }
        same
    }
}

/// Moves to the next mix; false after the last.
fn advance(picks: &mut [usize], vectors: &[(&str, &[Value])]) -> bool {
    for (pick, (_, items)) in picks.iter_mut().zip(vectors).rev() {
        *pick += 1;
        if *pick < items.len() {
            return true;
        }
        *pick = 0;
    }
    false
}

fn matches_filter(filter: &Object, values: &Object) -> bool {
    filter
        .iter()
        .all(|(key, wanted)| matches_value(wanted, values.get(key).unwrap_or(&Value::Null)))
}

/// Whether every leaf of `filter` equals its counterpart in `value`.
fn matches_value(filter: &Value, value: &Value) -> bool {
    match filter {
        Value::Object(object) => object
            .iter()
            .all(|(key, wanted)| matches_value(wanted, &value.get(key))),
        Value::Array(array) => array.items().iter().enumerate().all(|(at, wanted)| {
            let item = value.as_array().and_then(|items| items.get(at));
            matches_value(wanted, item.unwrap_or(&Value::Null))
        }),
        leaf => equal(leaf, value),
    }
}

/// The texts of all leaves that have one, for a leg's name.
fn leaves(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(array) => array.items().iter().flat_map(leaves).collect(),
        Value::Object(object) => object.iter().flat_map(|(_, value)| leaves(value)).collect(),
        leaf => {
            let text = leaf.to_text();
            if text.is_empty() {
                Vec::new()
            } else {
                vec![text.to_string()]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn expand(matrix: &Json) -> Result<Vec<(String, Json)>, String> {
        combinations("test", &Value::from_json(matrix))
            .map(|legs| {
                legs.into_iter()
                    .map(|leg| (leg.labels.join(","), leg.values.to_json()))
                    .collect()
            })
            .map_err(|error| error.to_string())
    }

    fn names(matrix: &Json) -> Vec<String> {
        expand(matrix)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn the_last_list_varies_fastest() {
        let matrix = json!({ "os": ["deb", "alp"], "py": [3.11, 3.12], "x": [null] });
        assert_eq!(
            names(&matrix),
            ["deb,3.11", "deb,3.12", "alp,3.11", "alp,3.12"]
        );
    }

    #[test]
    fn exclude_drops_what_matches_in_part() {
        let matrix = json!({
            "os": ["deb", "alp"], "py": [3.11, 3.12],
            "exclude": [{ "os": "ALP", "py": "3.12" }, { "py": 3.11, "os": "deb" }],
        });
        assert_eq!(names(&matrix), ["deb,3.12", "alp,3.11"]);
        let nested = json!({
            "cfg": [{ "a": 1, "b": 2 }, { "a": 1, "b": 3 }], "exclude": [{ "cfg": { "b": 3 } }],
        });
        assert_eq!(names(&nested), ["1,2"]);
        let all = json!({ "a": [1], "exclude": [{ "a": 1 }] });
        assert!(
            expand(&all)
                .unwrap_err()
                .contains("does not contain any values")
        );
        let wrong = json!({ "a": [1], "exclude": [{ "b": 1 }] });
        assert!(expand(&wrong).unwrap_err().contains("exclude names 'b'"));
    }

    #[test]
    fn include_adds_to_originals_or_stands_alone() {
        let matrix = json!({
            "fruit": ["plum", "fig"], "animal": ["owl", "elk"],
            "include": [
                { "color": "green" },
                { "color": "pink", "animal": "owl" },
                { "fruit": "plum", "shape": "round" },
                { "fruit": "kiwi" },
                { "fruit": "kiwi", "animal": "owl" },
            ],
        });
        let legs: Vec<Json> = expand(&matrix)
            .unwrap()
            .into_iter()
            .map(|(_, leg)| leg)
            .collect();
        assert_eq!(
            legs,
            [
                json!({ "fruit": "plum", "animal": "owl", "color": "pink", "shape": "round" }),
                json!({ "fruit": "plum", "animal": "elk", "color": "green", "shape": "round" }),
                json!({ "fruit": "fig", "animal": "owl", "color": "pink" }),
                json!({ "fruit": "fig", "animal": "elk", "color": "green" }),
                json!({ "fruit": "kiwi" }),
                json!({ "fruit": "kiwi", "animal": "owl" }),
            ]
        );
    }

    #[test]
    fn extra_values_are_not_in_the_name_but_alone_they_are() {
        let matrix =
            json!({ "a": [1], "include": [{ "a": 1, "b": "extra" }, { "a": 2, "b": "own" }] });
        assert_eq!(names(&matrix), ["1", "2,own"]);
        assert_eq!(
            names(&json!({ "include": [{ "x": "one" }, { "x": "two" }] })),
            ["one", "two"]
        );
    }

    #[test]
    fn too_many_legs_are_counted_and_refused() {
        let ten: Vec<u32> = (0..10).collect();
        let matrix = json!({ "a": ten, "b": ten, "c": ten });
        assert_eq!(
            expand(&matrix).unwrap_err(),
            "matrix of job test makes 1,000 legs; the limit is 256"
        );
        let huge = json!({ "a": ten, "b": ten, "c": ten, "d": ten, "e": ten, "f": ten });
        assert!(expand(&huge).unwrap_err().contains("makes 1,000,000 legs"));
        let items: Vec<Json> = (0..2000).map(|n| json!({ "a": n })).collect();
        assert!(
            expand(&json!({ "include": items }))
                .unwrap_err()
                .contains("'include' has 2000 items; the limit is 1024")
        );
        let sixteen: Vec<u32> = (0..16).collect();
        assert_eq!(names(&json!({ "a": sixteen, "b": sixteen })).len(), 256);
        let one_more = json!({ "a": sixteen, "b": sixteen, "include": [{ "a": 99 }] });
        assert!(expand(&one_more).unwrap_err().contains("makes 257 legs"));
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        assert!(
            expand(&json!([1]))
                .unwrap_err()
                .contains("must be a mapping of lists")
        );
        assert!(
            expand(&json!({ "a": [] }))
                .unwrap_err()
                .contains("'a' does not contain")
        );
        assert!(
            expand(&json!({ "a": "x" }))
                .unwrap_err()
                .contains("'a' must be a list")
        );
        assert!(
            expand(&json!({ "include": [1] }))
                .unwrap_err()
                .contains("must be a mapping")
        );
        assert!(
            expand(&json!({}))
                .unwrap_err()
                .contains("does not contain any values")
        );
    }
}
