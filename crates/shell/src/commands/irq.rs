//! `irq`: interrupts, who handles them, and how often they came.

mod vectors;

use crate::arguments::Arguments;
use crate::columns::{ADDRESS, centered, centered_right};
use crate::command::{Command, CommandError, flag, value};
use crate::known::{Known, why};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::irq::{Action, IrqTable};
use mortis_memory::VirtAddr;
use serde::Serialize;

/// `irq`.
pub const COMMAND: Command = Command {
    name: "irq",
    aliases: &[],
    summary: "interrupts: their handlers, counts and CPUs",
    synopsis: "[[[index ...] | -u ] | -d | -b | -a | -s [-c cpu]]",
    options: &[
        flag('u', "only interrupts that have a descriptor"),
        flag('d', "where the processor's interrupt vectors lead"),
        flag('b', "what runs for each kind of softirq"),
        flag('a', "the CPUs that each interrupt in use may be sent to"),
        flag('s', "how often each interrupt came, by CPU, as in /proc/interrupts"),
        value('c', "cpu,...", "with -s, only these CPUs"),
    ],
    help: "\
Without options every interrupt the kernel provides for, with its irq_desc and the irqaction of
each handler; with numbers only those.

Examples:
  irq -u
  irq 4 8
  irq -s -c 0
  irq -a",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if arguments.count('c') > 1 {
        return Err(CommandError::Usage(format!(
            "only one -c option allowed\nUsage: {} {}",
            COMMAND.name, COMMAND.synopsis
        )));
    }
    let kernel = &*session.kernel;
    if arguments.has('d') {
        return vectors::gates(kernel, out);
    }
    if arguments.has('b') {
        return vectors::softirqs(kernel, out);
    }
    let cpus = match arguments.value('c') {
        Some(list) => session.cpus(list)?,
        None => kernel.cpus()?.present.clone(),
    };
    let limit = kernel.irq_limit()?;
    let table = kernel.irq_table()?;
    let mut damage = Damage(table.damage().cloned());
    let result = if arguments.has('a') {
        affinities(kernel, &table, limit, out, &mut damage)
    } else if arguments.has('s') {
        counts(kernel, &table, limit, &cpus, out, &mut damage)
    } else {
        let chosen = Chosen::new(arguments, limit);
        listing(kernel, &table, chosen, out, &mut damage)
    };
    damage.tell(out);
    result
}

/// The first of what is wrong; the user is told once.
struct Damage(Option<KernelError>);

impl Damage {
    fn note(&mut self, error: KernelError) {
        self.0.get_or_insert(error);
    }

    /// What was found; an error is noted.
    fn or_none<T>(&mut self, found: Result<Option<T>, KernelError>) -> Option<T> {
        found.unwrap_or_else(|error| {
            self.note(error);
            None
        })
    }

    fn tell(&self, out: &mut Output) {
        if let Some(error) = &self.0 {
            out.warn(format_args!("not every interrupt could be read: {error}"));
        }
    }
}

/// The interrupts that are asked for.
struct Chosen<'a> {
    words: &'a [String],
    limit: u32,
    only_used: bool,
}

impl<'a> Chosen<'a> {
    fn new(arguments: &'a Arguments, limit: u32) -> Self {
        let words = arguments.words.as_slice();
        Self { words, limit, only_used: arguments.has('u') && words.is_empty() }
    }

    fn each(&self) -> Box<dyn Iterator<Item = Result<u32, CommandError>> + '_> {
        if self.words.is_empty() {
            return Box::new((0..self.limit).map(Ok));
        }
        Box::new(self.words.iter().map(|word| parse_irq(word, self.limit)))
    }
}

/// An interrupt's number, below `limit`.
fn parse_irq(word: &str, limit: u32) -> Result<u32, CommandError> {
    if let Some(wrong) = word.chars().find(|digit| !digit.is_ascii_digit()) {
        return Err(CommandError::Message(format!("{word}: \"{wrong}\" is not a digit 0 - 9")));
    }
    let last = limit.saturating_sub(1);
    let irq = word.parse::<u32>().ok().filter(|&irq| irq < limit);
    irq.ok_or_else(|| CommandError::Message(format!("invalid IRQ value: {word}  ({last} max)")))
}

/// A handler.
#[derive(Serialize)]
struct ActionReport {
    irqaction: Hex,
    name: Known<Option<String>>,
    handler: Known<Hex>,
}

impl From<Action> for ActionReport {
    fn from(action: Action) -> Self {
        Self {
            irqaction: Hex(action.address.0),
            name: action.name.into(),
            handler: Known::from(action.handler).map(|handler| Hex(handler.0)),
        }
    }
}

/// The handlers' names joined by commas.
fn joined_names(actions: &[ActionReport]) -> String {
    let names = actions.iter().filter_map(|action| match &action.name {
        Known::Value(name) | Known::Guessed(name, _) => name.clone(),
        Known::Unavailable(why) => Some(format!("<{why}>")),
    });
    names.collect::<Vec<_>>().join(",")
}

fn read_actions(kernel: &Kernel, descriptor: VirtAddr, damage: &mut Damage) -> Vec<ActionReport> {
    let (actions, wrong) = kernel.irq_actions(descriptor);
    if let Some(error) = wrong {
        damage.note(error);
    }
    actions.into_iter().map(ActionReport::from).collect()
}

/// An interrupt.
#[derive(Serialize)]
struct IrqReport {
    irq: u32,
    irq_desc: Option<Hex>,
    actions: Vec<ActionReport>,
}

/// Columns in front of the handlers: the number, two blanks, the descriptor, two blanks.
const BEFORE_ACTION: usize = 4 + 2 + ADDRESS + 2;

impl Render for IrqReport {
    fn render(&self, out: &mut String, _: Style) {
        let unused = centered("(unused)", ADDRESS);
        let descriptor = match &self.irq_desc {
            Some(Hex(address)) => centered(&format!("{address:x}"), ADDRESS),
            None => unused.clone(),
        };
        out.push_str(&format!("{}  {descriptor}  ", centered_right(&self.irq.to_string(), 4)));
        if self.actions.is_empty() {
            out.push_str(&format!("{unused}  "));
        }
        for (index, action) in self.actions.iter().enumerate() {
            if index > 0 {
                out.push_str(&format!("\n{:BEFORE_ACTION$}", ""));
            }
            let address = centered(&format!("{:x}", action.irqaction.0), ADDRESS);
            out.push_str(&format!("{address}  "));
            match &action.name {
                Known::Value(Some(name)) | Known::Guessed(Some(name), _) => {
                    out.push_str(&format!("\"{name}\""));
                }
                Known::Unavailable(why) => out.push_str(&format!("<{why}>")),
                Known::Value(None) | Known::Guessed(None, _) => {}
            }
        }
        out.push('\n');
    }
}

fn listing(
    kernel: &Kernel,
    table: &IrqTable<'_>,
    chosen: Chosen<'_>,
    out: &mut Output,
    damage: &mut Damage,
) -> Result<(), CommandError> {
    let mut has_heading = false;
    for irq in chosen.each() {
        let irq = irq?;
        let descriptor = damage.or_none(table.descriptor(irq));
        if descriptor.is_none() && chosen.only_used {
            out.check()?;
            continue;
        }
        if !has_heading {
            let descriptor = centered("IRQ_DESC/_DATA", ADDRESS);
            let action = centered("IRQACTION", ADDRESS);
            out.layout(&format!(" IRQ  {descriptor}  {action}  NAME\n"))?;
            has_heading = true;
        }
        let actions =
            descriptor.map_or_else(Vec::new, |address| read_actions(kernel, address, damage));
        out.emit(&IrqReport { irq, irq_desc: descriptor.map(|address| Hex(address.0)), actions })?;
    }
    Ok(())
}

/// Where an interrupt may be sent.
#[derive(Serialize)]
struct Affinity {
    irq: u32,
    names: String,
    cpus: Known<Vec<u32>>,
}

impl Render for Affinity {
    fn render(&self, out: &mut String, _: Style) {
        let Self { irq, names, cpus } = self;
        let cpus = cpus.clone().map(|cpus| ranges(&cpus));
        out.push_str(&format!("{irq:>3} {names:<20} {cpus}\n"));
    }
}

/// `0-2,5` of ascending numbers.
fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let spelled = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    spelled.collect::<Vec<_>>().join(",")
}

fn affinities(
    kernel: &Kernel,
    table: &IrqTable<'_>,
    limit: u32,
    out: &mut Output,
    damage: &mut Damage,
) -> Result<(), CommandError> {
    out.layout("IRQ NAME                 AFFINITY\n")?;
    for irq in 0..limit {
        out.check()?;
        let Some(descriptor) = damage.or_none(table.descriptor(irq)) else { continue };
        let actions = read_actions(kernel, descriptor, damage);
        if actions.is_empty() {
            continue;
        }
        let names = joined_names(&actions);
        out.emit(&Affinity { irq, names, cpus: kernel.irq_affinity(descriptor).into() })?;
    }
    Ok(())
}

/// How often an interrupt came on a CPU.
#[derive(Serialize)]
struct Count {
    cpu: u32,
    count: Known<u32>,
}

/// How often an interrupt came.
#[derive(Serialize)]
struct Counts {
    irq: u32,
    counts: Vec<Count>,
    chip: Known<Option<String>>,
    flow: Known<Option<String>>,
    names: String,
}

impl Render for Counts {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:>3}: ", self.irq));
        for count in &self.counts {
            out.push_str(&format!("{:>10} ", count.count));
        }
        let text = |name: &Known<Option<String>>| match name {
            Known::Value(name) | Known::Guessed(name, _) => name.clone(),
            Known::Unavailable(why) => Some(format!("<{why}>")),
        };
        if let Some(chip) = text(&self.chip) {
            out.push_str(&format!("{chip:>8}"));
        }
        if let Some(flow) = text(&self.flow) {
            out.push_str(&format!("-{flow:<8}"));
        }
        out.push_str(&format!(" {}\n", self.names));
    }
}

fn counts(
    kernel: &Kernel,
    table: &IrqTable<'_>,
    limit: u32,
    cpus: &[u32],
    out: &mut Output,
    damage: &mut Damage,
) -> Result<(), CommandError> {
    let names: String = cpus.iter().map(|cpu| format!("{:>10} ", format!("CPU{cpu}"))).collect();
    out.layout(&format!("     {names}\n"))?;
    for irq in 0..limit {
        out.check()?;
        let Some(descriptor) = damage.or_none(table.descriptor(irq)) else { continue };
        let actions = read_actions(kernel, descriptor, damage);
        if actions.is_empty() {
            continue;
        }
        let read = kernel.irq_counts(descriptor, cpus);
        let count = |index: usize| match &read {
            Ok(counts) => {
                counts.get(index).cloned().map_or(Known::Unavailable("unknown"), Known::from)
            }
            Err(error) => Known::Unavailable(why(error)),
        };
        let counts = cpus.iter().enumerate();
        out.emit(&Counts {
            irq,
            counts: counts.map(|(index, &cpu)| Count { cpu, count: count(index) }).collect(),
            chip: kernel.irq_chip_name(descriptor).into(),
            flow: kernel.irq_flow_name(descriptor).into(),
            names: joined_names(&actions),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_joined_into_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5]), "0-2,5");
        assert_eq!(ranges(&[3]), "3");
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[0, 2, 3, u32::MAX]), "0,2-3,4294967295");
    }

    #[test]
    fn numbers_of_interrupts_are_decimal_and_within_the_limit() {
        assert_eq!(parse_irq("12", 440).expect("valid"), 12);
        let error = |word| parse_irq(word, 440).expect_err("wrong").to_string();
        assert_eq!(error("foo"), "foo: \"f\" is not a digit 0 - 9");
        assert_eq!(error("999999"), "invalid IRQ value: 999999  (439 max)");
    }
}
