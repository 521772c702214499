//! BPF programs.

use super::{Request, Selection, kind_name};
use crate::command::CommandError;
use crate::date;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::{DisassemblyFlavor, Session};
use crate::structure::Structure;
use crate::task_header::Hex;
use mortis_disasm::{
    Architecture, Disassembler, OffsetRadix, Style as Flavor, SymbolOffset, TextOptions,
};
use mortis_kernel::Kernel;
use mortis_kernel::bpf::instruction::Names;
use mortis_kernel::bpf::{Map, Program, ProgramFacts};
use mortis_kernel::error::KernelError;
use mortis_memory::{VirtAddr, VirtualMemory};
use serde::Serialize;

/// A program.
#[derive(Serialize)]
struct Row {
    program: u64,
    address: Hex,
    aux: Known<Hex>,
    #[serde(rename = "type")]
    kind: Known<String>,
    tag: Known<String>,
    used_maps: Known<Vec<u64>>,
    /// Bytes of the program, and of the machine code made of it.
    xlated: Known<u64>,
    jited: Known<u64>,
    memory: Known<u64>,
    /// Nanoseconds since boot, and the date.
    load_time: Known<u64>,
    loaded: Known<String>,
    gpl_compatible: Known<bool>,
    name: Known<String>,
    uid: Known<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<Known<Vec<Line>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine_code: Option<Known<Vec<Line>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    structures: Vec<Structure>,
    #[serde(skip)]
    in_full: bool,
    #[serde(skip)]
    opcodes: bool,
}

/// An instruction.
#[derive(Clone, Serialize)]
struct Line {
    /// Its number in the program, or its address.
    at: Known<Hex>,
    text: String,
    bytes: String,
    #[serde(skip)]
    index: usize,
}

/// A map's number by its address, and functions' names.
struct KnownNames<'k> {
    kernel: &'k Kernel,
    maps: &'k [Map],
    call_base: Option<VirtAddr>,
    helpers: Vec<(std::sync::Arc<str>, i64)>,
}

impl Names for KnownNames<'_> {
    fn constant(&self, value: u64) -> Option<String> {
        let map = self.maps.iter().find(|map| map.address.0 == value)?;
        Some(format!("map[id:{}]", map.id))
    }

    fn function(&self, number: i32) -> Option<String> {
        // Before the verifier has seen it, a helper's number; then its distance from a symbol.
        let helper = self.helpers.iter().find(|(name, value)| {
            *value == i64::from(number) && !name.starts_with("__") && number > 0
        });
        if let Some((name, _)) = helper {
            let name = name.strip_prefix("BPF_FUNC_").unwrap_or(name);
            return Some(format!("bpf_{name}"));
        }
        let address = self.call_base?.offset(i64::from(number).cast_unsigned());
        match self.kernel.symbol_at(address)? {
            (symbol, 0) => Some(symbol.name.to_string()),
            _ => None,
        }
    }
}

fn spaced(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn instructions(
    names: &KnownNames,
    program: &Program,
    facts: &ProgramFacts,
) -> Result<Vec<Line>, KernelError> {
    let all = names.kernel.bpf_instructions(program.address, facts.len)?;
    let mut lines = Vec::new();
    let mut index = 0;
    while let Some(instruction) = all.get(index) {
        let next = all.get(index + 1).copied();
        let mut bytes = spaced(&instruction.0);
        if instruction.is_double()
            && let Some(next) = next
        {
            bytes.push_str(&format!(" {}", spaced(&next.0)));
        }
        let at = Known::Value(Hex(index as u64));
        lines.push(Line { at, text: instruction.text(next, names), bytes, index });
        index += if instruction.is_double() { 2 } else { 1 };
    }
    Ok(lines)
}

/// Machine code of more bytes than this is none: the kernel takes it from areas of this size.
const MAX_MACHINE_CODE: u64 = 64 << 20;

fn machine_code(session: &Session, facts: &ProgramFacts) -> Result<Vec<Line>, KernelError> {
    let kernel = &*session.kernel;
    let bytes = kernel.read_bytes(facts.function, facts.jited_len.min(MAX_MACHINE_CODE))?;
    let symbols = |address: VirtAddr| {
        let (symbol, offset) = kernel.symbol_at(address)?;
        Some(SymbolOffset { name: symbol.name.to_string().into(), offset })
    };
    let style = match session.settings.disassembly {
        DisassemblyFlavor::Att => Flavor::Att,
        DisassemblyFlavor::Intel => Flavor::Intel,
    };
    let options = TextOptions { style, offsets: OffsetRadix::Decimal, symbols: &symbols };
    let disassembler = Disassembler::new(Architecture::X86_64);
    let (mut lines, mut at) = (Vec::new(), 0usize);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let address = facts.function.offset(at as u64);
        let Some(instruction) = disassembler.instruction(address, rest) else { break };
        lines.push(Line {
            at: Known::Value(Hex(address.0)),
            text: instruction.text(&options),
            bytes: spaced(instruction.bytes()),
            index: lines.len(),
        });
        at += instruction.len().max(1);
    }
    Ok(lines)
}

impl Row {
    fn new(session: &Session, request: &Request, program: &Program, names: &KnownNames) -> Self {
        let kernel = &*session.kernel;
        let facts = Known::from(program.facts.clone());
        let number = |read: fn(&ProgramFacts) -> u64| facts.clone().map(|facts| read(&facts));
        let inner = |read: fn(&ProgramFacts) -> Result<u64, KernelError>| {
            Known::from(program.facts.as_ref().map_err(Clone::clone).and_then(read))
        };
        let load_time = inner(|facts| facts.load_time.clone());
        let clocks = kernel.clocks();
        let loaded = match (load_time.value(), &clocks) {
            // The load time goes on while the machine is suspended.
            (Some(at), Ok(clocks)) => {
                let suspended = u64::try_from(clocks.uptime - clocks.monotonic).unwrap_or(0);
                Known::Value(date::utc(clocks.wall_seconds_at(at.saturating_sub(suspended))))
            }
            _ => load_time.clone().map(|_| String::new()),
        };
        let used_maps = program.facts.clone().and_then(|facts| facts.used_maps).map(|used| {
            let id = |at: &VirtAddr| names.maps.iter().find(|m| m.address == *at).map(|m| m.id);
            used.iter().filter_map(id).collect()
        });
        let mut structures = Vec::new();
        if let Some(style) = request.structures {
            let aux = facts.value().map(|facts| ("bpf_prog_aux", facts.aux));
            for (tag, at) in std::iter::once(("bpf_prog", program.address)).chain(aux) {
                structures.extend(Structure::read(kernel, tag, at, style).ok());
            }
        }
        let lines =
            |wanted: bool, read: &dyn Fn(&ProgramFacts) -> Result<Vec<Line>, KernelError>| {
                wanted.then(|| {
                    Known::from(program.facts.as_ref().map_err(Clone::clone).and_then(read))
                })
            };
        Self {
            program: program.id,
            address: Hex(program.address.0),
            aux: number(|facts| facts.aux.0).map(Hex),
            kind: number(|facts| facts.kind)
                .map(|kind| kind_name(kernel, "bpf_prog_type", "BPF_PROG_TYPE_", kind)),
            tag: facts.clone().map(|facts| spaced(&facts.tag).replace(' ', "")),
            used_maps: used_maps.into(),
            xlated: number(|facts| facts.len.saturating_mul(8)),
            jited: number(|facts| facts.jited_len),
            memory: inner(|facts| facts.pages.clone().map(|pages| pages.saturating_mul(4096))),
            load_time,
            loaded,
            gpl_compatible: inner(|facts| facts.gpl_compatible.clone().map(u64::from))
                .map(|bit| bit != 0),
            name: program.facts.clone().and_then(|facts| facts.name).into(),
            uid: inner(|facts| facts.uid.clone()),
            instructions: lines(request.instructions, &|facts| instructions(names, program, facts)),
            machine_code: lines(request.machine_code, &|facts| machine_code(session, facts)),
            structures,
            in_full: request.programs.in_full(),
            opcodes: request.opcodes,
        }
    }

    fn render_facts(&self, out: &mut String, style: Style) {
        let unknown = |text: Option<String>| text.unwrap_or_else(|| "(unknown)".to_owned());
        let number = |known: &Known<u64>| unknown(known.value().map(u64::to_string));
        let (memory, uid) = (number(&self.memory), number(&self.uid));
        let loaded = unknown(self.loaded.value().cloned());
        let gpl = self.gpl_compatible.value().map(|gpl| if *gpl { "yes" } else { "no" });
        let name = match self.name.value() {
            Some(name) if name.is_empty() => "(unused)".to_owned(),
            Some(name) => format!("\"{}\"", style.name(name)),
            None => "(unknown)".to_owned(),
        };
        out.push_str(&format!(
            "     XLATED: {}  JITED: {}  MEMLOCK: {memory}\n     LOAD_TIME: {loaded}\n     \
             GPL_COMPATIBLE: {}  NAME: {name}  UID: {uid}\n",
            self.xlated,
            self.jited,
            gpl.unwrap_or("(unknown)")
        ));
    }
}

impl Render for Row {
    fn render(&self, out: &mut String, style: Style) {
        let Self { program, kind, tag, .. } = self;
        let aux = self.aux.clone().map(|aux| format!("{:x}", aux.0));
        let used = self
            .used_maps
            .clone()
            .map(|maps| maps.iter().map(u64::to_string).collect::<Vec<_>>().join(","));
        let address = self.address.0;
        out.push_str(&format!(
            "{program:^4} {address:^16x} {aux:^16} {kind:^13} {tag} {used:^9} \n"
        ));
        if self.in_full {
            self.render_facts(out, style);
        }
        match &self.machine_code {
            Some(Known::Value(lines)) if lines.is_empty() => {
                out.push_str("\n(program not jited)\n");
            }
            Some(Known::Value(lines)) => {
                out.push('\n');
                for line in lines {
                    let at = line.at.value().map_or(0, |at| at.0);
                    out.push_str(&format!("   {at:#x}:\t{} \n", line.text));
                }
            }
            Some(missing) => {
                out.push_str(&format!("\n{}\n", missing.clone().map(|_| String::new())));
            }
            None => {}
        }
        match &self.instructions {
            Some(Known::Value(lines)) => {
                out.push('\n');
                for line in lines {
                    out.push_str(&format!("{:>4}: {}\n", line.index, line.text));
                    if self.opcodes {
                        out.push_str(&format!("       {}\n", line.bytes));
                    }
                }
            }
            Some(missing) => {
                out.push_str(&format!("\n{}\n", missing.clone().map(|_| String::new())));
            }
            None => {}
        }
        for structure in &self.structures {
            out.push('\n');
            structure.render(out, style);
        }
    }
}

pub(super) fn show(
    session: &Session,
    request: &Request,
    programs: &[Program],
    maps: &[Map],
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let names = KnownNames {
        kernel,
        maps,
        call_base: kernel.symbol("__bpf_call_base").ok(),
        helpers: kernel.enumerators("bpf_func_id").unwrap_or_default(),
    };
    let heading = format!(
        "{:^4} {:^16} {:^16} {:^13}       TAG        USED_MAPS\n",
        "ID", "BPF_PROG", "BPF_PROG_AUX", "BPF_PROG_TYPE"
    );
    let chosen = programs.iter().filter(|program| request.programs.selects(program.id));
    for (index, program) in chosen.enumerate() {
        if index == 0 {
            out.layout(&heading)?;
        } else if request.programs == Selection::All {
            out.layout(&format!("\n{heading}"))?;
        }
        out.emit(&Row::new(session, request, program, &names))?;
    }
    Ok(())
}
