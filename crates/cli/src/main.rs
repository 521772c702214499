//! The `mortis` binary: argument parsing and glue, nothing else.

mod flags;

use flags::{Color, Invocation};
use mortis_shell::open;
use mortis_shell::output::{Face, Stop, Style};
use mortis_shell::prompt;
use mortis_shell::run::{Outcome, run_line};
use mortis_shell::session::{DisassemblyFlavor, Radix, Session, Settings};
use mortis_shell::summary;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

/// A command failed.
const FAILURE: u8 = 1;
/// The dump could not be opened, or the command line is wrong.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let invocation = match flags::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            eprintln!("mortis: {error}\nTry 'mortis --help'.");
            return ExitCode::from(UNUSABLE);
        }
    };
    if invocation.help {
        return print(&flags::help());
    }
    if invocation.version {
        return print(concat!("mortis ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    let mut session =
        match open::open(&invocation.files, options(&invocation), settings(&invocation)) {
            Ok(session) => session,
            Err(failure) => {
                eprintln!("mortis: {failure}");
                if let Some(advice) = failure.advice {
                    eprintln!("  {advice}");
                }
                return ExitCode::from(UNUSABLE);
            }
        };
    if let Err(error) =
        signal_hook::flag::register(signal_hook::consts::SIGINT, session.interrupt.0.clone())
    {
        eprintln!("mortis: Ctrl-C will end the program, not the command: {error}");
    }
    match run(&invocation, &mut session) {
        Outcome::Success | Outcome::Exit => ExitCode::SUCCESS,
        Outcome::Failure => ExitCode::from(FAILURE),
    }
}

/// Prints what is no command's answer.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()).map_err(Stop::from) {
        Ok(()) | Err(Stop::Closed) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("mortis: {stop}");
            ExitCode::from(FAILURE)
        }
    }
}

fn options(invocation: &Invocation) -> mortis_shell::KernelOptions {
    mortis_shell::KernelOptions { without_btf: invocation.without_btf }
}

fn settings(invocation: &Invocation) -> Settings {
    let color = match invocation.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal(),
    };
    Settings {
        radix: Radix::Decimal,
        disassembly: DisassemblyFlavor::Att,
        face: if invocation.json { Face::Json } else { Face::Text },
        style: Style { color },
        scroll: true,
        print_max: 256,
    }
}

/// Runs what the command line says, or else what is typed.
fn run(invocation: &Invocation, session: &mut Session) -> Outcome {
    let mut outcome = Outcome::Success;
    if !invocation.silent && !invocation.json {
        outcome = summary::show(session);
    }
    let mut worst = |next: Outcome| {
        if outcome == Outcome::Success {
            outcome = next;
        }
    };
    let from_arguments = !invocation.commands.is_empty() || !invocation.scripts.is_empty();
    for command in &invocation.commands {
        match run_line(session, command) {
            Outcome::Exit => return outcome,
            next => worst(next),
        }
    }
    for script in &invocation.scripts {
        let name = script.display().to_string();
        let lines = std::fs::File::open(script).map(std::io::BufReader::new);
        match lines.map(|lines| run_lines(session, lines, &name)) {
            Ok(Outcome::Exit) => return outcome,
            Ok(next) => worst(next),
            Err(error) => {
                eprintln!("mortis: cannot read commands from {name}: {error}");
                return Outcome::Failure;
            }
        }
    }
    if from_arguments {
        return outcome;
    }
    if std::io::stdin().is_terminal() {
        return match prompt::run_prompt(session) {
            Ok(()) => Outcome::Success,
            Err(error) => {
                eprintln!("mortis: {error}");
                Outcome::Failure
            }
        };
    }
    match run_lines(session, std::io::stdin().lock(), "standard input") {
        Outcome::Exit => outcome,
        next => {
            worst(next);
            outcome
        }
    }
}

/// Longer lines than any command's.
const MAX_LINE: u64 = 1 << 16;

/// Runs every line of a script. The end of input is success, as is `exit`; lines that failed
/// before count.
fn run_lines(session: &mut Session, mut input: impl BufRead, name: &str) -> Outcome {
    let mut outcome = Outcome::Success;
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return outcome,
            Ok(len) if len as u64 == MAX_LINE => {
                eprintln!(
                    "mortis: {name} is no list of commands: a line is above {MAX_LINE} bytes"
                );
                return Outcome::Failure;
            }
            Ok(_) => {}
            Err(error) => {
                eprintln!("mortis: cannot read commands from {name}: {error}");
                return Outcome::Failure;
            }
        }
        match run_line(session, &String::from_utf8_lossy(&line)) {
            Outcome::Exit => return outcome,
            Outcome::Failure => outcome = Outcome::Failure,
            Outcome::Success => {}
        }
    }
}
