//! Manual pages.

use super::examples::Answers;
use super::{Command, Flag, Opt, Subcommand};

/// Text that roff takes for nothing else.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Lines as they stand.
fn verbatim(lines: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut page = String::from(".nf\n");
    for line in lines {
        let line = escaped(line.as_ref());
        // A line that begins so would be a request.
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        page.push_str(&format!("{guard}{line}\n"));
    }
    page.push_str(".fi\n");
    page
}

/// `mortis.1`.
pub fn program(flags: &[Flag], subcommands: &[Subcommand]) -> String {
    let mut page = String::from(
        ".\\\" Made by 'cargo xtask docs': do not edit.\n\
         .TH MORTIS 1\n\
         .SH NAME\n\
         mortis \\- open a Linux kernel crash dump and say what happened and why\n\
         .SH SYNOPSIS\n\
         .B mortis\n[\\fIOPTIONS\\fR] \\fIVMCORE\\fR [\\fIVMLINUX\\fR]\n\
         .br\n.B mortis\n\\fISUBCOMMAND\\fR ...\n\
         .SH DESCRIPTION\n\
         The dump brings its own symbols, types and unwind tables; a vmlinux adds source lines,\n\
         inlined calls and macros. Files may stand in any order. Without \\fB\\-c\\fR and\n\
         \\fB\\-i\\fR, and on a terminal, a prompt opens; otherwise commands are read from standard\n\
         input. The commands are described in\n\
         .BR mortis\\-commands (7).\n",
    );
    for (group, title) in [("ours", "OPTIONS"), ("of_crash", "OPTIONS OF CRASH")] {
        page.push_str(&format!(".SH {title}\n"));
        for flag in flags.iter().filter(|flag| flag.group == group) {
            page.push_str(&option(flag));
        }
    }
    page.push_str(".SH OPTIONS OF CRASH WITHOUT EFFECT\nAccepted, and needless here:\n");
    let names = flags.iter().filter(|flag| flag.group == "without_effect").map(|flag| {
        flag.short.map_or_else(|| format!("--{}", flag.long), |letter| format!("-{letter}"))
    });
    page.push_str(&format!("{}\n", escaped(&names.collect::<Vec<_>>().join(" "))));
    page.push_str(
        ".SH SUBCOMMANDS\nThe first word may be one; a file of that name opens as ./NAME.\n",
    );
    for subcommand in subcommands {
        let usage = escaped(&subcommand.usage);
        page.push_str(&format!(
            ".SS mortis {} {usage}\n{}.\n.PP\n",
            subcommand.name,
            escaped(&capitalised(&subcommand.summary))
        ));
        page.push_str(&verbatim(subcommand.about.lines()));
        subcommand.flags.iter().for_each(|flag| page.push_str(&option(flag)));
    }
    page.push_str(
        ".SH FILES\n\
         .TP\n\\fI~/.mortisrc\\fR, \\fI~/.crashrc\\fR, \\fI./.crashrc\\fR\n\
         Commands to begin with. A file must belong to the user and not be writable by all.\n\
         .TP\n\\fI~/.local/state/mortis/history\\fR\n\
         The lines that were typed (\\fI$XDG_STATE_HOME/mortis/history\\fR).\n\
         .SH ENVIRONMENT\n\
         .TP\n\\fBCRASHPAGER\\fR, \\fBPAGER\\fR\nWhat long output on a terminal goes through.\n\
         .TP\n\\fBNO_COLOR\\fR\nNo colours, where it is set.\n\
         .SH EXIT STATUS\n\
         0 success, 1 a command failed, 2 the dump could not be opened.\n\
         .SH SEE ALSO\n\
         .BR mortis\\-commands (7)\n",
    );
    page
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// A flag, and what it does.
fn option(flag: &Flag) -> String {
    let short = flag.short.map_or(String::new(), |letter| format!("\\fB\\-{letter}\\fR, "));
    let value = flag.value.as_ref().map(|value| format!(" \\fI{}\\fR", escaped(value)));
    format!(
        ".TP\n{short}\\fB\\-\\-{}\\fR{}\n{}\n",
        escaped(&flag.long),
        value.unwrap_or_default(),
        escaped(&flag.help)
    )
}

fn spelled(option: &Opt) -> String {
    let letter = option.letter;
    match &option.value {
        Some(value) if value.starts_with('=') => format!("\\fB\\-{letter}\\fR[{}]", escaped(value)),
        Some(value) => format!("\\fB\\-{letter}\\fR \\fI{}\\fR", escaped(value)),
        None => format!("\\fB\\-{letter}\\fR"),
    }
}

/// `mortis-commands.7`: all commands.
pub fn commands(commands: &[Command], answers: &[Answers]) -> String {
    let mut page = String::from(
        ".\\\" Made by 'cargo xtask docs': do not edit.\n\
         .TH MORTIS-COMMANDS 7\n\
         .SH NAME\n\
         mortis\\-commands \\- the commands of mortis\n\
         .SH DESCRIPTION\n\
         At the prompt of\n.BR mortis (1),\n\
         in its input files and behind its option \\fB\\-c\\fR. The examples were run on a dump of\n\
         Linux 6.12.\n",
    );
    for command in commands {
        let also = match &command.aliases[..] {
            [] => String::new(),
            aliases => format!(" (also {})", escaped(&aliases.join(", "))),
        };
        page.push_str(&format!(
            ".SH \"{}\"\n{}{also}\n.PP\n",
            escaped(&command.name),
            escaped(&command.summary)
        ));
        page.push_str(&verbatim(
            format!("{} {}", command.name, command.synopsis).trim_end().lines(),
        ));
        let same = |one: &Opt, next: &Opt| {
            one.value.is_none() && next.value.is_none() && one.help == next.help
        };
        for options in command.options.chunk_by(same) {
            let names: Vec<String> = options.iter().map(spelled).collect();
            let help = options.first().map_or_else(String::new, |option| escaped(&option.help));
            page.push_str(&format!(".TP\n{}\n{help}\n", names.join(", ")));
        }
        if !command.help.trim().is_empty() {
            page.push_str(".PP\n");
            page.push_str(&verbatim(command.help.trim_end().lines()));
        }
        let examples = answers.iter().filter(|answers| answers.command == command.name);
        for example in examples.flat_map(|answers| &answers.examples) {
            page.push_str(".PP\n");
            let typed = format!("mortis> {}", example.line);
            let lines = std::iter::once(&typed).chain(&example.answer);
            page.push_str(&verbatim(lines.map(|line| format!("    {line}"))));
        }
    }
    page
}
