//! Tokens into a tree, by precedence climbing.

use super::lexer::{Token, TokenKind, syntax, tokens};
use super::{Evaluator, ExpressionError};
use mortis_debuginfo::types::TypeId;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Number {
        value: u64,
        unsigned: bool,
        long: bool,
    },
    Float {
        value: f64,
        size: u64,
    },
    Character(u8),
    History(Option<usize>),
    Name(String),
    PerCpu {
        symbol: String,
        cpu: u32,
    },
    Unary(Unary, Box<Expression>),
    Binary(&'static str, Box<Expression>, Box<Expression>),
    /// `a.b` and `a->b` alike.
    Member(Box<Expression>, String),
    Index(Box<Expression>, Box<Expression>),
    Cast(TypeId, Box<Expression>),
    /// gdb's `{type} address`.
    At(TypeId, Box<Expression>),
    Conditional(Box<Expression>, Box<Expression>, Box<Expression>),
    Comma(Box<Expression>, Box<Expression>),
    SizeOfType(TypeId),
    SizeOf(Box<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    AddressOf,
    Dereference,
    Plus,
    Minus,
    BitNot,
    Not,
}

/// Deeper nesting is not typed by people.
const MAX_DEPTH: usize = 200;

/// Nor is so long an expression. A chain of operators nests as deep as it is long.
const MAX_TOKENS: usize = 1000;

pub(super) fn parse(text: &str, names: &Evaluator) -> Result<Expression, ExpressionError> {
    let tokens = tokens(text)?;
    if tokens.len() > MAX_TOKENS {
        return Err(ExpressionError::TooDeep);
    }
    let mut parser = Parser { text, tokens: &tokens, next: 0, depth: 0, names };
    let expression = parser.comma()?;
    match parser.peek() {
        TokenKind::End => Ok(expression),
        _ => Err(parser.error("unexpected text")),
    }
}

struct Parser<'a, 'k> {
    text: &'a str,
    tokens: &'a [Token],
    next: usize,
    depth: usize,
    names: &'a Evaluator<'k>,
}

/// Binding strength of each binary operator, weakest first.
const BINARY: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", ">", "<=", ">="],
    &["<<", ">>"],
    &["@"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl<'a> Parser<'a, '_> {
    fn peek(&self) -> &'a TokenKind {
        self.tokens.get(self.next).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn error(&self, message: &'static str) -> ExpressionError {
        let at = self.tokens.get(self.next).map_or(self.text.len(), |token| token.at);
        syntax(message, self.text.get(at..).unwrap_or(""))
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), TokenKind::Symbol(next) if *next == symbol);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), ExpressionError> {
        if self.take(symbol) {
            return Ok(());
        }
        Err(self.error(match symbol {
            ")" => "')' expected",
            ":" => "':' expected",
            _ => "']' expected",
        }))
    }

    fn comma(&mut self) -> Result<Expression, ExpressionError> {
        let mut left = self.conditional()?;
        while self.take(",") {
            left = Expression::Comma(Box::new(left), Box::new(self.conditional()?));
        }
        Ok(left)
    }

    fn conditional(&mut self) -> Result<Expression, ExpressionError> {
        let condition = self.binary(0)?;
        if !self.take("?") {
            return Ok(condition);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpressionError::TooDeep);
        }
        let first = self.comma()?;
        self.expect(":")?;
        let second = self.conditional()?;
        self.depth -= 1;
        Ok(Expression::Conditional(Box::new(condition), Box::new(first), Box::new(second)))
    }

    fn binary(&mut self, strength: usize) -> Result<Expression, ExpressionError> {
        let Some(operators) = BINARY.get(strength) else { return self.unary() };
        let mut left = self.binary(strength + 1)?;
        while let TokenKind::Symbol(symbol) = self.peek() {
            let Some(operator) = operators.iter().find(|operator| *operator == symbol) else {
                break;
            };
            self.next += 1;
            let right = self.binary(strength + 1)?;
            left = Expression::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression, ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpressionError::TooDeep);
        }
        let result = self.unary_inner();
        self.depth -= 1;
        result
    }

    fn unary_inner(&mut self) -> Result<Expression, ExpressionError> {
        let operator = match self.peek() {
            TokenKind::Symbol("&") => Some(Unary::AddressOf),
            TokenKind::Symbol("*") => Some(Unary::Dereference),
            TokenKind::Symbol("+") => Some(Unary::Plus),
            TokenKind::Symbol("-") => Some(Unary::Minus),
            TokenKind::Symbol("~") => Some(Unary::BitNot),
            TokenKind::Symbol("!") => Some(Unary::Not),
            _ => None,
        };
        if let Some(operator) = operator {
            self.next += 1;
            return Ok(Expression::Unary(operator, Box::new(self.unary()?)));
        }
        if matches!(self.peek(), TokenKind::Name(name) if name == "sizeof") {
            self.next += 1;
            return match self.parenthesised_type()? {
                Some(ty) => Ok(Expression::SizeOfType(ty)),
                None => Ok(Expression::SizeOf(Box::new(self.unary()?))),
            };
        }
        if let Some(ty) = self.type_between("{", "}")? {
            return Ok(Expression::At(ty, Box::new(self.unary()?)));
        }
        match self.parenthesised_type()? {
            Some(ty) => Ok(Expression::Cast(ty, Box::new(self.unary()?))),
            None => self.postfix(),
        }
    }

    /// Takes `(type)` where that is what comes next.
    fn parenthesised_type(&mut self) -> Result<Option<TypeId>, ExpressionError> {
        self.type_between("(", ")")
    }

    fn type_between(
        &mut self,
        opening: &'static str,
        closing: &'static str,
    ) -> Result<Option<TypeId>, ExpressionError> {
        let (Some(open), Some(first)) =
            (self.tokens.get(self.next), self.tokens.get(self.next + 1))
        else {
            return Ok(None);
        };
        let TokenKind::Name(name) = &first.kind else { return Ok(None) };
        if open.kind != TokenKind::Symbol(opening) || !self.names.starts_type(name) {
            return Ok(None);
        }
        let mut depth = 0usize;
        for (index, token) in self.tokens.iter().enumerate().skip(self.next) {
            match token.kind {
                TokenKind::Symbol(symbol) if symbol == opening => depth += 1,
                TokenKind::Symbol(symbol) if symbol == closing => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 {
                let name = self.text.get(first.at..token.at).unwrap_or("");
                let ty = self.names.parse_type(name)?;
                self.next = index + 1;
                return Ok(Some(ty));
            }
        }
        Err(self.error("this is never closed"))
    }

    fn postfix(&mut self) -> Result<Expression, ExpressionError> {
        let mut value = self.primary()?;
        loop {
            if self.take(".") || self.take("->") {
                let TokenKind::Name(member) = self.peek() else {
                    return Err(self.error("a member's name expected"));
                };
                self.next += 1;
                value = Expression::Member(Box::new(value), member.clone());
            } else if self.take("[") {
                let index = self.comma()?;
                self.expect("]")?;
                value = Expression::Index(Box::new(value), Box::new(index));
            } else {
                return Ok(value);
            }
        }
    }

    fn primary(&mut self) -> Result<Expression, ExpressionError> {
        let expression = match self.peek() {
            TokenKind::Number { value, unsigned, long } => {
                Expression::Number { value: *value, unsigned: *unsigned, long: *long }
            }
            TokenKind::Float { value, size } => Expression::Float { value: *value, size: *size },
            TokenKind::Character(byte) => Expression::Character(*byte),
            TokenKind::History(number) => Expression::History(*number),
            TokenKind::Name(name) => Expression::Name(name.clone()),
            TokenKind::PerCpu { symbol, cpu } => {
                Expression::PerCpu { symbol: symbol.clone(), cpu: *cpu }
            }
            TokenKind::Symbol("(") => {
                self.next += 1;
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(ExpressionError::TooDeep);
                }
                let inner = self.comma()?;
                self.depth -= 1;
                self.expect(")")?;
                return Ok(inner);
            }
            TokenKind::End => return Err(self.error("a value expected")),
            TokenKind::Symbol(_) => return Err(self.error("a value expected")),
        };
        self.next += 1;
        Ok(expression)
    }
}
