//! What the words of `tree` ask for.

use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::commands::list::kernel_address_of;
use crate::commands::struct_::beside::{Beside, member_offset};
use crate::number;
use crate::session::Session;
use mortis_memory::VirtAddr;

/// Which kind of tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    RedBlack,
    XArray,
    Maple,
}

/// Everything that was asked for.
pub(super) struct Request {
    pub kind: Kind,
    /// The root, or a node.
    pub start: VirtAddr,
    pub is_node: bool,
    /// Where an entry of a red-black tree holds its node.
    pub node_offset: u64,
    pub sorted: bool,
    pub position: bool,
    pub verbose: bool,
    pub beside: Beside,
}

impl Request {
    pub fn parse(session: &Session, arguments: &Arguments) -> Result<Self, CommandError> {
        let usage = |what: String| {
            CommandError::Usage(format!("{what}\nUsage: tree {}", super::COMMAND.synopsis))
        };
        let types: Vec<&str> = arguments.values('t').collect();
        let (kind, plural) = match types.as_slice() {
            [] => (Kind::RedBlack, "rbtrees"),
            [name] if name.starts_with("rb") => (Kind::RedBlack, "rbtrees"),
            [name] if name.starts_with("ra") => (Kind::XArray, "radix trees"),
            [name] if name.starts_with('x') => (Kind::XArray, "Xarrays"),
            [name] if name.starts_with('m') => (Kind::Maple, "maple trees"),
            [name] => return Err(usage(format!("invalid tree type: {name}"))),
            _ => return Err(usage("multiple tree types may not be entered".to_owned())),
        };
        let beside = Beside::parse(session, arguments)?;
        let node_offset = offset(session, arguments, 'o')?;
        let root_offset = offset(session, arguments, 'r')?;
        let unfit = |letter, unfit| {
            let message = format!("-{letter} option is not applicable to {plural}");
            if unfit { Err(CommandError::Message(message)) } else { Ok(()) }
        };
        unfit('l', kind != Kind::RedBlack && arguments.has('l'))?;
        unfit('o', kind != Kind::RedBlack && node_offset.is_some())?;
        unfit('v', kind != Kind::Maple && arguments.has('v') && !types.is_empty())?;
        let is_node = arguments.has('N');
        if is_node && root_offset.is_some() {
            return Err(CommandError::message("-r and -N options are mutually exclusive"));
        }
        let (word, rest) = arguments
            .words
            .split_first()
            .ok_or_else(|| usage("a starting address is required".to_owned()))?;
        let start = kernel_address_of(session, word)
            .ok_or_else(|| CommandError::Message(format!("invalid start argument: {word}")))?;
        if !rest.is_empty() {
            return Err(usage("too many arguments entered".to_owned()));
        }
        Ok(Self {
            kind,
            start: start.offset(root_offset.unwrap_or(0)),
            is_node,
            node_offset: node_offset.unwrap_or(0),
            sorted: arguments.has('l'),
            position: arguments.has('p'),
            verbose: arguments.has('v'),
            beside,
        })
    }
}

/// The offset that an option names, which may be given once.
fn offset(
    session: &Session,
    arguments: &Arguments,
    letter: char,
) -> Result<Option<u64>, CommandError> {
    let mut offset = None;
    for word in arguments.values(letter) {
        if let Some(offset) = offset {
            let called = if letter == 'r' { "root" } else { "node" };
            return Err(CommandError::Message(format!(
                "{called} offset value {offset} ({offset:#x}) already entered"
            )));
        }
        let found = number::number(word).or_else(|| member_offset(&session.kernel, word));
        offset =
            Some(found.ok_or_else(|| {
                CommandError::Message(format!("invalid -{letter} argument: {word}"))
            })?);
    }
    Ok(offset)
}
