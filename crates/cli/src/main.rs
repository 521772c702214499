//! The `mortis` binary: argument parsing and glue, nothing else.

mod flags;

use flags::{Color, Invocation};
use mortis_shell::open;
use mortis_shell::output::{Face, Style};
use mortis_shell::prompt;
use mortis_shell::run::{Outcome, run_line};
use mortis_shell::session::{DisassemblyFlavor, Radix, Session, Settings};
use mortis_shell::summary;
use std::io::{BufRead, IsTerminal};
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
        print!("{}", flags::help());
        return ExitCode::SUCCESS;
    }
    if invocation.version {
        println!("mortis {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let mut session = match open::open(&invocation.files, options(&invocation), settings(&invocation))
    {
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
        let file = match std::fs::File::open(script) {
            Ok(file) => file,
            Err(error) => {
                eprintln!("mortis: {}: {error}", script.display());
                return Outcome::Failure;
            }
        };
        match run_lines(session, std::io::BufReader::new(file)) {
            Outcome::Exit => return outcome,
            next => worst(next),
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
    match run_lines(session, std::io::stdin().lock()) {
        Outcome::Exit => outcome,
        next => {
            worst(next);
            outcome
        }
    }
}

/// Runs every line of a script. The end of input is success, as is `exit`; lines that failed
/// before count.
fn run_lines(session: &mut Session, input: impl BufRead) -> Outcome {
    let mut outcome = Outcome::Success;
    for line in input.lines() {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                eprintln!("mortis: cannot read commands: {error}");
                return Outcome::Failure;
            }
        };
        match run_line(session, &line) {
            Outcome::Exit => break,
            Outcome::Failure => outcome = Outcome::Failure,
            Outcome::Success => {}
        }
    }
    outcome
}
