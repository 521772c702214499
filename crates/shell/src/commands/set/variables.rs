//! The variables of `set`: those that mean something, and those of crash that do not here.

use super::{DisassemblyFlavor, Radix, Session};
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::pager;
use crate::session::{Editing, PagerChoice};
use serde::Serialize;
use std::path::PathBuf;

/// A setting.
#[derive(Serialize)]
struct Setting {
    name: &'static str,
    value: String,
    /// Blanks before the name bring it to this width.
    #[serde(skip)]
    width: usize,
}

impl Render for Setting {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:>width$}: {}\n", self.name, self.value, width = self.width));
    }
}

/// What a variable of crash that has no effect here may be set to.
enum Values {
    OnOff,
    /// `debug 3`, or on and off.
    Number,
    Any,
    Words(&'static [&'static str]),
}

/// Variables of crash that concern gdb, live systems or itself: name, what it is at first, and
/// what it may be. They keep their values and do nothing.
const WITHOUT_EFFECT: &[(&str, &str, Values)] = &[
    ("refresh", "on", Values::OnOff),
    ("print_array", "off", Values::OnOff),
    ("console", "(not assigned)", Values::Any),
    ("debug", "0", Values::Number),
    ("core", "off", Values::OnOff),
    ("hash", "on", Values::OnOff),
    ("unwind", "off", Values::OnOff),
    ("zero_excluded", "off", Values::OnOff),
    ("offline", "show", Values::Words(&["show", "hide"])),
    ("redzone", "on", Values::OnOff),
    ("error", "default", Values::Any),
];

/// The names of all variables, for completion.
pub fn names() -> impl Iterator<Item = &'static str> {
    ["scroll", "radix", "hex", "dec", "print_max", "edit", "vi", "emacs", "silent", "gdb"]
        .into_iter()
        .chain(["disassembly", "namelist", "null-stop", "scope", "src"])
        .chain(WITHOUT_EFFECT.iter().map(|(name, ..)| *name))
}

/// The values that a variable takes, for completion.
pub fn values(name: &str) -> &'static [&'static str] {
    match name {
        "scroll" => &["on", "off", "less", "more", "CRASHPAGER"],
        "radix" => &["10", "16"],
        "edit" => &["emacs", "vi"],
        "disassembly" => &["att", "intel"],
        "silent" | "gdb" | "null-stop" => &["on", "off"],
        name => match WITHOUT_EFFECT.iter().find(|(known, ..)| *known == name) {
            Some((.., Values::OnOff)) => &["on", "off"],
            Some((.., Values::Words(words))) => words,
            _ => &[],
        },
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// `on`, `off` or a number.
fn switch(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        number => number.parse::<u64>().ok().map(|number| number != 0),
    }
}

/// The value of the variable `name`, as `set -v` shows it.
fn value(session: &Session, name: &str) -> Option<String> {
    let settings = &session.settings;
    Some(match name {
        "scroll" => format!("{} ({})", on_off(settings.scroll), pager::name(settings.pager)),
        "radix" => match settings.radix {
            Radix::Decimal => "10 (decimal)".to_owned(),
            Radix::Hexadecimal => "16 (hexadecimal)".to_owned(),
        },
        "print_max" => settings.print_max.to_string(),
        "silent" => on_off(settings.silent).to_owned(),
        "edit" => match settings.editing {
            Editing::Emacs => "emacs".to_owned(),
            Editing::Vi => "vi".to_owned(),
        },
        "namelist" => match &session.files.vmlinux {
            Some(path) => path.display().to_string(),
            None => "(none)".to_owned(),
        },
        "null-stop" => on_off(settings.null_stop).to_owned(),
        "scope" => match settings.scope {
            None => "0 (not set)".to_owned(),
            Some(address) => {
                let name = session.kernel.symbolize(address).unwrap_or_default();
                format!("{:x} ({name})", address.0)
            }
        },
        "src" => match &settings.source {
            Some(path) => path.display().to_string(),
            None => "(not set)".to_owned(),
        },
        "dumpfile" => session.files.dump.display().to_string(),
        "gdb" => on_off(settings.gdb).to_owned(),
        "disassembly" => match settings.disassembly {
            DisassemblyFlavor::Att => "att".to_owned(),
            DisassemblyFlavor::Intel => "intel".to_owned(),
        },
        name => {
            let (known, first, _) = WITHOUT_EFFECT.iter().find(|(known, ..)| *known == name)?;
            settings.without_effect.get(known).cloned().unwrap_or_else(|| (*first).to_owned())
        }
    })
}

/// `set -v`: every variable, in crash's order, then ours.
pub(super) fn show_all(session: &Session, out: &mut Output) -> Result<(), CommandError> {
    const ORDER: &[&str] = &[
        "scroll",
        "radix",
        "refresh",
        "print_max",
        "print_array",
        "console",
        "debug",
        "core",
        "hash",
        "silent",
        "edit",
        "namelist",
        "dumpfile",
        "unwind",
        "zero_excluded",
        "null-stop",
        "gdb",
        "scope",
        "offline",
        "redzone",
        "error",
        "disassembly",
        "src",
    ];
    for name in ORDER {
        if let Some(value) = value(session, name) {
            out.emit(&Setting { name, value, width: 14 })?;
        }
    }
    Ok(())
}

/// Sets or shows the variable `name`; says whether there is one.
pub(super) fn set(
    session: &mut Session,
    name: &str,
    new: Option<&str>,
    out: &mut Output,
) -> Result<bool, CommandError> {
    let wrong = || {
        let new = new.map(|new| format!("{new} ")).unwrap_or_default();
        CommandError::Message(format!("invalid command: set {name} {new}"))
    };
    // Before the settings are lent out.
    let scope = match (name, new) {
        ("scope", Some(word)) => Some(session.address(word).map_err(|_| wrong())?),
        _ => None,
    };
    let settings = &mut session.settings;
    let shown = match name {
        "scope" => {
            if let Some(address) = scope {
                settings.scope = Some(address).filter(|address| !address.is_null());
            }
            "scope"
        }
        "null-stop" => {
            if let Some(word) = new {
                settings.null_stop = switch(word).ok_or_else(wrong)?;
            }
            "null-stop"
        }
        "src" => {
            if let Some(word) = new {
                let path = PathBuf::from(word);
                if !path.is_dir() {
                    return Err(CommandError::Message(format!("{word} is not a directory")));
                }
                settings.source = Some(path);
            }
            "src"
        }
        "radix" | "hex" | "dec" => {
            settings.radix = match (name, new) {
                ("hex", _) => Radix::Hexadecimal,
                ("dec", _) => Radix::Decimal,
                (_, None) => settings.radix,
                (_, Some(word)) => radix(word).ok_or_else(wrong)?,
            };
            let value = match settings.radix {
                Radix::Decimal => "10 (decimal)",
                Radix::Hexadecimal => "16 (hex)",
            };
            return shown(out, "output radix", value.to_owned());
        }
        "scroll" => {
            match new {
                None => {}
                Some("less") => settings.pager = PagerChoice::Less,
                Some("more") => settings.pager = PagerChoice::More,
                Some("CRASHPAGER") => settings.pager = PagerChoice::CrashPager,
                Some(word) => settings.scroll = switch(word).ok_or_else(wrong)?,
            }
            "scroll"
        }
        "print_max" => {
            if let Some(word) = new {
                let hexadecimal = || usize::from_str_radix(word.trim_start_matches("0x"), 16).ok();
                settings.print_max = word.parse().ok().or_else(hexadecimal).ok_or_else(wrong)?;
            }
            "print_max"
        }
        "silent" => {
            if let Some(word) = new {
                settings.silent = switch(word).ok_or_else(wrong)?;
                settings.scroll &= !settings.silent;
            }
            if settings.silent {
                return Ok(true);
            }
            "silent"
        }
        "edit" | "vi" | "emacs" => {
            settings.editing = match (name, new) {
                ("vi", _) | (_, Some("vi")) => Editing::Vi,
                ("emacs", _) | (_, Some("emacs")) => Editing::Emacs,
                (_, None) => settings.editing,
                _ => return Err(wrong()),
            };
            "edit"
        }
        "gdb" => {
            if let Some(word) = new {
                settings.gdb = switch(word).ok_or_else(wrong)?;
            }
            "gdb"
        }
        "disassembly" | "disassembly-flavor" => {
            settings.disassembly = match new {
                None => settings.disassembly,
                Some("att") => DisassemblyFlavor::Att,
                Some("intel") => DisassemblyFlavor::Intel,
                Some(_) => return Err(wrong()),
            };
            "disassembly"
        }
        // Without a name behind it; with one, crash takes it in start-up files only.
        "namelist" => "namelist",
        "data_debug" => return Ok(true),
        "free" => {
            // There is no such cache to be emptied.
            out.layout("0 pages freed\n")?;
            return Ok(true);
        }
        name => {
            let Some((known, _, values)) = WITHOUT_EFFECT.iter().find(|(known, ..)| *known == name)
            else {
                return Ok(false);
            };
            if let Some(word) = new {
                let valid = match values {
                    Values::OnOff => switch(word).map(|on| on_off(on).to_owned()),
                    Values::Number => match word {
                        "on" => Some("1".to_owned()),
                        "off" => Some("0".to_owned()),
                        word => word.parse::<u64>().ok().map(|number| number.to_string()),
                    },
                    Values::Any => Some(word.to_owned()),
                    Values::Words(words) => words.contains(&word).then(|| word.to_owned()),
                };
                settings.without_effect.insert(known, valid.ok_or_else(wrong)?);
            }
            known
        }
    };
    let mut text = value(session, shown).unwrap_or_default();
    // As crash spells them where a variable is shown alone.
    match (shown, text.as_str()) {
        ("core", "on") => text.push_str(" (drop core on error message)"),
        ("core", _) => text.push_str(" (do NOT drop core on error message)"),
        ("console", "(not assigned)") => text = "not set".to_owned(),
        _ => {}
    }
    let width = if shown == "offline" { 13 } else { 0 };
    out.emit(&Setting { name: shown, value: text, width })?;
    Ok(true)
}

fn shown(out: &mut Output, name: &'static str, value: String) -> Result<bool, CommandError> {
    out.emit(&Setting { name, value, width: 0 })?;
    Ok(true)
}

fn radix(word: &str) -> Option<Radix> {
    match word {
        "10" => Some(Radix::Decimal),
        "16" => Some(Radix::Hexadecimal),
        word if word.starts_with("dec") || word.starts_with("ten") => Some(Radix::Decimal),
        word if word.starts_with("hex") || word.starts_with("six") => Some(Radix::Hexadecimal),
        _ => None,
    }
}
