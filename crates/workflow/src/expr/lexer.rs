//! Cuts the text of an expression into tokens.

use super::number::parse_number;
use super::value::Value;
use super::{ErrorKind, ExprError};

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    Comma,
    Dot,
    Star,
    Not,
    Operator(Operator),
    Literal(Value),
    /// A name: of a context, a function or, after a dot, a property.
    Word,
}

/// An operator between two operands, from the loosest to the tightest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    pub(super) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal | Self::NotEqual => 3,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => 4,
        }
    }
}

/// One token: its kind, its text and its position, in characters from 1.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) text: String,
    pub(super) position: usize,
}

/// Cuts all of `source`. Errors: `Lexing` at the first text that is no token.
pub(super) fn lex(source: &str) -> Result<Vec<Token>, ExprError> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer {
        source,
        chars,
        at: 0,
        tokens: Vec::new(),
    };
    while lexer.skip_space() {
        lexer.token()?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    chars: Vec<char>,
    at: usize,
    tokens: Vec<Token>,
}

/// Whether a word or number ends before `c`.
fn is_boundary(c: char) -> bool {
    matches!(
        c,
        '(' | '[' | ')' | ']' | ',' | '.' | '!' | '>' | '<' | '=' | '&' | '|'
    ) || c.is_whitespace()
}

/// Whether `text` can name a context, function or property.
pub(crate) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl Lexer<'_> {
    /// Moves to the next token; false at the end.
    fn skip_space(&mut self) -> bool {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.at < self.chars.len()
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        let text = self.chars[start..self.at].iter().collect();
        self.tokens.push(Token {
            kind,
            text,
            position: start + 1,
        });
    }

    fn unexpected(&self, start: usize) -> ExprError {
        let text: String = self.chars[start..self.at].iter().collect();
        ExprError::at(
            ErrorKind::Lexing,
            "Unexpected symbol",
            &text,
            start + 1,
            self.source,
        )
    }

    fn token(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        let single = match self.chars[start] {
            '(' => TokenKind::OpenParen,
            ')' => TokenKind::CloseParen,
            '[' => TokenKind::OpenBracket,
            ']' => TokenKind::CloseBracket,
            ',' => TokenKind::Comma,
            '*' => TokenKind::Star,
            '.' if self.can_follow_with_property() => TokenKind::Dot,
            '\'' => return self.string(),
            '!' | '<' | '>' | '=' | '&' | '|' => return self.operator(),
            '.' | '+' | '-' | '0'..='9' => return self.number(),
            _ => return self.word(),
        };
        self.at += 1;
        self.push(single, start);
        Ok(())
    }

    /// Whether a dot here is a dereference, not the start of a number.
    fn can_follow_with_property(&self) -> bool {
        self.tokens.last().is_some_and(|token| {
            matches!(
                token.kind,
                TokenKind::Word | TokenKind::CloseParen | TokenKind::CloseBracket | TokenKind::Star
            )
        })
    }

    fn operator(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        let second = self.chars.get(start + 1).copied();
        let (kind, length) = match (self.chars[start], second) {
            ('!', Some('=')) => (TokenKind::Operator(Operator::NotEqual), 2),
            ('<', Some('=')) => (TokenKind::Operator(Operator::LessOrEqual), 2),
            ('>', Some('=')) => (TokenKind::Operator(Operator::GreaterOrEqual), 2),
            ('=', Some('=')) => (TokenKind::Operator(Operator::Equal), 2),
            ('&', Some('&')) => (TokenKind::Operator(Operator::And), 2),
            ('|', Some('|')) => (TokenKind::Operator(Operator::Or), 2),
            ('!', _) => (TokenKind::Not, 1),
            ('<', _) => (TokenKind::Operator(Operator::Less), 1),
            ('>', _) => (TokenKind::Operator(Operator::Greater), 1),
            _ => {
                self.at += 1;
                self.skip_word(false);
                return Err(self.unexpected(start));
            }
        };
        self.at += length;
        self.push(kind, start);
        Ok(())
    }

    fn skip_word(&mut self, dots: bool) {
        while self
            .chars
            .get(self.at)
            .is_some_and(|&c| !is_boundary(c) || (dots && c == '.'))
        {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        self.at += 1;
        self.skip_word(true);
        let text: String = self.chars[start..self.at].iter().collect();
        let number = parse_number(&text);
        if number.is_nan() {
            return Err(self.unexpected(start));
        }
        self.push(TokenKind::Literal(Value::Number(number)), start);
        Ok(())
    }

    fn string(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        loop {
            match self.chars.get(self.at) {
                None => return Err(self.unexpected(start)),
                Some('\'') if self.chars.get(self.at + 1) == Some(&'\'') => {
                    text.push('\'');
                    self.at += 2;
                }
                Some('\'') => break,
                Some(&c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        self.push(TokenKind::Literal(Value::from(text)), start);
        Ok(())
    }

    fn word(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        self.at += 1;
        self.skip_word(false);
        let text: String = self.chars[start..self.at].iter().collect();
        if !is_word(&text) {
            return Err(self.unexpected(start));
        }
        let after_dot = self
            .tokens
            .last()
            .is_some_and(|token| token.kind == TokenKind::Dot);
        let literal = match text.as_str() {
            _ if after_dot => None,
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            "NaN" => Some(Value::Number(f64::NAN)),
            "Infinity" => Some(Value::Number(f64::INFINITY)),
            _ => None,
        };
        self.push(literal.map_or(TokenKind::Word, TokenKind::Literal), start);
        Ok(())
    }
}
