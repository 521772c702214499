//! `p`: values of C expressions and of per-CPU variables.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag};
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::typed_value::{TypedValue, ValueStyle};
use mortis_debuginfo::symbols::Symbol;
use mortis_debuginfo::types::{Type, TypeId, TypeSource, declarator, strip, type_name};
use mortis_kernel::Kernel;
use mortis_kernel::expression::{Evaluator, ExpressionError, Place, Value};
use mortis_kernel::user_memory::UserMemory;
use serde::Serialize;

/// `p`.
pub const COMMAND: Command = Command {
    name: "p",
    aliases: &[],
    summary: "the value of a C expression or a variable",
    synopsis: "[-x|-d][-u] [expression | symbol[:cpuspec]]",
    options: &[
        flag('x', "numbers in hexadecimal"),
        flag('h', "the same as -x"),
        flag('d', "numbers in decimal"),
        flag('u', "addresses of the lower half are the task's in focus"),
    ],
    help: "Expressions are C's: members (. and ->), indices, & and *, casts, sizeof, arithmetic and\n\
           comparisons, also *first@count for an array and $1 for the first value shown ($ for the\n\
           last). Parentheses protect | and > from the shell.\n\
           A variable's type is its declared one, from the vmlinux or, without one, from a table of\n\
           well-known variables; any other can be cast: *(int *)&variable.\n\n\
           A per-CPU variable alone shows where each CPU's copy is; symbol:cpuspec shows copies\n\
           (0, 0-2, 0,2, a for all, nothing for the CPU of the task in focus), and inside an\n\
           expression symbol:cpu is that CPU's copy.\n\n\
           Examples:\n  p jiffies\n  p init_task.tasks\n  p ((struct task_struct *)0xffff8f190123a100)->comm\n  \
           p -x runqueues:0\n  p runqueues:1.nr_running\n  p sizeof(struct page) * 64",
    run,
};

/// A value and what it is the value of.
#[derive(Serialize)]
struct Printed {
    /// The variable or expression.
    expression: String,
    /// The CPU whose copy it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<u32>,
    /// Its number in the history of values: `$1`.
    number: u64,
    #[serde(rename = "type")]
    ty: String,
    /// Where it is; null for what was computed.
    address: Option<String>,
    value: TypedValue,
    #[serde(skip)]
    layout: Layout,
}

/// What the text needs besides the value.
#[derive(Clone)]
struct Layout {
    /// `jiffies` or `per_cpu(runqueues, 0)`.
    leader: Option<String>,
    /// `(struct task_struct *) `.
    pointer_type: String,
    style: ValueStyle,
}

impl Render for Printed {
    fn render(&self, out: &mut String, style: Style) {
        let text = self.value.0.text(&self.layout.style.text(0));
        let text = format!("{}{text}", self.layout.pointer_type);
        match &self.layout.leader {
            Some(leader) => {
                out.push_str(&format!("{} = ${} = ", style.name(leader), self.number));
                // crash begins a line where a brace opens that something follows.
                let first = text.split('\n').next().unwrap_or("");
                match first.find('{') {
                    Some(at) if !first.ends_with('{') || at + 1 != first.len() => {
                        let (before, value) = text.split_at(at);
                        out.push_str(&format!("{before}\n {value}"));
                    }
                    _ => out.push_str(&text),
                }
            }
            None => out.push_str(&format!("${} = {text}", self.number)),
        }
        out.push('\n');
    }
}

/// Where each CPU's copy of a per-CPU variable is.
#[derive(Serialize)]
struct PerCpuAddresses {
    symbol: String,
    #[serde(rename = "type")]
    ty: Option<String>,
    /// `struct rq runqueues`.
    #[serde(skip)]
    declaration: String,
    copies: Vec<Copy>,
}

#[derive(Serialize)]
struct Copy {
    cpu: u32,
    online: bool,
    address: String,
}

impl Render for PerCpuAddresses {
    fn render(&self, out: &mut String, _: Style) {
        let declaration = &self.declaration;
        out.push_str(&format!("PER-CPU DATA TYPE:\n  {declaration};\nPER-CPU ADDRESSES:\n"));
        for copy in &self.copies {
            match copy.online {
                true => out.push_str(&format!("  [{}]: {}\n", copy.cpu, &copy.address[2..])),
                false => out.push_str(&format!("cpu {} is OFFLINE\n", copy.cpu)),
            }
        }
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let first = arguments
        .first()
        .ok_or_else(|| CommandError::Usage(format!("Usage: p {}", COMMAND.synopsis)))?
        .to_owned();
    let hexadecimal = arguments.has('x') || arguments.has('h');
    if hexadecimal && arguments.has('d') {
        return Err(CommandError::message("-d and -x are mutually exclusive"));
    }
    let style = ValueStyle::new(session, hexadecimal, arguments.has('d'));
    let kernel = session.kernel.clone();
    let user = match arguments.has('u') {
        true => Some(UserMemory::of(&kernel, session.context()?)?),
        false => None,
    };
    let history = session.printed_values.clone();
    let evaluator = match &user {
        Some(user) => Evaluator::over(&kernel, user),
        None => Evaluator::new(&kernel),
    }
    .with_history(&history);
    let (name, cpuspec) = match first.rsplit_once(':') {
        Some((name, cpuspec)) if is_cpuspec(cpuspec) => (name, Some(cpuspec)),
        _ => (first.as_str(), None),
    };
    let alone = arguments.words.len() == 1;
    let symbol = kernel.all_symbols().ok().and_then(|symbols| symbols.symbol(name));
    if let Some(symbol) = symbol.filter(|_| alone) {
        let ty = evaluator.symbol_type(&symbol);
        if kernel.is_per_cpu(&symbol) {
            return match cpuspec {
                None => Ok(out.emit(&per_cpu_addresses(&evaluator, &symbol, ty)?)?),
                Some(cpuspec) => {
                    let cpus = chosen_cpus(session, cpuspec)?;
                    let printing = Printing { session, evaluator: &evaluator, style };
                    printing.per_cpu(&symbol, ty, &cpus, out)
                }
            };
        }
        if cpuspec.is_some() {
            out.warn(format!("{} is not percpu; cpuspec ignored.", symbol.name));
        }
        let ty = ty.ok_or_else(|| ExpressionError::UntypedSymbol(name.to_owned()))?;
        let value = Value { ty, place: Place::at(symbol.address) };
        let name = symbol.name.to_string();
        let mut printing = Printing { session, evaluator: &evaluator, style };
        return printing.print(&value, name.clone(), None, Some(name), out);
    }
    let expression = arguments.joined();
    let value = evaluator.evaluate(&expression)?;
    let mut printing = Printing { session, evaluator: &evaluator, style };
    printing.print(&value, expression, None, None, out)
}

/// Whether what follows a colon is a list of CPUs, rather than a CPU in an expression.
fn is_cpuspec(text: &str) -> bool {
    matches!(text, "a" | "all")
        || text.bytes().all(|c| c.is_ascii_digit() || matches!(c, b',' | b'-'))
}

/// The CPUs that a specification names; an empty one is the CPU of the task in focus.
pub(super) fn chosen_cpus(session: &Session, cpuspec: &str) -> Result<Vec<u32>, CommandError> {
    if cpuspec.is_empty() {
        return Ok(vec![session.context()?.cpu(&session.kernel)?]);
    }
    let invalid = || CommandError::Message(format!("invalid cpu specification: {cpuspec}"));
    let possible = &session.kernel.cpus()?.possible;
    let mut numbers = cpuspec.split([',', '-']).filter_map(|number| number.parse::<u32>().ok());
    match numbers.all(|cpu| possible.contains(&cpu)) {
        true => session.cpus(cpuspec).map_err(|_| invalid()),
        false => Err(invalid()),
    }
}

fn per_cpu_addresses(
    evaluator: &Evaluator,
    symbol: &Symbol,
    ty: Option<TypeId>,
) -> Result<PerCpuAddresses, CommandError> {
    let kernel = evaluator.kernel();
    let cpus = kernel.cpus()?;
    let copy = |&cpu: &u32| -> Result<Copy, CommandError> {
        let address = cpus.address(symbol.address, cpu)?;
        Ok(Copy { cpu, online: cpus.is_online(cpu), address: format!("{:#x}", address.0) })
    };
    Ok(PerCpuAddresses {
        symbol: symbol.name.to_string(),
        ty: ty.map(|ty| type_name(evaluator.types(), ty)),
        declaration: ty.map_or_else(
            || format!("[undetermined type] {}", symbol.name),
            |ty| declarator(evaluator.types(), ty, &symbol.name),
        ),
        copies: cpus.possible.iter().map(copy).collect::<Result<_, _>>()?,
    })
}

struct Printing<'a, 'k> {
    session: &'a mut Session,
    evaluator: &'a Evaluator<'k>,
    style: ValueStyle,
}

impl Printing<'_, '_> {
    fn per_cpu(
        mut self,
        symbol: &Symbol,
        ty: Option<TypeId>,
        cpus: &[u32],
        out: &mut Output,
    ) -> Result<(), CommandError> {
        let kernel: &Kernel = self.evaluator.kernel();
        for &cpu in cpus {
            let address = kernel.cpus()?.address(symbol.address, cpu)?;
            // Of a variable whose type nothing tells, crash shows the address.
            let (value, leader) = match ty {
                Some(ty) => (Value { ty, place: Place::at(address) }, "per_cpu"),
                None => {
                    let ty = self.evaluator.types().pointer_to(TypeId::VOID);
                    (Value { ty, place: Place::Computed(address.0) }, "&per_cpu")
                }
            };
            let leader = format!("{leader}({}, {cpu})", symbol.name);
            self.print(&value, symbol.name.to_string(), Some(cpu), Some(leader), out)?;
        }
        Ok(())
    }

    fn print(
        &mut self,
        value: &Value,
        expression: String,
        cpu: Option<u32>,
        leader: Option<String>,
        out: &mut Output,
    ) -> Result<(), CommandError> {
        let tree = self.evaluator.decode(value, &self.style.limits())?;
        self.session.printed_values.push(*value);
        let types = self.evaluator.types();
        Ok(out.emit(&Printed {
            expression,
            cpu,
            number: self.session.printed_values.len() as u64,
            ty: type_name(types, value.ty),
            address: match value.place {
                Place::Memory { address, .. } => Some(format!("{:#x}", address.0)),
                Place::Computed(_) => None,
            },
            value: TypedValue(tree),
            layout: Layout {
                leader,
                pointer_type: pointer_type(types, value.ty),
                style: self.style,
            },
        })?)
    }
}

/// What gdb puts before a pointer: its type, but for a `char *`.
fn pointer_type(types: &dyn TypeSource, ty: TypeId) -> String {
    let Ok((_, stripped)) = strip(types, ty) else { return String::new() };
    let Type::Pointer { target, .. } = &*stripped else { return String::new() };
    let is_typedef = matches!(types.get(ty).as_deref(), Ok(Type::Typedef { .. }));
    let to_char = matches!(type_name(types, *target).as_str(), "char" | "const char");
    if to_char && !is_typedef { String::new() } else { format!("({}) ", type_name(types, ty)) }
}
