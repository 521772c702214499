//! The command line: one flag is one entry of [`FLAGS`], from which `--help` follows.

use crate::subcommand::{SUBCOMMANDS, Subcommand};
use anyhow::{Result, bail};
use lexopt::prelude::*;
use mortis_shell::commands::nearest;
use mortis_shell::open::Layout;
use mortis_shell::session::{Editing, PagerChoice, Radix};
use std::ffi::OsString;
use std::path::PathBuf;

/// Whose flag it is, and what it is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Of Mortis.
    Ours,
    /// Of crash, with the meaning that it has there.
    OfCrash,
    /// Of crash, and needless here: accepted with a word.
    WithoutEffect,
}

/// A flag of the command line.
pub struct Flag {
    /// Where the help lists it.
    pub group: Group,
    /// Its letter, where it has one.
    pub short: Option<char>,
    /// Its long name, without the dashes.
    pub long: &'static str,
    /// What its value is called; `None` for a switch.
    pub value: Option<&'static str>,
    /// What it does, in one line.
    pub help: &'static str,
    apply: fn(&mut Invocation, OsString) -> Result<()>,
}

/// What the command line asks for.
#[derive(Debug, Default)]
pub struct Invocation {
    /// The dump and its vmlinux, in any order.
    pub files: Vec<PathBuf>,
    /// Commands to run, in order.
    pub commands: Vec<String>,
    /// Files of commands to run behind those.
    pub scripts: Vec<PathBuf>,
    /// No summary when opening.
    pub silent: bool,
    /// JSON instead of text.
    pub json: bool,
    /// When to use colour.
    pub color: Color,
    /// Types from DWARF even where the dump has BTF.
    pub without_btf: bool,
    /// Say how the terminal's lines are edited.
    pub editing: Option<Editing>,
    /// Numbers in hexadecimal or decimal.
    pub radix: Option<Radix>,
    /// No pager.
    pub without_scroll: bool,
    /// Which pager.
    pub pager: Option<PagerChoice>,
    /// No start-up files.
    pub without_startup: bool,
    /// Where modules with debug information are.
    pub modules: Option<PathBuf>,
    /// Where the kernel's source is.
    pub source: Option<PathBuf>,
    /// What to do with output of CPUs that are offline.
    pub offline: Option<String>,
    /// The snapshot to open, of a file that has several.
    pub snapshot: Option<String>,
    /// Where raw memory lies.
    pub layout: Option<Layout>,
    /// Tell one thing of the dump, and end.
    pub query: Option<Query>,
    /// Flags that were given and have no effect.
    pub without_effect: Vec<String>,
    /// Show the help and end.
    pub help: bool,
    /// Show the help of a command instead.
    pub help_of: Option<String>,
    /// Show the version and end.
    pub version: bool,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// One thing that a call is about, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// The kernel's release.
    Release,
    /// The kernel's log.
    Log,
    /// The kernel's build-id.
    BuildId,
    /// When it died.
    Date,
}

/// All flags, in the order of the help.
pub const FLAGS: &[Flag] = &[
    Flag {
        short: Some('c'),
        value: Some("COMMAND"),
        apply: |invocation, value| {
            invocation.commands.push(text(value)?);
            Ok(())
        },
        ..ours("command", "run COMMAND and exit; may be given many times")
    },
    Flag {
        short: Some('i'),
        value: Some("FILE"),
        apply: |invocation, value| {
            invocation.scripts.push(value.into());
            Ok(())
        },
        ..ours("input", "run the commands in FILE; then the prompt, on a terminal")
    },
    Flag {
        short: Some('s'),
        apply: |invocation, _| {
            invocation.silent = true;
            Ok(())
        },
        ..ours("silent", "no summary when opening, no echo, no pager")
    },
    Flag {
        apply: |invocation, _| {
            invocation.json = true;
            Ok(())
        },
        ..ours("json", "answer in JSON, one object a command (docs/json.md)")
    },
    Flag {
        value: Some("WHEN"),
        apply: |invocation, value| {
            invocation.color = match text(value)?.as_str() {
                "auto" => Color::Auto,
                "always" => Color::Always,
                "never" => Color::Never,
                other => bail!("--color takes auto, always or never, not '{other}'"),
            };
            Ok(())
        },
        ..ours("color", "auto (the default), always or never")
    },
    Flag {
        value: Some("NAME"),
        apply: |invocation, value| {
            invocation.snapshot = Some(text(value)?);
            Ok(())
        },
        ..ours("snapshot", "the snapshot to open, of a disk image with several")
    },
    Flag {
        value: Some("LAYOUT"),
        apply: |invocation, value| {
            let mut layout: Layout = text(value)?.parse()?;
            match &mut invocation.layout {
                Some(first) => first.pieces.append(&mut layout.pieces),
                none => *none = Some(layout),
            }
            Ok(())
        },
        ..ours("layout", "raw memory: FILE@PHYS or FILE:OFFSET+LEN@PHYS, comma-separated")
    },
    Flag {
        apply: |invocation, _| {
            invocation.without_btf = true;
            Ok(())
        },
        ..ours("no-btf", "take types from the vmlinux's DWARF, not from the dump")
    },
    Flag {
        apply: |invocation, _| {
            invocation.without_startup = true;
            Ok(())
        },
        ..ours("no-rc", "do not run ~/.mortisrc, ~/.crashrc and ./.crashrc")
    },
    Flag {
        short: Some('h'),
        value: Some("[COMMAND]"),
        apply: |invocation, _| {
            invocation.help = true;
            Ok(())
        },
        ..ours("help", "show this, or how a command is used, and exit")
    },
    Flag {
        short: Some('V'),
        apply: |invocation, _| {
            invocation.version = true;
            Ok(())
        },
        ..ours("version", "show the version and exit (also -v)")
    },
    Flag {
        short: Some('e'),
        value: Some("MODE"),
        apply: |invocation, value| {
            invocation.editing = Some(match text(value)?.as_str() {
                "vi" => Editing::Vi,
                "emacs" => Editing::Emacs,
                other => bail!("-e takes vi or emacs, not '{other}'"),
            });
            Ok(())
        },
        ..of_crash("edit", "keys of the line editor: emacs (the default) or vi")
    },
    Flag {
        apply: |invocation, _| {
            invocation.radix = Some(Radix::Hexadecimal);
            Ok(())
        },
        ..of_crash("hex", "numbers in hexadecimal, as 'set radix 16'")
    },
    Flag {
        apply: |invocation, _| {
            invocation.radix = Some(Radix::Decimal);
            Ok(())
        },
        ..of_crash("dec", "numbers in decimal, as 'set radix 10'")
    },
    Flag {
        apply: |invocation, _| {
            invocation.without_scroll = true;
            Ok(())
        },
        ..of_crash("no_scroll", "no pager")
    },
    Flag {
        apply: |invocation, _| {
            invocation.pager = Some(PagerChoice::Less);
            Ok(())
        },
        ..of_crash("less", "page long output with less")
    },
    Flag {
        apply: |invocation, _| {
            invocation.pager = Some(PagerChoice::More);
            Ok(())
        },
        ..of_crash("more", "page long output with more")
    },
    Flag {
        apply: |invocation, _| {
            invocation.pager = Some(PagerChoice::CrashPager);
            Ok(())
        },
        ..of_crash("CRASHPAGER", "page long output with $CRASHPAGER")
    },
    Flag {
        apply: |invocation, _| {
            invocation.without_startup = true;
            Ok(())
        },
        ..of_crash("no_crashrc", "the same as --no-rc")
    },
    Flag {
        value: Some("DIR"),
        apply: |invocation, value| {
            invocation.modules = Some(value.into());
            Ok(())
        },
        ..of_crash("mod", "where modules with debug information are")
    },
    Flag {
        value: Some("DIR"),
        apply: |invocation, value| {
            invocation.source = Some(value.into());
            Ok(())
        },
        ..of_crash("src", "where the kernel's source is")
    },
    Flag {
        value: Some("show|hide"),
        apply: |invocation, value| {
            let value = text(value)?;
            if !matches!(value.as_str(), "show" | "hide") {
                bail!("--offline takes show or hide, not '{value}'");
            }
            invocation.offline = Some(value);
            Ok(())
        },
        ..of_crash("offline", "output of CPUs that are offline")
    },
    Flag {
        apply: |invocation, _| {
            invocation.query = Some(Query::Release);
            Ok(())
        },
        ..of_crash("osrelease", "print the kernel's release and exit")
    },
    Flag {
        apply: |invocation, _| {
            invocation.query = Some(Query::Log);
            Ok(())
        },
        ..of_crash("log", "print the kernel's log and exit")
    },
    Flag {
        apply: |invocation, _| {
            invocation.query = Some(Query::BuildId);
            Ok(())
        },
        ..of_crash("build-id", "print the kernel's build-id and exit")
    },
    Flag {
        short: Some('t'),
        apply: |invocation, _| {
            invocation.query = Some(Query::Date);
            Ok(())
        },
        ..of_crash("timestamp", "print when the kernel died and exit")
    },
    Flag { short: Some('d'), value: Some("NUM"), ..without_effect("debug") },
    Flag { short: Some('x'), ..without_effect("extensions") },
    Flag { short: Some('f'), ..without_effect("force") },
    Flag { short: Some('g'), ..without_effect("debuginfo") },
    Flag { short: Some('k'), ..without_effect("kerntypes") },
    Flag { short: Some('L'), ..without_effect("lock") },
    Flag { short: Some('S'), ..without_effect("system-map") },
    Flag { short: Some('p'), value: Some("SIZE"), ..without_effect("page-size") },
    Flag { short: Some('m'), value: Some("OPTION"), ..without_effect("machdep") },
    Flag { short: Some('o'), value: Some("FILE"), ..without_effect("output-elf") },
    without_effect("active"),
    without_effect("buildinfo"),
    Flag { value: Some("NUM"), ..without_effect("cpus") },
    Flag { value: Some("COUNT"), ..without_effect("hash") },
    without_effect("hyper"),
    Flag { value: Some("OFFSET"), ..without_effect("kaslr") },
    without_effect("kmem_cache_delay"),
    Flag { value: Some("32|64"), ..without_effect("kvmhost") },
    Flag { value: Some("SIZE"), ..without_effect("kvmio") },
    Flag { value: Some("SIZE"), ..without_effect("max-malloc-bufs") },
    Flag { value: Some("DEVICE"), ..without_effect("memory_device") },
    Flag { value: Some("NAME"), ..without_effect("memory_module") },
    without_effect("minimal"),
    without_effect("no_data_debug"),
    without_effect("no_elf_notes"),
    without_effect("no_ikconfig"),
    without_effect("no_kallsyms"),
    without_effect("no_kmem_cache"),
    without_effect("no_modules"),
    without_effect("no_panic"),
    without_effect("no_strip"),
    Flag { value: Some("ADDRESS"), ..without_effect("p2m_mfn") },
    without_effect("readnow"),
    Flag { value: Some("SIZE"), ..without_effect("reloc") },
    without_effect("smp"),
    Flag { value: Some("ADDRESS"), ..without_effect("xen_phys_start") },
    without_effect("zero_excluded"),
];

const fn ours(long: &'static str, help: &'static str) -> Flag {
    Flag { group: Group::Ours, short: None, long, value: None, help, apply: |_, _| Ok(()) }
}

const fn of_crash(long: &'static str, help: &'static str) -> Flag {
    Flag { group: Group::OfCrash, ..ours(long, help) }
}

const fn without_effect(long: &'static str) -> Flag {
    Flag { group: Group::WithoutEffect, ..ours(long, "") }
}

fn text(value: OsString) -> Result<String> {
    match value.into_string() {
        Ok(text) => Ok(text),
        Err(value) => bail!("not valid UTF-8: {}", value.display()),
    }
}

/// Reads the command line.
///
/// # Errors
/// An unknown flag, or one whose value is missing or wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation> {
    let mut invocation = Invocation::default();
    let mut parser = lexopt::Parser::from_iter(arguments);
    while let Some(argument) = parser.next()? {
        let (flag, spelled) = match &argument {
            // As crash has it.
            Short('v') => (FLAGS.iter().find(|flag| flag.long == "version"), String::new()),
            Short(letter) => {
                (FLAGS.iter().find(|flag| flag.short == Some(*letter)), format!("-{letter}"))
            }
            Long(name) => (FLAGS.iter().find(|flag| flag.long == *name), format!("--{name}")),
            Value(file) => {
                invocation.files.push(file.into());
                continue;
            }
        };
        let Some(flag) = flag else { return Err(unknown(argument)) };
        if flag.group == Group::WithoutEffect {
            invocation.without_effect.push(spelled);
        }
        let value = match flag.value {
            None => OsString::new(),
            Some(value) if !value.starts_with('[') => parser.value()?,
            Some(_) => {
                // A word may follow, but need not.
                let word = parser.optional_value().or_else(|| parser.raw_args().ok()?.next());
                invocation.help_of = word.map(text).transpose()?;
                OsString::new()
            }
        };
        (flag.apply)(&mut invocation, value)?;
        if invocation.help {
            break;
        }
    }
    Ok(invocation)
}

fn unknown(argument: lexopt::Arg) -> anyhow::Error {
    let near = match &argument {
        Long(name) => nearest(name, FLAGS.iter().map(|flag| flag.long)),
        _ => None,
    };
    let error = anyhow::Error::from(argument.unexpected());
    match near {
        Some(near) => anyhow::anyhow!("{error}; did you mean '--{near}'?"),
        None => error,
    }
}

/// All flags as JSON, for tools that make documents of them.
pub fn json() -> String {
    let flags: Vec<serde_json::Value> = FLAGS
        .iter()
        .map(|flag| {
            serde_json::json!({
                "short": flag.short,
                "long": flag.long,
                "value": flag.value,
                "help": flag.help,
                "group": match flag.group {
                    Group::Ours => "ours",
                    Group::OfCrash => "of_crash",
                    Group::WithoutEffect => "without_effect",
                },
            })
        })
        .collect();
    format!("{}\n", serde_json::Value::from(flags))
}

/// The text of `--help`.
pub fn help() -> String {
    let mut help = String::from(
        "mortis opens a Linux kernel crash dump and says what happened and why.\n\n\
         Usage: mortis [OPTIONS] VMCORE [VMLINUX]\n       \
                mortis SUBCOMMAND ...\n\n\
         The dump brings its own symbols, types and unwind tables; a vmlinux adds source lines,\n\
         inlined calls and macros. Files may stand in any order. Without -c and -i, and on a\n\
         terminal, a prompt opens; otherwise commands are read from standard input.\n\nSubcommands:\n",
    );
    for Subcommand { name, usage, summary, .. } in SUBCOMMANDS {
        help.push_str(&format!("  {:<28} {summary}\n", format!("{name} {usage}")));
    }
    help.push_str("\nOptions:\n");
    for (group, title) in [(Group::Ours, ""), (Group::OfCrash, "\nOptions of crash:\n")] {
        help.push_str(title);
        for flag in FLAGS.iter().filter(|flag| flag.group == group) {
            let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
            let value = flag.value.map_or(String::new(), |value| format!(" {value}"));
            help.push_str(&format!(
                "  {short}{:<22} {}\n",
                format!("--{}{value}", flag.long),
                flag.help
            ));
        }
    }
    help.push_str("\nOptions of crash that are needless here, and accepted:\n");
    let spelled = FLAGS.iter().filter(|flag| flag.group == Group::WithoutEffect).map(|flag| {
        let name = flag.short.map_or(format!("--{}", flag.long), |letter| format!("-{letter}"));
        format!("{name}{}", flag.value.map_or(String::new(), |value| format!(" {value}")))
    });
    let mut line = String::new();
    for name in spelled {
        if line.len() + name.len() > 90 {
            help.push_str(&format!("  {}\n", line.trim_end()));
            line.clear();
        }
        line.push_str(&format!("{name}, "));
    }
    help.push_str(&format!("  {}\n", line.trim_end_matches(", ")));
    help.push_str(
        "\nExamples:\n  \
         mortis vmcore                      open a dump\n  \
         mortis vmlinux vmcore              with source lines\n  \
         mortis vmcore -c log -c 'bt -a'    run commands and exit\n  \
         mortis vmcore --json -c ps         the same for programs\n  \
         mortis -h bt                       how a command is used\n\n\
         Exit status: 0 success, 1 a command failed, 2 the dump could not be opened.\n",
    );
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Invocation> {
        parse(std::iter::once("mortis").chain(arguments.iter().copied()).map(OsString::from))
    }

    #[test]
    fn files_and_flags_in_any_order() {
        let invocation = parsed(&["vmcore", "-sc", "bt", "vmlinux", "--command=log", "--json"])
            .expect("a valid command line");
        assert_eq!(invocation.files, [PathBuf::from("vmcore"), PathBuf::from("vmlinux")]);
        assert_eq!(invocation.commands, ["bt", "log"]);
        assert!(invocation.silent && invocation.json);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |arguments: &[&str]| parsed(arguments).expect_err("invalid").to_string();
        assert!(error(&["--frobnicate"]).contains("--frobnicate"));
        assert!(error(&["--jsn"]).contains("did you mean '--json'?"));
        assert!(error(&["-c"]).contains("-c"));
        assert!(error(&["--color", "red"]).contains("'red'"));
    }

    #[test]
    fn every_flag_is_in_the_help() {
        let help = help();
        for flag in FLAGS {
            let letter = flag.short.is_some_and(|letter| help.contains(&format!("-{letter}")));
            assert!(letter || help.contains(&format!("--{}", flag.long)), "{}", flag.long);
        }
    }

    #[test]
    fn flags_are_unique() {
        let mut names: Vec<String> = FLAGS.iter().map(|flag| flag.long.to_owned()).collect();
        names.extend(FLAGS.iter().filter_map(|flag| flag.short).map(String::from));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_call_of_crash_is_understood() {
        let call =
            ["-s", "--no_crashrc", "--hex", "-d", "7", "--kaslr", "auto", "vmlinux", "vmcore"];
        let invocation = parsed(&call).expect("as crash takes it");
        assert!(invocation.silent && invocation.without_startup);
        assert_eq!(invocation.radix, Some(Radix::Hexadecimal));
        assert_eq!(invocation.without_effect, ["-d", "--kaslr"]);
        assert_eq!(invocation.files.len(), 2);
    }

    #[test]
    fn help_of_a_command_needs_no_dump() {
        assert_eq!(parsed(&["-h", "bt"]).expect("valid").help_of.as_deref(), Some("bt"));
        assert_eq!(parsed(&["--help=bt"]).expect("valid").help_of.as_deref(), Some("bt"));
        assert_eq!(parsed(&["--help"]).expect("valid").help_of, None);
    }
}
