//! `sbitmapq`: a scalable bitmap, and the objects that its bits stand for.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::commands::struct_::{MemberValue, StructType};
use crate::known::Known;
use crate::number::address;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::structure::Structure;
use crate::task_header::Hex;
use crate::typed_value::ValueStyle;
use mortis_kernel::Kernel;
use mortis_kernel::expression::{Evaluator, Place, Value};
use mortis_kernel::sbitmap::SbitmapQueue;
use mortis_memory::{VirtAddr, VirtualMemory};
use serde::Serialize;

/// `sbitmapq`.
pub const COMMAND: Command = Command {
    name: "sbitmapq",
    aliases: &[],
    summary: "a struct sbitmap_queue and what its bits stand for",
    synopsis: "[-s struct[.member[,member]] -a address [-p] [-v]] -[x|d] address",
    options: &[
        value('s', "struct[.member,...]", "what the array behind the bits holds (with -a)"),
        value('a', "address", "where that array is"),
        flag('p', "the array holds pointers to the structures"),
        flag('v', "the structures themselves, or the members named"),
        flag('x', "numbers in hexadecimal"),
        flag('d', "numbers in decimal"),
    ],
    help: "Examples:\n  sbitmapq ffff8f1915eb3790\n  \
           sbitmapq -s request -a ffff8f1901f85800 -p ffff8f1915eb3790\n  \
           sbitmapq -s request.tag,__sector -a ffff8f1901f85800 -p -v ffff8f1915eb3790",
    run,
};

/// A bitmap and its queues.
#[derive(Serialize)]
struct Report {
    address: Hex,
    depth: u64,
    busy: u64,
    cleared: Option<u64>,
    bits_per_word: u64,
    words: usize,
    alloc_hint: Vec<Known<u32>>,
    wake_batch: u64,
    wake_index: i64,
    ws_active: Option<i64>,
    wait: Vec<Known<Wait>>,
    round_robin: Option<bool>,
    min_shallow_depth: Option<u64>,
    /// The numbers that are taken.
    bits: Vec<u64>,
    #[serde(skip)]
    bytes: Vec<u8>,
}

/// A queue of those who wait for a bit.
#[derive(Clone, Serialize)]
struct Wait {
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_cnt: Option<i64>,
    active: bool,
}

impl Report {
    fn new(at: VirtAddr, queue: SbitmapQueue) -> Self {
        let bitmap = &queue.bitmap;
        Self {
            address: Hex(at.0),
            depth: bitmap.depth,
            busy: bitmap.taken().saturating_sub(bitmap.cleared()),
            cleared: bitmap.has_cleared.then(|| bitmap.cleared()),
            bits_per_word: 1 << bitmap.shift,
            words: bitmap.words.len(),
            alloc_hint: queue.alloc_hints.into_iter().map(Known::from).collect(),
            wake_batch: queue.wake_batch,
            wake_index: queue.wake_index,
            ws_active: queue.ws_active,
            wait: queue
                .wait_states
                .into_iter()
                .map(|state| {
                    Known::from(state)
                        .map(|state| Wait { wait_cnt: state.wait_cnt, active: state.is_active })
                })
                .collect(),
            round_robin: queue.round_robin,
            min_shallow_depth: queue.min_shallow_depth,
            bits: bitmap.busy().collect(),
            bytes: bitmap.bytes(),
        }
    }
}

impl Render for Report {
    fn render(&self, out: &mut String, _: Style) {
        let mut line = |name: &str, value: String| out.push_str(&format!("{name} = {value}\n"));
        line("depth", self.depth.to_string());
        line("busy", self.busy.to_string());
        if let Some(cleared) = self.cleared {
            line("cleared", cleared.to_string());
        }
        line("bits_per_word", self.bits_per_word.to_string());
        line("map_nr", self.words.to_string());
        let hints: Vec<String> = self.alloc_hint.iter().map(Known::to_string).collect();
        line("alloc_hint", format!("{{{}}}", hints.join(", ")));
        line("wake_batch", self.wake_batch.to_string());
        line("wake_index", self.wake_index.to_string());
        if let Some(active) = self.ws_active {
            line("ws_active", active.to_string());
        }
        line("ws", "{".to_owned());
        for wait in &self.wait {
            let state = wait.clone().map(|wait| if wait.active { "active" } else { "inactive" });
            let count = match wait.value() {
                Some(Wait { wait_cnt: Some(count), .. }) => format!(".wait_cnt = {count}, "),
                _ => String::new(),
            };
            out.push_str(&format!("\t{{ {count}.wait = {state} }},\n"));
        }
        out.push_str("}\n");
        if let Some(round_robin) = self.round_robin {
            out.push_str(&format!("round_robin = {}\n", u8::from(round_robin)));
        }
        if let Some(depth) = self.min_shallow_depth {
            out.push_str(&format!("min_shallow_depth = {depth}\n"));
        }
        out.push('\n');
        for (row, bytes) in self.bytes.chunks(16).enumerate() {
            out.push_str(&format!("{:08x}:", row * 16));
            for pair in bytes.chunks(2) {
                out.push(' ');
                pair.iter().for_each(|byte| out.push_str(&format!("{byte:02x}")));
            }
            out.push('\n');
        }
    }
}

/// What a bit stands for.
#[derive(Serialize)]
struct Element {
    bit: u64,
    /// Where in the array it is.
    address: Hex,
    /// With `-p`, where that leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<Known<Hex>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    structure: Option<Structure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberValue>,
    #[serde(skip)]
    verbose: bool,
    #[serde(skip)]
    style: ValueStyle,
}

impl Render for Element {
    fn render(&self, out: &mut String, style: Style) {
        let Self { bit, address, .. } = self;
        if !self.verbose {
            out.push_str(&format!("{bit}: {:#010x}\n", address.0));
            return;
        }
        out.push_str(&format!("{bit} ({:#010x}):\n", address.0));
        if let Some(missing @ Known::Unavailable(_)) = &self.pointer {
            out.push_str(&format!("{}\n", missing.clone().map(|_| String::new())));
        }
        if let Some(structure) = &self.structure {
            structure.render(out, style);
        }
        for member in &self.members {
            member.render(out, self.style);
        }
    }
}

/// A kernel address in a word.
fn kernel_address(word: &str, what: &str) -> Result<VirtAddr, CommandError> {
    let number =
        address(word).ok_or_else(|| CommandError::Message(format!("invalid {what}: {word}")))?;
    match number >> 63 {
        0 => Err(CommandError::Message(format!("invalid kernel virtual address: {word}"))),
        _ => Ok(VirtAddr(number)),
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let usage = |what: &str| {
        let (name, synopsis) = (COMMAND.name, COMMAND.synopsis);
        Err(CommandError::Usage(format!("{what}\nUsage: {name} {synopsis}")))
    };
    let array = match arguments.value('a') {
        Some(word) => Some(kernel_address(word, "-a option")?),
        None => None,
    };
    let (hexadecimal, decimal) = (arguments.has('x'), arguments.has('d'));
    if hexadecimal && decimal {
        return Err(CommandError::message("-d and -x are mutually exclusive"));
    }
    let at = match arguments.words.as_slice() {
        [] => return usage("command argument is required"),
        [word] => kernel_address(word, "command argument")?,
        _ => return usage("too many arguments"),
    };
    let kernel = &*session.kernel;
    match (arguments.value('s'), array) {
        (Some(_), None) => usage("-s option requires -a option"),
        (None, Some(_)) => usage("-a option is used with -s option only"),
        (None, None) if arguments.has('p') => usage("-p option requires -a option"),
        (None, None) => Ok(out.emit(&Report::new(at, kernel.sbitmap_queue(at)?))?),
        (Some(name), Some(array)) => {
            let style = ValueStyle::new(session, hexadecimal, decimal);
            let elements = Elements {
                name,
                array,
                pointers: arguments.has('p'),
                verbose: arguments.has('v'),
                style,
            };
            elements.show(kernel, at, out)
        }
    }
}

/// What `-s`, `-a`, `-p` and `-v` say.
struct Elements<'a> {
    name: &'a str,
    array: VirtAddr,
    pointers: bool,
    verbose: bool,
    style: ValueStyle,
}

impl Elements<'_> {
    fn show(&self, kernel: &Kernel, at: VirtAddr, out: &mut Output) -> Result<(), CommandError> {
        let (tag, members) = match self.name.split_once('.') {
            Some((tag, members)) => (tag, Some(members)),
            None => (self.name, None),
        };
        let invalid =
            || CommandError::Message(format!("invalid data structure reference: {}", self.name));
        let evaluator = Evaluator::new(kernel);
        let ty = StructType::find(&evaluator, tag, None).map_err(|_| invalid())?;
        let size = if self.pointers { 8 } else { ty.size };
        for bit in kernel.sbitmap_queue(at)?.bitmap.busy() {
            out.check()?;
            let address = self.array.offset(bit.wrapping_mul(size));
            let pointer = self
                .pointers
                .then(|| Known::from(kernel.read_pointer(address).map_err(Into::into)));
            let target = match &pointer {
                Some(pointer) => pointer.value().copied(),
                None => Some(address),
            };
            let mut element = Element {
                bit,
                address: Hex(address.0),
                pointer: pointer.map(|pointer| pointer.map(|at| Hex(at.0))),
                structure: None,
                members: Vec::new(),
                verbose: self.verbose,
                style: self.style,
            };
            if let Some(target) = target.filter(|_| self.verbose) {
                match members {
                    Some(paths) => {
                        let base = Value { ty: ty.id, place: Place::at(target) };
                        for path in paths.split(',') {
                            let value =
                                MemberValue::read(&evaluator, &ty, &base, path, self.style)?;
                            element.members.push(value);
                        }
                    }
                    None => {
                        element.structure = Some(Structure::read(kernel, tag, target, self.style)?);
                    }
                }
            }
            out.emit(&element)?;
        }
        Ok(())
    }
}
