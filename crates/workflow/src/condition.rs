//! The `if` of a job or step.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::expr::{self, Expr, ExprError, Host, Names, StatusFunction};
use crate::template::{Template, TemplateError, has_expression};

/// A condition; `${{ }}` around it may be left out.
///
/// Unless it asks how things went itself, it also requires that nothing failed so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    source: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Expr(Expr),
    /// `${{ }}` with other text around it: text, and so true. Users are warned of it.
    Text(Template),
}

impl Condition {
    /// Parses a condition in which only `names` may be used. An empty one is `success()`.
    pub fn parse(text: &str, names: &Names) -> Result<Self, ExprError> {
        Self::parse_at(text, names).map_err(|failure| failure.error)
    }

    pub(crate) fn parse_at(text: &str, names: &Names) -> Result<Self, TemplateError> {
        let test = if has_expression(text) {
            match Template::parse_at(text.trim(), names)? {
                Template::Expr(expr) => Test::Expr(expr),
                mixed => Test::Text(mixed),
            }
        } else {
            let expr = expr::parse(text.trim(), names)
                .map_err(|error| TemplateError { error, offset: 0 })?;
            Test::Expr(expr)
        };
        Ok(Self {
            source: text.to_owned(),
            test,
        })
    }

    /// What was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether text stands around the expression, so that the condition always holds.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        matches!(self.test, Test::Text(_))
    }

    /// Whether it asks itself how things went.
    #[must_use]
    pub fn uses_status(&self) -> bool {
        match &self.test {
            Test::Expr(expr) => expr.uses_status(),
            Test::Text(text) => text.exprs().any(Expr::uses_status),
        }
    }

    /// Whether the condition holds. Errors: `Evaluation`.
    pub fn holds(&self, host: &dyn Host) -> Result<bool, ExprError> {
        if !self.uses_status() && !succeeded(host)? {
            return Ok(false);
        }
        match &self.test {
            Test::Expr(expr) if expr.is_empty() => Ok(true),
            Test::Expr(expr) => Ok(expr.eval(host)?.is_truthy()),
            Test::Text(text) => Ok(text.eval(host)?.is_truthy()),
        }
    }
}

fn succeeded(host: &dyn Host) -> Result<bool, ExprError> {
    host.status(StatusFunction::Success, &[])
        .map_err(ExprError::evaluation)
}

/// Whether a job or step with this `if`, or with none, is to run.
pub fn evaluate_condition(
    condition: Option<&Condition>,
    host: &dyn Host,
) -> Result<bool, ExprError> {
    match condition {
        Some(condition) => condition.holds(host),
        None => succeeded(host),
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text, &Names::all()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::{Contexts, Status};

    fn holds(text: &str, status: Status) -> bool {
        Condition::parse(text, &Names::all())
            .unwrap()
            .holds(&Contexts::new(status))
            .unwrap()
    }

    #[test]
    fn success_is_implied_unless_asked_for() {
        for text in [
            "",
            "true",
            "${{ true }}",
            "1 == 1",
            "'always()'",
            "  ${{ 'x' }} ",
        ] {
            assert!(holds(text, Status::SUCCESS), "{text}");
            assert!(!holds(text, Status::FAILURE), "{text}");
            assert!(!holds(text, Status::CANCELLED), "{text}");
        }
        assert!(holds("always()", Status::CANCELLED));
        assert!(holds("${{ failure() }}", Status::FAILURE));
        assert!(!holds("failure()", Status::SUCCESS));
        assert!(holds("cancelled() || success()", Status::CANCELLED));
        assert!(holds("!cancelled()", Status::FAILURE));
        assert!(!holds("always() && false", Status::SUCCESS));
    }

    #[test]
    fn text_around_an_expression_makes_it_always_true() {
        let condition = Condition::parse("${{ false }} == true", &Names::all()).unwrap();
        assert!(condition.is_mixed());
        assert!(condition.holds(&Contexts::new(Status::SUCCESS)).unwrap());
    }
}
