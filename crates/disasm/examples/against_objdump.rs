//! Compares the disassembler with objdump, instruction by instruction.
//!
//! ```text
//! objdump -d -w -z ELF | cargo run --release --example against_objdump [att|intel] [MAX]
//! ```
//! Each line of objdump is decoded again from its bytes and those that follow; length and text
//! must agree. Differences are counted by mnemonic; up to MAX examples of each are printed.

use mortis_disasm::{Architecture, Disassembler, Flow, Style, TextOptions};
use mortis_memory::VirtAddr;
use std::collections::BTreeMap;
use std::io::{BufRead, stdin};

struct Line {
    address: u64,
    bytes: Vec<u8>,
    text: String,
}

fn parse(line: &str) -> Option<Line> {
    let mut fields = line.splitn(3, '\t');
    let address = fields.next()?.trim().strip_suffix(':')?;
    let bytes = fields.next()?.split_whitespace().map(|byte| u8::from_str_radix(byte, 16));
    Some(Line {
        address: u64::from_str_radix(address, 16).ok()?,
        bytes: bytes.collect::<Result<_, _>>().ok()?,
        text: fields.next().unwrap_or_default().trim_end().to_owned(),
    })
}

/// Without symbols, and with `0x` before addresses: objdump and gdb differ there.
fn as_gdb(text: &str, branch: bool) -> String {
    let text = match (text.rfind(" <"), text.ends_with('>')) {
        (Some(symbol), true) => &text[..symbol],
        _ => text,
    };
    let split = match text.find("        # ") {
        Some(comment) => comment + 10,
        None if branch => text.rfind(' ').map_or(text.len(), |space| space + 1),
        None => return text.to_owned(),
    };
    let (before, address) = text.split_at(split);
    match address.bytes().next() {
        Some(b'0'..=b'9' | b'a'..=b'f') if !address.starts_with("0x") => {
            format!("{before}0x{address}")
        }
        _ => text.to_owned(),
    }
}

/// The first word that is no prefix.
fn mnemonic(text: &str) -> &str {
    let prefix = |word: &&str| {
        word.starts_with("rex")
            || matches!(
                *word,
                "data16"
                    | "addr32"
                    | "lock"
                    | "rep"
                    | "repz"
                    | "repnz"
                    | "cs"
                    | "ss"
                    | "ds"
                    | "es"
                    | "fs"
                    | "gs"
                    | "bnd"
                    | "notrack"
                    | "xacquire"
                    | "xrelease"
            )
    };
    text.split(' ').find(|word| !prefix(word)).unwrap_or(text)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let style = match arguments.next().as_deref() {
        Some("intel") => Style::Intel,
        _ => Style::Att,
    };
    let examples: usize = arguments.next().and_then(|max| max.parse().ok()).unwrap_or(2);
    let options = TextOptions { style, ..TextOptions::default() };
    let disassembler = Disassembler::new(Architecture::X86_64);

    let lines: Vec<Line> =
        stdin().lock().lines().map_while(Result::ok).filter_map(|l| parse(&l)).collect();
    let mut different = 0;
    let mut undefined = 0;
    let mut classes: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        let mut bytes = line.bytes.clone();
        let mut next = line.address + line.bytes.len() as u64;
        for following in &lines[index + 1..] {
            if bytes.len() >= 16 || following.address != next {
                break;
            }
            bytes.extend_from_slice(&following.bytes);
            next += following.bytes.len() as u64;
        }
        let Some(ours) = disassembler.instruction(VirtAddr(line.address), &bytes) else { continue };
        let branch = matches!(ours.flow, Flow::Call | Flow::Jump | Flow::ConditionalJump);
        let text = ours.text(&options);
        let theirs = as_gdb(&line.text, branch);
        if text == theirs && ours.len() == line.bytes.len() {
            continue;
        }
        // What no processor runs, or iced-x86 does not know (APX), has no right text.
        if ["(bad)", "%?", "rex2", ".byte"].iter().any(|word| theirs.contains(word)) {
            undefined += 1;
            continue;
        }
        different += 1;
        let word = format!("{} / {}", mnemonic(&theirs), mnemonic(&text));
        let class = classes.entry(word).or_default();
        class.0 += 1;
        if class.1.len() < examples {
            class.1.push(format!(
                "{:x} {:02x?}\n    objdump: {theirs}\n    ours:    {text} ({})",
                line.address,
                line.bytes,
                ours.len()
            ));
        }
    }
    let mut classes: Vec<_> = classes.into_iter().collect();
    classes.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (word, (count, examples)) in &classes {
        println!("{word}: {count}");
        for example in examples {
            println!("  {example}");
        }
    }
    let share = 100.0 * (1.0 - f64::from(different) / lines.len().max(1) as f64);
    println!(
        "{} instructions, {different} different: {share:.5} % agree; {undefined} undefined",
        lines.len()
    );
}
