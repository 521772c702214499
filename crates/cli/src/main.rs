//! The `mortis` binary: argument parsing and glue, nothing else.

mod flags;
mod subcommand;

use flags::{Color, Invocation, Query};
use mortis_shell::commands::help;
use mortis_shell::messages;
use mortis_shell::open;
use mortis_shell::output::{Face, Interrupt, Stop, Style};
use mortis_shell::prompt;
use mortis_shell::run::{Outcome, run_line};
use mortis_shell::script;
use mortis_shell::session::{Radix, Session, Settings};
use mortis_shell::sink::Sink;
use mortis_shell::startup;
use mortis_shell::summary;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// A command failed.
const FAILURE: u8 = 1;
/// The dump could not be opened, or the command line is wrong.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(status) = subcommand::dispatch(arguments.get(1..).unwrap_or_default()) {
        return status;
    }
    let invocation = match flags::parse(arguments) {
        Ok(invocation) => invocation,
        Err(error) => {
            messages::error("mortis", format!("{error}\nTry 'mortis --help'."));
            return ExitCode::from(UNUSABLE);
        }
    };
    if invocation.help {
        return match &invocation.help_of {
            None if invocation.json => print(&flags::json()),
            None => print(&flags::help()),
            Some(topic) => match help::topic(topic) {
                Some(text) => print(&text),
                None => {
                    messages::error("mortis", format!("no command called {topic}"));
                    ExitCode::from(UNUSABLE)
                }
            },
        };
    }
    if invocation.version {
        return print(concat!("mortis ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    let input = input(&invocation);
    if let Err(error) = heed_ctrl_c(&input.interrupt) {
        messages::error("mortis", format!("Ctrl-C will end the program, not the command: {error}"));
    }
    let mut session = match open::open_input(&input, options(&invocation), settings(&invocation)) {
        Ok(session) => session,
        Err(failure) => {
            let advice = failure.advice.as_ref().map(|advice| format!("\n  {advice}"));
            let advice = advice.unwrap_or_default();
            messages::error("mortis", format!("{failure}{advice}"));
            return ExitCode::from(UNUSABLE);
        }
    };
    match run(&invocation, &mut session) {
        Outcome::Success | Outcome::Exit => ExitCode::SUCCESS,
        Outcome::Failure => ExitCode::from(FAILURE),
    }
}

/// Ctrl-C ends what is going on and, if that does not listen, the second time the program.
fn heed_ctrl_c(interrupt: &Interrupt) -> std::io::Result<()> {
    use signal_hook::consts::SIGINT;
    const ENDED_BY_SIGINT: i32 = 128 + SIGINT;
    // Looks at the flag before the next line's handler sets it.
    signal_hook::flag::register_conditional_shutdown(SIGINT, ENDED_BY_SIGINT, interrupt.0.clone())?;
    signal_hook::flag::register(SIGINT, interrupt.0.clone())?;
    Ok(())
}

/// Prints what is no command's answer.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()).map_err(Stop::from) {
        Ok(()) | Err(Stop::Closed) => ExitCode::SUCCESS,
        Err(stop) => {
            messages::error("mortis", stop);
            ExitCode::from(FAILURE)
        }
    }
}

fn input(invocation: &Invocation) -> open::Input {
    open::Input {
        files: invocation.files.clone(),
        snapshot: invocation.snapshot.clone(),
        layout: invocation.layout.clone(),
        ..open::Input::default()
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
    if invocation.color != Color::Auto {
        messages::set_color(color);
    }
    let mut settings = Settings {
        radix: invocation.radix.unwrap_or(Radix::Decimal),
        face: if invocation.json { Face::Json } else { Face::Text },
        style: Style { color },
        scroll: std::io::stdout().is_terminal() && !invocation.silent && !invocation.without_scroll,
        pager: invocation.pager.unwrap_or_default(),
        editing: invocation.editing.unwrap_or_default(),
        silent: invocation.silent,
        modules: invocation.modules.clone(),
        source: invocation.source.clone(),
        ..Settings::default()
    };
    if let Some(offline) = &invocation.offline {
        settings.without_effect.insert("offline", offline.clone());
    }
    settings
}

/// Runs what the command line says, or else what is typed.
fn run(invocation: &Invocation, session: &mut Session) -> Outcome {
    if let Some(query) = invocation.query {
        return answer(query, session);
    }
    if !invocation.without_effect.is_empty() && !invocation.silent {
        let flags = invocation.without_effect.join(" ");
        messages::tell(&format!("mortis: needless here: {flags}\n"));
    }
    let mut outcome = Outcome::Success;
    if !invocation.silent && !invocation.json {
        outcome = summary::show(session);
    }
    if !invocation.without_startup && startup::run(session) == Outcome::Exit {
        return outcome;
    }
    for command in &invocation.commands {
        match run_line(session, command) {
            Outcome::Exit => return outcome,
            next => outcome = outcome.and(next),
        }
    }
    for file in &invocation.scripts {
        match script::run_file(session, file, &mut Sink::Standard(std::io::stdout())) {
            Outcome::Exit => return outcome,
            next => outcome = outcome.and(next),
        }
    }
    let is_terminal = std::io::stdin().is_terminal();
    if !invocation.commands.is_empty() || (!invocation.scripts.is_empty() && !is_terminal) {
        return outcome;
    }
    if is_terminal {
        return match prompt::run_prompt(session) {
            Ok(()) => Outcome::Success,
            Err(error) => {
                messages::error("mortis", error);
                Outcome::Failure
            }
        };
    }
    let mut sink = Sink::Standard(std::io::stdout());
    let stdin = std::io::stdin().lock();
    match script::run_lines(session, stdin, "standard input", &mut sink, false) {
        Outcome::Exit => outcome,
        next => outcome.and(next),
    }
}

/// Answers the one question that the call is about.
fn answer(query: Query, session: &mut Session) -> Outcome {
    let kernel = &session.kernel;
    let text = match query {
        Query::Log => return run_line(session, "log"),
        Query::Release => {
            let release = kernel.vmcoreinfo().osrelease().map(str::to_owned);
            release.or_else(|| kernel.name().ok().map(|name| name.release.clone()))
        }
        Query::BuildId => kernel.vmcoreinfo().build_id().map(str::to_owned),
        Query::Date => Some(summary::date(session)),
    };
    match std::io::stdout()
        .write_all(format!("{}\n", text.as_deref().unwrap_or("unknown")).as_bytes())
    {
        Ok(()) if text.is_some() => Outcome::Success,
        _ => Outcome::Failure,
    }
}
