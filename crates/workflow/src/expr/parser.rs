//! Builds the tree of an expression from its tokens.
//!
//! Works with two explicit stacks, so that no input can exhaust the call stack; the height of
//! every node is known when it is made, and a tree that is too high is never built.

use super::lexer::{Operator, Token, TokenKind, lex};
use super::value::Value;
use super::{ErrorKind, ExprError, Function, Names};

/// The greatest height of a tree.
pub(super) const MAX_DEPTH: u16 = 50;
/// The most characters of an expression.
pub(super) const MAX_LENGTH: usize = 21_000;
/// The most arguments of a call.
const MAX_ARGUMENTS: usize = 255;

/// One node of the tree.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Literal(Value),
    Context(String),
    Index(Box<Node>, Box<Node>),
    Every(Box<Node>),
    Call(Function, Vec<Node>),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Compare(Operator, Box<Node>, Box<Node>),
}

/// A finished operand with the height of its tree.
struct Operand {
    node: Node,
    height: u16,
}

/// What waits for its operands.
enum Pending {
    Group,
    Index,
    Call {
        function: Function,
        token: usize,
        arguments: usize,
    },
    Not,
    Operator(Operator),
}

/// Parses `source`; `None` when it holds nothing but space.
pub(super) fn parse(source: &str, names: &Names) -> Result<Option<Node>, ExprError> {
    if source.chars().nth(MAX_LENGTH).is_some() {
        return Err(ExprError {
            kind: ErrorKind::Parsing,
            message: format!("Exceeded max expression length {MAX_LENGTH}"),
        });
    }
    let tokens = lex(source)?;
    let Some(last) = tokens.len().checked_sub(1) else {
        return Ok(None);
    };
    let mut parser = Parser {
        source,
        names,
        tokens,
        at: 0,
        operands: Vec::new(),
        pending: Vec::new(),
        too_deep: false,
    };
    let mut wants_operand = true;
    while parser.at < parser.tokens.len() {
        wants_operand = if wants_operand {
            parser.operand()?
        } else {
            parser.operator()?
        };
    }
    parser.finish(wants_operand, last)
}

struct Parser<'a> {
    source: &'a str,
    names: &'a Names,
    tokens: Vec<Token>,
    at: usize,
    operands: Vec<Operand>,
    pending: Vec<Pending>,
    too_deep: bool,
}

impl Parser<'_> {
    fn error(&self, problem: &str, token: usize) -> ExprError {
        let token = &self.tokens[token];
        ExprError::at(
            ErrorKind::Parsing,
            problem,
            &token.text,
            token.position,
            self.source,
        )
    }

    fn unexpected(&self) -> ExprError {
        self.error("Unexpected symbol", self.at)
    }

    fn kind(&self, at: usize) -> Option<&TokenKind> {
        self.tokens.get(at).map(|token| &token.kind)
    }

    fn push(&mut self, node: Node, below: u16) {
        let height = below + 1;
        if height > MAX_DEPTH {
            self.too_deep = true;
            self.operands.push(Operand {
                node: Node::Literal(Value::Null),
                height: 1,
            });
        } else {
            self.operands.push(Operand { node, height });
        }
    }

    fn pop(&mut self) -> Operand {
        self.operands
            .pop()
            .expect("an operator is only taken after its operand")
    }

    /// Takes the token of an operand; true if another operand must follow.
    fn operand(&mut self) -> Result<bool, ExprError> {
        match self.tokens[self.at].kind.clone() {
            TokenKind::Literal(value) => {
                self.push(Node::Literal(value), 0);
                self.at += 1;
                Ok(false)
            }
            TokenKind::Word => self.word(),
            TokenKind::OpenParen => {
                self.pending.push(Pending::Group);
                self.at += 1;
                Ok(true)
            }
            TokenKind::Not => {
                self.pending.push(Pending::Not);
                self.at += 1;
                Ok(true)
            }
            TokenKind::Star
                if self.at > 0 && self.kind(self.at - 1) == Some(&TokenKind::OpenBracket) =>
            {
                self.every_in_brackets()
            }
            _ => Err(self.unexpected()),
        }
    }

    /// `[*]`, of which the `[` is taken already.
    fn every_in_brackets(&mut self) -> Result<bool, ExprError> {
        if self
            .kind(self.at + 1)
            .is_some_and(|kind| *kind != TokenKind::CloseBracket)
        {
            self.at += 1;
            return Err(self.unexpected());
        }
        if self.at + 1 == self.tokens.len() {
            return Err(self.error("Unexpected end of expression", self.at));
        }
        self.pending.pop();
        self.apply_every();
        self.at += 2;
        Ok(false)
    }

    fn apply_every(&mut self) {
        let of = self.pop();
        // The star is a node of its own in the tree whose height is limited.
        self.push(Node::Every(Box::new(of.node)), of.height.max(1));
    }

    /// A context or the start of a call.
    fn word(&mut self) -> Result<bool, ExprError> {
        let text = self.tokens[self.at].text.clone();
        if self.kind(self.at + 1) != Some(&TokenKind::OpenParen) {
            if !self.names.has_context(&text) {
                return Err(self.error("Unrecognized named-value", self.at));
            }
            self.push(Node::Context(text), 0);
            self.at += 1;
            return Ok(false);
        }
        let Some(function) = self.names.function(&text) else {
            return Err(self.error("Unrecognized function", self.at));
        };
        let token = self.at;
        self.at += 2;
        if self.kind(self.at) == Some(&TokenKind::CloseParen) {
            self.at += 1;
            self.call(function, token, 0)?;
            return Ok(false);
        }
        self.pending.push(Pending::Call {
            function,
            token,
            arguments: 1,
        });
        Ok(true)
    }

    /// Takes a token after an operand; true if another operand must follow.
    fn operator(&mut self) -> Result<bool, ExprError> {
        match self.tokens[self.at].kind.clone() {
            TokenKind::Dot => self.property(),
            TokenKind::OpenBracket if self.follows_indexable() => {
                self.pending.push(Pending::Index);
                self.at += 1;
                Ok(true)
            }
            TokenKind::CloseParen => {
                self.flush(0);
                match self.pending.last() {
                    Some(&Pending::Group) => {
                        self.pending.pop();
                    }
                    Some(&Pending::Call {
                        function,
                        token,
                        arguments,
                    }) => {
                        self.pending.pop();
                        self.call(function, token, arguments)?;
                    }
                    _ => return Err(self.unexpected()),
                }
                self.at += 1;
                Ok(false)
            }
            TokenKind::CloseBracket => {
                self.flush(0);
                if !matches!(self.pending.last(), Some(Pending::Index)) {
                    return Err(self.unexpected());
                }
                self.pending.pop();
                let (key, of) = (self.pop(), self.pop());
                let below = of.height.max(key.height);
                self.push(Node::Index(Box::new(of.node), Box::new(key.node)), below);
                self.at += 1;
                Ok(false)
            }
            TokenKind::Comma => {
                self.flush(0);
                let Some(Pending::Call { arguments, .. }) = self.pending.last_mut() else {
                    return Err(self.unexpected());
                };
                *arguments += 1;
                self.at += 1;
                Ok(true)
            }
            TokenKind::Operator(operator) => {
                self.flush(operator.precedence());
                self.pending.push(Pending::Operator(operator));
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn follows_indexable(&self) -> bool {
        matches!(
            self.kind(self.at - 1),
            Some(
                TokenKind::Word | TokenKind::CloseParen | TokenKind::CloseBracket | TokenKind::Star
            )
        )
    }

    /// `.name` or `.*`
    fn property(&mut self) -> Result<bool, ExprError> {
        match self.kind(self.at + 1) {
            None => return Err(self.error("Unexpected end of expression", self.at)),
            Some(TokenKind::Star) => self.apply_every(),
            Some(TokenKind::Word) => {
                let name = self.tokens[self.at + 1].text.clone();
                let of = self.pop();
                let key = Box::new(Node::Literal(Value::from(name)));
                self.push(Node::Index(Box::new(of.node), key), of.height);
            }
            Some(_) => {
                self.at += 1;
                return Err(self.unexpected());
            }
        }
        self.at += 2;
        Ok(false)
    }

    /// Applies the waiting operators that bind at least as tightly as `precedence`.
    fn flush(&mut self, precedence: u8) {
        while let Some(top) = self.pending.last() {
            match *top {
                Pending::Not => {
                    let of = self.pop();
                    self.push(Node::Not(Box::new(of.node)), of.height);
                }
                Pending::Operator(operator) if operator.precedence() >= precedence => {
                    self.apply(operator);
                }
                _ => return,
            }
            self.pending.pop();
        }
    }

    fn apply(&mut self, operator: Operator) {
        let (right, left) = (self.pop(), self.pop());
        match operator {
            Operator::And => self.chain(left, right, Node::All, |node| match node {
                Node::All(nodes) => Ok(nodes),
                other => Err(other),
            }),
            Operator::Or => self.chain(left, right, Node::Any, |node| match node {
                Node::Any(nodes) => Ok(nodes),
                other => Err(other),
            }),
            _ => {
                let below = left.height.max(right.height);
                let node = Node::Compare(operator, Box::new(left.node), Box::new(right.node));
                self.push(node, below);
            }
        }
    }

    /// Joins two operands into one flat `&&` or `||`, however long the chain is.
    fn chain(
        &mut self,
        left: Operand,
        right: Operand,
        make: fn(Vec<Node>) -> Node,
        open: fn(Node) -> Result<Vec<Node>, Node>,
    ) {
        let mut nodes = Vec::new();
        let mut below = 0;
        for Operand { node, height } in [left, right] {
            match open(node) {
                Ok(inner) => {
                    nodes.extend(inner);
                    below = below.max(height - 1);
                }
                Err(node) => {
                    nodes.push(node);
                    below = below.max(height);
                }
            }
        }
        self.push(make(nodes), below);
    }

    fn call(&mut self, function: Function, token: usize, count: usize) -> Result<(), ExprError> {
        let (least, most) = self.names.arity(function);
        if count < least {
            return Err(self.error("Too few parameters supplied", token));
        }
        if count > most.min(MAX_ARGUMENTS) {
            return Err(self.error("Too many parameters supplied", token));
        }
        if function == Function::Case && count.is_multiple_of(2) {
            let problem =
                "Even number of parameters supplied, requires an odd number of parameters";
            return Err(self.error(problem, token));
        }
        let arguments = self.operands.split_off(self.operands.len() - count);
        let below = arguments
            .iter()
            .map(|operand| operand.height)
            .max()
            .unwrap_or(0);
        let arguments = arguments.into_iter().map(|operand| operand.node).collect();
        self.push(Node::Call(function, arguments), below);
        Ok(())
    }

    fn finish(mut self, wants_operand: bool, last: usize) -> Result<Option<Node>, ExprError> {
        if wants_operand {
            return Err(self.error("Unexpected end of expression", last));
        }
        self.flush(0);
        if !self.pending.is_empty() {
            return Err(self.error("Unexpected end of expression", last));
        }
        if self.too_deep {
            return Err(ExprError {
                kind: ErrorKind::Parsing,
                message: format!("Exceeded max expression depth {MAX_DEPTH}"),
            });
        }
        Ok(Some(self.pop().node))
    }
}
