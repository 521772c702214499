//! Type names as people write them: `struct task_struct *`, `unsigned long`, `char [16]`,
//! `int (*)(void)`.

use super::base_names::{self, BaseName};
use super::{Function, IntEncoding, Namespace, Qualifier, Type, TypeId, TypeSet, TypeSource};

/// Parentheses inside each other, and stars and brackets in a row.
const MAX_DEPTH: usize = 32;

/// Why a text is no type name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTypeError {
    /// The name is that of no type.
    #[error("no type is named {0}")]
    Unknown(String),
    /// The text is not a type name in C.
    #[error("{text:?} is no type name: {what}")]
    Syntax {
        /// The text.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The type that `text` names. Pointers, arrays and functions that no source has are made.
///
/// # Errors
/// [`ParseTypeError`] when the text is no type name or names a type that is not known.
pub fn parse_type(types: &TypeSet, text: &str) -> Result<TypeId, ParseTypeError> {
    let syntax = |what| ParseTypeError::Syntax { text: text.to_owned(), what };
    let tokens = tokenize(text).ok_or_else(|| syntax("a character that no type name has"))?;
    let mut parser = Parser { types, text, tokens: &tokens, at: 0 };
    let id = parser.type_name(0)?;
    match parser.peek() {
        None => Ok(id),
        Some(_) => Err(syntax("something follows it")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Number(u64),
    Mark(u8),
}

fn tokenize(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(&first) = rest.as_bytes().first() {
        let len = match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9' => rest
                .bytes()
                .position(|byte| !byte.is_ascii_alphanumeric() && byte != b'_')
                .unwrap_or(rest.len()),
            b'*' | b'(' | b')' | b'[' | b']' | b',' => 1,
            b'.' if rest.starts_with("...") => 3,
            _ => return None,
        };
        let (token, tail) = rest.split_at_checked(len)?;
        tokens.push(match first {
            b'0'..=b'9' => Token::Number(match token.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok()?,
                None => token.parse().ok()?,
            }),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Token::Word(token),
            mark => Token::Mark(mark),
        });
        rest = tail.trim_start();
    }
    Some(tokens)
}

/// What a declarator makes of the type in front of it, the outermost last.
enum Derivation {
    Pointer(Vec<Qualifier>),
    Array(Option<u64>),
    Function { parameters: Vec<TypeId>, variadic: bool },
}

struct Parser<'a> {
    types: &'a TypeSet,
    text: &'a str,
    tokens: &'a [Token<'a>],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn peek_at(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn eat(&mut self, mark: u8) -> bool {
        let eaten = self.peek() == Some(Token::Mark(mark));
        self.at += usize::from(eaten);
        eaten
    }

    fn syntax(&self, what: &'static str) -> ParseTypeError {
        ParseTypeError::Syntax { text: self.text.to_owned(), what }
    }

    fn type_name(&mut self, depth: usize) -> Result<TypeId, ParseTypeError> {
        if depth >= MAX_DEPTH {
            return Err(self.syntax("it is nested too deep"));
        }
        let base = self.specifiers()?;
        let mut derivations = Vec::new();
        self.declarator(&mut derivations, depth)?;
        Ok(derivations.into_iter().fold(base, |id, derivation| self.derive(id, derivation)))
    }

    /// `const unsigned long`, `struct task_struct`, `u64`.
    fn specifiers(&mut self) -> Result<TypeId, ParseTypeError> {
        let mut qualifiers = Vec::new();
        let mut words: Vec<&str> = Vec::new();
        let mut found = None;
        while let Some(Token::Word(word)) = self.peek() {
            if let Some(qualifier) = qualifier(word) {
                qualifiers.push(qualifier);
                self.at += 1;
                continue;
            }
            if found.is_some() || (!words.is_empty() && !base_names::is_word(word)) {
                break;
            }
            self.at += 1;
            if base_names::is_word(word) {
                words.push(word);
                continue;
            }
            found = Some(self.named(word)?);
        }
        let id = match (found, words.as_slice()) {
            (Some(id), _) => id,
            (None, []) => return Err(self.syntax("it begins with no type")),
            (None, words) => {
                let base = base_names::from_words(words)
                    .ok_or_else(|| ParseTypeError::Unknown(words.join(" ")))?;
                self.base(base)
            }
        };
        Ok(self.qualify(id, &qualifiers))
    }

    fn named(&mut self, word: &str) -> Result<TypeId, ParseTypeError> {
        let namespace = match word {
            "void" => return Ok(TypeId::VOID),
            "struct" => Namespace::Struct,
            "union" => Namespace::Union,
            "enum" => Namespace::Enum,
            name => {
                return self
                    .types
                    .lookup(Namespace::Typedef, name)
                    .or_else(|| self.types.lookup(Namespace::Base, name))
                    .ok_or_else(|| ParseTypeError::Unknown(name.to_owned()));
            }
        };
        let Some(Token::Word(name)) = self.peek() else {
            return Err(self.syntax("struct, union or enum without a name"));
        };
        self.at += 1;
        self.types
            .lookup(namespace, name)
            .ok_or_else(|| ParseTypeError::Unknown(format!("{word} {name}")))
    }

    fn base(&self, base: &BaseName) -> TypeId {
        let known = |name: &&str| self.types.lookup(Namespace::Base, name);
        base.spellings.iter().find_map(known).unwrap_or_else(|| {
            self.types.intern(Type::Int {
                name: base.shown.into(),
                size: base.size,
                signed: base.signed,
                encoding: match base.shown {
                    "_Bool" => IntEncoding::Boolean,
                    shown if shown.ends_with("char") => IntEncoding::Character,
                    _ => IntEncoding::Number,
                },
            })
        })
    }

    /// Stars, an inner declarator in parentheses, and brackets and parameters behind it. Adds
    /// to `derivations` in the order in which they apply to the type in front.
    fn declarator(
        &mut self,
        derivations: &mut Vec<Derivation>,
        depth: usize,
    ) -> Result<(), ParseTypeError> {
        if depth >= MAX_DEPTH {
            return Err(self.syntax("it is nested too deep"));
        }
        while self.eat(b'*') {
            let mut qualifiers = Vec::new();
            while let Some(Token::Word(word)) = self.peek()
                && let Some(qualifier) = qualifier(word)
            {
                qualifiers.push(qualifier);
                self.at += 1;
            }
            if derivations.len() >= MAX_DEPTH {
                return Err(self.syntax("it is nested too deep"));
            }
            derivations.push(Derivation::Pointer(qualifiers));
        }
        let mut inner = Vec::new();
        let is_inner = self.peek() == Some(Token::Mark(b'('))
            && matches!(self.peek_at(1), Some(Token::Mark(b'*' | b'(' | b'[')));
        if is_inner {
            self.at += 1;
            self.declarator(&mut inner, depth + 1)?;
            if !self.eat(b')') {
                return Err(self.syntax("a parenthesis is not closed"));
            }
        } else if let Some(Token::Word(_)) = self.peek() {
            // The name of a parameter, which means nothing.
            self.at += 1;
        }
        let mut suffixes = Vec::new();
        loop {
            if suffixes.len() >= MAX_DEPTH {
                return Err(self.syntax("it is nested too deep"));
            }
            if self.eat(b'[') {
                let count = match self.peek() {
                    Some(Token::Number(count)) => {
                        self.at += 1;
                        Some(count)
                    }
                    _ => None,
                };
                if !self.eat(b']') {
                    return Err(self.syntax("a bracket is not closed"));
                }
                suffixes.push(Derivation::Array(count));
            } else if self.eat(b'(') {
                suffixes.push(self.parameters(depth)?);
            } else {
                break;
            }
        }
        // `[2][3]` is an array of 2 arrays of 3: the last applies first.
        derivations.extend(suffixes.into_iter().rev());
        derivations.append(&mut inner);
        Ok(())
    }

    fn parameters(&mut self, depth: usize) -> Result<Derivation, ParseTypeError> {
        let mut parameters = Vec::new();
        let mut variadic = false;
        while !self.eat(b')') {
            if self.eat(b'.') {
                variadic = true;
            } else {
                parameters.push(self.type_name(depth + 1)?);
            }
            if !self.eat(b',') && self.peek() != Some(Token::Mark(b')')) {
                return Err(self.syntax("a list of parameters is not closed"));
            }
        }
        if parameters.as_slice() == [TypeId::VOID] {
            parameters.clear();
        }
        Ok(Derivation::Function { parameters, variadic })
    }

    fn derive(&self, id: TypeId, derivation: Derivation) -> TypeId {
        match derivation {
            Derivation::Pointer(qualifiers) => {
                let pointer = self.types.pointer_to(id);
                self.qualify(pointer, &qualifiers)
            }
            Derivation::Array(count) => self.types.intern(Type::Array { element: id, count }),
            Derivation::Function { parameters, variadic } => {
                self.types.intern(Type::Function(Function {
                    result: id,
                    parameters: parameters.into_iter().map(|id| (None, id)).collect(),
                    variadic,
                }))
            }
        }
    }

    fn qualify(&self, id: TypeId, qualifiers: &[Qualifier]) -> TypeId {
        let qualified = |target, &qualifier: &Qualifier| {
            self.types.intern(Type::Qualified { qualifier, target })
        };
        qualifiers.iter().fold(id, qualified)
    }
}

fn qualifier(word: &str) -> Option<Qualifier> {
    match word {
        "const" => Some(Qualifier::Const),
        "volatile" => Some(Qualifier::Volatile),
        "restrict" | "__restrict" => Some(Qualifier::Restrict),
        "_Atomic" => Some(Qualifier::Atomic),
        _ => None,
    }
}
