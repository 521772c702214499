//! Completions of the command line, for shells.

use super::{Command, Flag, Subcommand};

/// What follows a flag.
#[derive(PartialEq)]
enum Value {
    None,
    File,
    Folder,
    Command,
    Words(String),
    Other,
}

fn value(flag: &Flag) -> Value {
    match (flag.long.as_str(), flag.value.as_deref()) {
        (_, None) => Value::None,
        ("help", _) => Value::Command,
        ("color", _) => Value::Words("auto always never".to_owned()),
        ("edit", _) => Value::Words("emacs vi".to_owned()),
        (_, Some("FILE")) => Value::File,
        (_, Some("DIR")) => Value::Folder,
        (_, Some(words)) if words.contains('|') => Value::Words(words.replace('|', " ")),
        _ => Value::Other,
    }
}

fn words(subcommands: &[Subcommand]) -> String {
    subcommands.iter().map(|subcommand| subcommand.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// `-f` and `--flag` of each.
fn spelled<'a>(flags: impl Iterator<Item = &'a Flag>) -> String {
    let names = flags.flat_map(|flag| {
        let short = flag.short.map(|letter| format!("-{letter}"));
        short.into_iter().chain([format!("--{}", flag.long)])
    });
    names.collect::<Vec<_>>().join(" ")
}

/// The flags that are worth offering.
fn offered(flags: &[Flag]) -> impl Iterator<Item = &Flag> {
    flags.iter().filter(|flag| flag.group != "without_effect")
}

fn names(commands: &[Command]) -> String {
    // `*` is a pattern to a shell, and needs no help to be typed.
    let names = commands.iter().map(|command| command.name.as_str()).filter(|name| *name != "*");
    names.collect::<Vec<_>>().join(" ")
}

/// `-c|--command`, as a pattern of `case`.
fn pattern(flag: &Flag) -> String {
    let short = flag.short.map_or(String::new(), |letter| format!("-{letter}|"));
    format!("{short}--{}", flag.long)
}

/// What follows each flag, as the arms of a `case`.
fn bash_cases<'a>(flags: impl Iterator<Item = &'a Flag>, commands: &[Command]) -> String {
    let mut cases = String::new();
    for flag in flags {
        let reply = match value(flag) {
            Value::None => continue,
            Value::File => "compgen -f".to_owned(),
            Value::Folder => "compgen -d".to_owned(),
            Value::Command => format!("compgen -W '{}'", names(commands)),
            Value::Words(words) => format!("compgen -W '{words}'"),
            Value::Other => "true".to_owned(),
        };
        let reply = match reply.as_str() {
            "true" => "COMPREPLY=()".to_owned(),
            reply => format!("mapfile -t COMPREPLY < <({reply} -- \"$word\")"),
        };
        cases.push_str(&format!("        {}) {reply}; return ;;\n", pattern(flag)));
    }
    cases
}

/// For bash.
pub fn bash(flags: &[Flag], subcommands: &[Subcommand], commands: &[Command]) -> String {
    let mut functions = String::new();
    let mut calls = String::new();
    for Subcommand { name, flags, .. } in subcommands {
        let others = match name.as_str() {
            "help" => format!("compgen -W '{} {}'", words(subcommands), names(commands)),
            _ => "compgen -f".to_owned(),
        };
        functions.push_str(&format!(
            "_mortis_{name}() {{\n    case $before in\n{}    esac\n    \
                 case $word in\n        \
                     -*) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$word\") ;;\n        \
                     *) mapfile -t COMPREPLY < <({others} -- \"$word\") ;;\n    \
                 esac\n}}\n",
            bash_cases(flags.iter(), commands),
            spelled(flags.iter())
        ));
        calls.push_str(&format!("        {name}) _mortis_{name}; return ;;\n"));
    }
    format!(
        "# Made by 'cargo xtask docs': do not edit.\n\
         {functions}\
         _mortis() {{\n    \
             local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}\n    \
             [ \"$COMP_CWORD\" -gt 1 ] && case ${{COMP_WORDS[1]}} in\n{calls}    esac\n    \
             case $before in\n{}    esac\n    \
             case $word in\n        \
                 -*) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$word\") ;;\n        \
                 *) mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n    \
             esac\n    \
             [ \"$COMP_CWORD\" -eq 1 ] && COMPREPLY+=($(compgen -W '{}' -- \"$word\"))\n    \
             return 0\n\
         }}\n\
         complete -o filenames -F _mortis mortis\n",
        bash_cases(offered(flags), commands),
        spelled(offered(flags)),
        words(subcommands)
    )
}

/// The arguments of zsh's `_arguments` for flags.
fn zsh_flags<'a>(
    flags: impl Iterator<Item = &'a Flag>,
    commands: &[Command],
    indent: &str,
) -> String {
    let mut text = String::new();
    for flag in flags {
        let about = flag.help.replace('\'', "'\\''").replace('[', "(").replace(']', ")");
        let action = match value(flag) {
            Value::None => String::new(),
            Value::File => ":file:_files".to_owned(),
            Value::Folder => ":folder:_files -/".to_owned(),
            Value::Command => format!("::command:({})", names(commands)),
            Value::Words(words) => format!(":value:({words})"),
            Value::Other => ":value:".to_owned(),
        };
        let many = if matches!(flag.long.as_str(), "command" | "input") { "*" } else { "" };
        let mut spelled = vec![format!("--{}", flag.long)];
        spelled.extend(flag.short.map(|letter| format!("-{letter}")));
        for name in spelled {
            text.push_str(&format!("{indent}'{many}{name}[{about}]{action}' \\\n"));
        }
    }
    text
}

/// For zsh.
pub fn zsh(flags: &[Flag], subcommands: &[Subcommand], commands: &[Command]) -> String {
    let mut text = String::from("#compdef mortis\n# Made by 'cargo xtask docs': do not edit.\n");
    text.push_str("if (( CURRENT > 2 )); then\n  case $words[2] in\n");
    for Subcommand { name, flags, .. } in subcommands {
        let others = match name.as_str() {
            "help" => format!("({} {})", words(subcommands), names(commands)),
            _ => "_files".to_owned(),
        };
        text.push_str(&format!(
            "    {name})\n      shift words; (( CURRENT-- ))\n      _arguments -s \\\n{}        \
             '*:argument:{others}'\n      return ;;\n",
            zsh_flags(flags.iter(), commands, "        ")
        ));
    }
    text.push_str("  esac\nfi\n_arguments -s \\\n");
    text.push_str(&zsh_flags(offered(flags), commands, "    "));
    text.push_str(&format!(
        "    '1:dump, vmlinux or subcommand:{{_alternative \"files:file:_files\" \
         \"words:subcommand:({})\"}}' \\\n    '*:dump or vmlinux:_files'\n",
        words(subcommands)
    ));
    text
}

/// One flag, or a subcommand's, in fish's words; `condition` says when it is offered.
fn fish_flag(flag: &Flag, condition: &str, commands: &[Command]) -> String {
    let short = flag.short.map_or(String::new(), |letter| format!(" -s {letter}"));
    let takes = match value(flag) {
        Value::None => String::new(),
        Value::File => " -r -F".to_owned(),
        Value::Folder => " -x -a '(__fish_complete_directories)'".to_owned(),
        Value::Command => format!(" -x -a '{}'", names(commands)),
        Value::Words(words) => format!(" -x -a '{words}'"),
        Value::Other => " -x".to_owned(),
    };
    let about = flag.help.replace('\'', "\\'");
    format!("complete -c mortis{condition}{short} -l {}{takes} -d '{about}'\n", flag.long)
}

/// For fish.
pub fn fish(flags: &[Flag], subcommands: &[Subcommand], commands: &[Command]) -> String {
    let mut text = String::from("# Made by 'cargo xtask docs': do not edit.\n");
    let none = format!(" -n 'not __fish_seen_subcommand_from {}'", words(subcommands));
    for flag in offered(flags) {
        text.push_str(&fish_flag(flag, &none, commands));
    }
    for Subcommand { name, summary, flags, .. } in subcommands {
        let about = summary.replace('\'', "\\'");
        text.push_str(&format!(
            "complete -c mortis -n __fish_use_subcommand -a {name} -d '{about}'\n"
        ));
        let condition = format!(" -n '__fish_seen_subcommand_from {name}'");
        for flag in flags {
            text.push_str(&fish_flag(flag, &condition, commands));
        }
    }
    text
}
