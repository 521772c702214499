//! `rd`: raw memory.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::commands::sym::address_of;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use mortis_kernel::Kernel;
use mortis_kernel::slab::SlabFinder;
use mortis_kernel::user_memory::UserMemory;
use mortis_memory::{Address, PhysAddr, ReadError, Unavailable, UserAddr, VirtAddr, VirtualMemory};
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// `rd`.
pub const COMMAND: Command = Command {
    name: "rd",
    aliases: &[],
    summary: "raw memory: numbers, text, symbols",
    synopsis: "[-adDsSupxmfNR][-8|-16|-32|-64][-o offs][-e addr][-r file][address|symbol]\n     \
               [count]",
    options: &[
        flag('p', "the address is physical"),
        flag('u', "the address is a user address of the task in focus"),
        flag('f', "the address is an offset in the dump file"),
        flag('m', "the address is a machine address (Xen only)"),
        flag('d', "signed decimal"),
        flag('D', "unsigned decimal"),
        flag('s', "addresses as symbols"),
        flag('S', "addresses as symbols or slab caches"),
        flag('x', "no text beside the numbers"),
        flag('8', "numbers of 8 bits"),
        value('1', "6", "numbers of 16 bits (-16)"),
        value('3', "2", "numbers of 32 bits (-32)"),
        value('6', "4", "numbers of 64 bits (-64; the default)"),
        flag('a', "printable text"),
        flag('N', "numbers in network byte order, with -16 or -32"),
        flag('R', "backwards: the count ends at the address"),
        value('o', "offset", "start this many bytes further"),
        value('e', "addr", "end before this address"),
        value('r', "file", "write the bytes to a file"),
    ],
    help: "Examples:\n  rd jiffies\n  rd -s ffffd4bec041bc00 32\n  rd -a linux_banner\n  \
           rd -8 init_task 64\n  rd -p 1000 4",
    run,
};

/// How the numbers are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Hexadecimal,
    Signed,
    Unsigned,
    Symbolic,
    Text,
}

/// Which memory the address is in.
pub(super) enum Memory<'k> {
    Virtual(&'k dyn VirtualMemory),
    Physical(&'k Kernel),
    User(UserMemory<'k>),
    /// The dump file itself.
    File(File),
}

/// Whether an address is in the half that processes have.
const fn is_user_address(address: u64) -> bool {
    address >> 63 == 0
}

impl Memory<'_> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        match self {
            Memory::Virtual(memory) => memory.read(VirtAddr(address), buf),
            Memory::Physical(kernel) => kernel.memory().physical().read(PhysAddr(address), buf),
            Memory::User(memory) => memory.read(UserAddr(address), buf),
            Memory::File(file) => file
                .read_exact_at(buf, address)
                .map_err(|_| ReadError::new(PhysAddr(address), Unavailable::Truncated)),
        }
    }
}

/// One line of the dump.
#[derive(Serialize)]
pub(super) struct Row {
    address: String,
    /// The numbers, or symbols for `-s`.
    values: Vec<String>,
    /// The bytes as text.
    text: String,
    #[serde(skip)]
    layout: RowLayout,
}

/// How wide a row is.
#[derive(Clone, Copy)]
struct RowLayout {
    /// Characters of one number.
    width: usize,
    /// Numbers in a full row.
    per_row: usize,
    show_text: bool,
    only_text: bool,
}

impl Render for Row {
    fn render(&self, out: &mut String, style: Style) {
        let address = format!("{:>16}:  ", &self.address[2..]);
        out.push_str(&style.dim(&address));
        if self.layout.only_text {
            out.push_str(&self.text);
            out.push('\n');
            return;
        }
        for value in &self.values {
            out.push_str(&format!("{value:>width$} ", width = self.layout.width));
        }
        if self.layout.show_text {
            let missing = self.layout.per_row.saturating_sub(self.values.len());
            out.push_str(&" ".repeat(missing * (self.layout.width + 1)));
            out.push_str("  ");
            out.push_str(&self.text);
        }
        out.push('\n');
    }
}

/// What to read, and how to show it.
struct Request {
    address: u64,
    /// Bytes of one number.
    size: usize,
    count: u64,
    form: Form,
    network_order: bool,
    show_text: bool,
    slabs: Option<Slabs>,
}

/// For `-S`: where objects are found, and whether (`-SS`) their addresses are shown.
struct Slabs {
    finder: SlabFinder,
    with_address: bool,
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let request = Request::new(session, arguments)?;
    if arguments.has('m') {
        return Err(CommandError::message("-m option only applies to xen architecture"));
    }
    let memory = if arguments.has('f') {
        let path = &session.files.dump;
        let failed = |error| CommandError::Message(format!("{}: {error}", path.display()));
        Memory::File(File::open(path).map_err(failed)?)
    } else if arguments.has('p') {
        Memory::Physical(&kernel)
    } else if arguments.has('u') || is_user_address(request.address) {
        let of_task = session.context().and_then(|task| Ok(UserMemory::of(&kernel, task)?));
        match of_task {
            Ok(memory) => Memory::User(memory),
            Err(error) if arguments.has('u') => return Err(error),
            // No process is in focus whose address it could be.
            Err(_) => Memory::Virtual(&*kernel),
        }
    } else {
        Memory::Virtual(&*kernel)
    };
    match arguments.value('r') {
        Some(file) => copy_out(&memory, &request, &PathBuf::from(file), out),
        None => show(&kernel, &memory, &request, out),
    }
}

impl Request {
    fn new(session: &Session, arguments: &Arguments) -> Result<Self, CommandError> {
        let usage = || CommandError::Usage(format!("Usage: rd {}", COMMAND.synopsis));
        let size = match (arguments.has('8'), arguments.value('1'), arguments.value('3')) {
            (true, _, _) => 1,
            (_, Some("6"), _) => 2,
            (_, _, Some("2")) => 4,
            (false, None, None) if matches!(arguments.value('6'), None | Some("4")) => 8,
            _ => return Err(usage()),
        };
        let mut width = '6';
        for letter in arguments.letters() {
            match letter {
                '8' | '1' | '3' | '6' | 'a' => width = letter,
                's' | 'S' if width != '6' => {
                    return Err(CommandError::Usage(format!(
                        "-{letter} option is only allowed with 64-bit display\nUsage: rd {}",
                        COMMAND.synopsis
                    )));
                }
                _ => {}
            }
        }
        let form = if arguments.has('a') {
            Form::Text
        } else if arguments.has('s') || arguments.has('S') {
            Form::Symbolic
        } else if arguments.has('d') {
            Form::Signed
        } else if arguments.has('D') {
            Form::Unsigned
        } else {
            Form::Hexadecimal
        };
        let number = |word: &str| {
            let invalid = || CommandError::Message(format!("not a number: {word}"));
            session.parse_number(word).ok_or_else(invalid)
        };
        let mut words = arguments.words.iter();
        let mut address = address_of(session, words.next().ok_or_else(usage)?)?.0;
        if let Some(offset) = arguments.value('o') {
            address = address.wrapping_add(number(offset)?);
        }
        let to_file = arguments.has('r');
        let size = if form == Form::Text || to_file { 1 } else { size };
        let mut count = match words.next() {
            Some(word) => match number(word)? {
                0 => return Err(CommandError::message("invalid count request: 0")),
                count => count,
            },
            None if to_file && !arguments.has('e') => {
                return Err(CommandError::message(
                    "-r option requires either a count argument or the -e option",
                ));
            }
            // Text goes on to its end.
            None if form == Form::Text => u64::MAX,
            None => 1,
        };
        if let Some(end) = arguments.value('e') {
            let end = address_of(session, end)?.0;
            if end <= address {
                return Err(CommandError::Message(format!("invalid ending address: {end:x}")));
            }
            count = (end - address).div_ceil(size as u64);
        }
        if arguments.has('R') {
            address = address.wrapping_sub(count.saturating_sub(1).saturating_mul(size as u64));
        }
        Ok(Self {
            address,
            size,
            count,
            form,
            network_order: arguments.has('N') && matches!(size, 2 | 4),
            show_text: form == Form::Hexadecimal && !arguments.has('x'),
            slabs: match arguments.count('S') {
                0 => None,
                times => Some(Slabs {
                    finder: SlabFinder::new(&session.kernel)?,
                    with_address: times > 1,
                }),
            },
        })
    }

    fn layout(&self) -> RowLayout {
        let bytes_per_row = if self.form == Form::Text { 60 } else { 16 };
        let width = match (self.form, self.size) {
            (Form::Hexadecimal | Form::Text, size) => size * 2,
            (Form::Symbolic, 8) => 16,
            (Form::Symbolic, size) => size * 2,
            (_, 1) => 3,
            (_, 2) => 5,
            (_, 4) => 12,
            (Form::Unsigned, _) => 20,
            _ => 15,
        };
        let per_row = bytes_per_row / self.size;
        RowLayout { width, per_row, show_text: self.show_text, only_text: self.form == Form::Text }
    }

    fn value(&self, kernel: &Kernel, bytes: &[u8]) -> String {
        let mut number = bytes.iter().rev().fold(0u64, |number, &b| number << 8 | u64::from(b));
        if self.network_order {
            number = number.swap_bytes() >> (64 - self.size * 8);
        }
        let digits = self.size * 2;
        match self.form {
            Form::Hexadecimal | Form::Text => format!("{number:0digits$x}"),
            Form::Unsigned => number.to_string(),
            Form::Signed => {
                let shift = 64 - self.size * 8;
                ((number << shift).cast_signed() >> shift).to_string()
            }
            Form::Symbolic => {
                let found = match (self.size, &self.slabs) {
                    (8, slabs) => symbolic(kernel, slabs.as_ref(), VirtAddr(number)),
                    _ => None,
                };
                found.map_or(format!("{number:0digits$x}"), |found| format!("{found:<16}"))
            }
        }
    }
}

/// What an address means: a symbol, or with `-S` the slab cache that it lies in.
fn symbolic(kernel: &Kernel, slabs: Option<&Slabs>, address: VirtAddr) -> Option<String> {
    if let Some((symbol, offset)) = kernel.symbol_within(address) {
        let module = symbol.module.map_or(String::new(), |module| format!(" [{module}]"));
        return Some(match offset {
            0 => format!("{}{module}", symbol.name),
            _ => format!("{}+{offset}{module}", symbol.name),
        });
    }
    let slabs = slabs?;
    let object = slabs.finder.object_at(kernel, address)?;
    let cache = object.cache_name()?;
    Some(match slabs.with_address {
        true => format!("[{:x}:{cache}]", address.0),
        false => format!("[{cache}]"),
    })
}

/// Shows `count` words of `memory` at `address` in hexadecimal, with text.
pub(super) fn words(
    kernel: &Kernel,
    memory: &dyn VirtualMemory,
    address: VirtAddr,
    count: u64,
    out: &mut Output,
) -> Result<(), CommandError> {
    let request = Request {
        address: address.0,
        size: 8,
        count,
        form: Form::Hexadecimal,
        network_order: false,
        show_text: true,
        slabs: None,
    };
    show(kernel, &Memory::Virtual(memory), &request, out)
}

/// The lines of `count` numbers of `size` bytes at `address` in hexadecimal, as far as they can be
/// read.
pub(super) fn rows(
    kernel: &Kernel,
    memory: &Memory<'_>,
    address: u64,
    size: usize,
    count: u64,
) -> Vec<Row> {
    let request = Request {
        address,
        size,
        count,
        form: Form::Hexadecimal,
        network_order: false,
        show_text: true,
        slabs: None,
    };
    let layout = request.layout();
    let mut rows = Vec::new();
    let mut done = 0;
    while done < count {
        let values = (count - done).min(layout.per_row as u64) as usize;
        let at = address.wrapping_add(done * size as u64);
        let mut bytes = vec![0; values * size];
        if memory.read(at, &mut bytes).is_err() {
            break;
        }
        rows.push(Row {
            address: format!("{at:#x}"),
            values: bytes.chunks(size).map(|value| request.value(kernel, value)).collect(),
            text: printable(&bytes),
            layout,
        });
        done += values as u64;
    }
    rows
}

/// Bytes read at a time.
const CHUNK: usize = 4096;

fn show(
    kernel: &Kernel,
    memory: &Memory,
    request: &Request,
    out: &mut Output,
) -> Result<(), CommandError> {
    let layout = request.layout();
    let mut address = request.address;
    let mut left = request.count;
    while left > 0 {
        let values = left.min(layout.per_row as u64) as usize;
        let mut bytes = vec![0; values * request.size];
        // Of a row that reaches into a page that is not there, what is there is shown.
        let mut failure = memory.read(address, &mut bytes).err();
        if failure.is_some() {
            let mut good = 0;
            while good < bytes.len() {
                let at = address.wrapping_add(good as u64);
                let one = &mut bytes[good..good + request.size];
                if let Err(error) = memory.read(at, one) {
                    failure = Some(error);
                    break;
                }
                good += request.size;
            }
            bytes.truncate(good);
        }
        let end = bytes.iter().position(|byte| !is_printable(*byte));
        let end = end.filter(|_| request.form == Form::Text);
        if let Some(end) = end {
            bytes.truncate(end);
        }
        if !bytes.is_empty() {
            out.emit(&Row {
                address: format!("{address:#x}"),
                values: match request.form {
                    Form::Text => Vec::new(),
                    _ => bytes.chunks(request.size).map(|v| request.value(kernel, v)).collect(),
                },
                text: match request.network_order {
                    // The bytes of the numbers as they are shown.
                    true => printable(&swapped(&bytes, request.size)),
                    false => printable(&bytes),
                },
                layout,
            })?;
        }
        if let Some(error) = failure {
            out.emit(&Missing::new(error))?;
            return Err(CommandError::Message(in_words(error)));
        }
        let taken = match end {
            // Text of no given length ends with what is no text; else that is passed over.
            Some(_) if request.count == u64::MAX => break,
            Some(end) => end + 1,
            None => values,
        };
        left -= taken as u64;
        address = address.wrapping_add((taken * request.size) as u64);
    }
    Ok(())
}

/// Where the bytes end that can be read; for programs, the text is the error message's.
#[derive(Serialize)]
struct Missing {
    address: String,
    unavailable: &'static str,
}

impl Missing {
    fn new(error: ReadError) -> Self {
        Self { address: error.address.to_string(), unavailable: error.why.code() }
    }
}

impl Render for Missing {
    fn render(&self, _: &mut String, _: Style) {}
}

/// A read error as crash words it.
fn in_words(error: ReadError) -> String {
    let (memory, address, kind) = match error.address {
        Address::Physical(address) => ("physical", address.0, "PHYSADDR"),
        Address::User(address) => ("user virtual", address.0, "UVADDR"),
        Address::Kernel(address) => ("kernel virtual", address.0, "KVADDR"),
    };
    let what = match (error.why, error.address) {
        (Unavailable::Excluded, _) => "page excluded:",
        (Unavailable::Truncated, _) => "page lost, the dump is truncated:",
        (Unavailable::Unreadable, _) => "read error, the page is damaged:",
        (Unavailable::Unmapped, Address::Physical(_)) => "seek error:",
        (Unavailable::Unmapped, _) => "invalid",
    };
    format!("{what} {memory} address: {address:x}  type: \"64-bit {kind}\"")
}

const fn is_printable(byte: u8) -> bool {
    byte >= 0x20 && byte < 0x7f
}

fn printable(bytes: &[u8]) -> String {
    let shown = |&byte: &u8| if is_printable(byte) { char::from(byte) } else { '.' };
    bytes.iter().map(shown).collect()
}

/// The bytes with those of each number turned around.
fn swapped(bytes: &[u8], size: usize) -> Vec<u8> {
    bytes.chunks(size.max(1)).flat_map(|number| number.iter().rev().copied()).collect()
}

/// Writes the bytes to a file as they are.
fn copy_out(
    memory: &Memory,
    request: &Request,
    file: &PathBuf,
    out: &mut Output,
) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::Message(format!("cannot write {}: {error}", file.display()))
    };
    let mut target = std::fs::File::create(file).map_err(failed)?;
    let total = request.count.saturating_mul(request.size as u64);
    let mut done = 0;
    while done < total {
        out.check()?;
        let at = request.address.wrapping_add(done);
        let len = (CHUNK as u64 - at % CHUNK as u64).min(total - done) as usize;
        let mut bytes = vec![0; len];
        memory.read(at, &mut bytes)?;
        target.write_all(&bytes).map_err(failed)?;
        done += len as u64;
    }
    let text = format!("{done} bytes copied from {:#x} to {}\n", request.address, file.display());
    Ok(out.emit(&crate::output::Text { text })?)
}
