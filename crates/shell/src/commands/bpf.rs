//! `bpf`: BPF programs and maps.

mod maps;
mod programs;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::number::number;
use crate::output::Output;
use crate::session::Session;
use crate::typed_value::ValueStyle;

/// `bpf`.
pub const COMMAND: Command = Command {
    name: "bpf",
    aliases: &[],
    summary: "BPF programs and maps",
    synopsis: "[[-p ID | -P] [-tTj]] [[-m ID] | -M] [-s] [-xd]",
    options: &[
        value('p', "ID", "this program, with more of it"),
        flag('P', "all programs, with more of them"),
        value('m', "ID", "this map, with more of it"),
        flag('M', "all maps, with more of them"),
        flag('t', "with -p or -P, the program's instructions"),
        flag('T', "the same with their bytes"),
        flag('j', "with -p or -P, the machine code made of them"),
        flag('s', "the structures: bpf_prog and bpf_prog_aux, or bpf_map"),
        flag('x', "with -s, numbers in hexadecimal"),
        flag('d', "with -s, numbers in decimal"),
    ],
    help: "Without an option, all programs and all maps.\n\n\
           Examples:\n  bpf\n  bpf -p 1 -t\n  bpf -p 1 -j\n  bpf -M\n  bpf -m 2 -s",
    run,
};

/// Which objects are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Selection {
    None,
    /// All, in short.
    Short,
    One(u64),
    All,
}

impl Selection {
    fn parse(arguments: &Arguments, one: char, all: char) -> Result<Self, CommandError> {
        let id = match arguments.value(one) {
            Some(word) => Some(
                number(word)
                    .ok_or_else(|| CommandError::Message(format!("not a valid number: {word}")))?,
            ),
            None => None,
        };
        Ok(match (arguments.has(all), id) {
            (true, _) => Self::All,
            (false, Some(id)) => Self::One(id),
            (false, None) => Self::None,
        })
    }

    /// Whether more is told than a line.
    fn in_full(self) -> bool {
        matches!(self, Self::One(_) | Self::All)
    }

    fn selects(self, id: u64) -> bool {
        match self {
            Self::None => false,
            Self::One(wanted) => wanted == id,
            Self::Short | Self::All => true,
        }
    }
}

/// What is shown of each object.
struct Request {
    programs: Selection,
    maps: Selection,
    instructions: bool,
    opcodes: bool,
    machine_code: bool,
    structures: Option<ValueStyle>,
}

impl Request {
    fn parse(session: &Session, arguments: &Arguments) -> Result<Self, CommandError> {
        let fail = |message: &str| Err(CommandError::message(message));
        let (hexadecimal, decimal) = (arguments.has('x'), arguments.has('d'));
        if hexadecimal && decimal {
            return fail("-d and -x are mutually exclusive");
        }
        let mut programs = Selection::parse(arguments, 'p', 'P')?;
        let mut maps = Selection::parse(arguments, 'm', 'M')?;
        let opcodes = arguments.has('T');
        let instructions = arguments.has('t') || opcodes;
        if arguments.has('j') && !programs.in_full() {
            return fail("-j option only applicable with -p or -P");
        }
        if instructions && !programs.in_full() {
            return fail("-t option only applicable with -p or -P");
        }
        let any = programs.in_full() || maps.in_full();
        if arguments.has('s') && !any {
            return fail("-s option requires either -p, -P, -m or -M");
        }
        if (hexadecimal || decimal) && !any {
            return fail(if decimal { "-d option requires -s" } else { "-x option requires -s" });
        }
        if let Some(word) = arguments.first() {
            return Err(CommandError::Message(format!("invalid argument: {word}")));
        }
        if !any {
            (programs, maps) = (Selection::Short, Selection::Short);
        }
        let style = ValueStyle::new(session, hexadecimal, decimal);
        Ok(Self {
            programs,
            maps,
            instructions,
            opcodes,
            machine_code: arguments.has('j'),
            structures: arguments.has('s').then_some(style),
        })
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let request = Request::parse(session, arguments)?;
    let kernel = &*session.kernel;
    let (programs, programs_damage) = kernel.bpf_programs()?;
    let (maps, maps_damage) = kernel.bpf_maps()?;
    if let Selection::One(id) = request.programs
        && !programs.iter().any(|program| program.id == id)
    {
        return Err(CommandError::Message(format!("invalid program ID: {id}")));
    }
    if let Selection::One(id) = request.maps
        && !maps.iter().any(|map| map.id == id)
    {
        return Err(CommandError::Message(format!("invalid map ID: {id}")));
    }
    if request.programs != Selection::None {
        programs::show(session, &request, &programs, &maps, out)?;
        if request.maps != Selection::None {
            out.layout("\n")?;
        }
    }
    maps::show(session, &request, &maps, out)?;
    for damage in programs_damage.into_iter().chain(maps_damage) {
        out.warn(damage);
    }
    Ok(())
}

/// The name of a kind without what all names of kinds begin with.
fn kind_name(kernel: &mortis_kernel::Kernel, tag: &str, prefix: &str, kind: u64) -> String {
    match kernel.enumerator_name(tag, kind) {
        Some(name) => name.strip_prefix(prefix).unwrap_or(&name).to_owned(),
        None => kind.to_string(),
    }
}
