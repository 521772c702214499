//! Completions of the command line, for shells.

use super::{Command, Flag};

/// What follows a flag.
#[derive(PartialEq)]
enum Value {
    None,
    File,
    Folder,
    Command,
    Words(&'static str),
    Other,
}

fn value(flag: &Flag) -> Value {
    match (flag.long.as_str(), flag.value.as_deref()) {
        (_, None) => Value::None,
        ("help", _) => Value::Command,
        ("color", _) => Value::Words("auto always never"),
        ("edit", _) => Value::Words("emacs vi"),
        ("offline", _) => Value::Words("show hide"),
        (_, Some("FILE")) => Value::File,
        (_, Some("DIR")) => Value::Folder,
        _ => Value::Other,
    }
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

/// For bash.
pub fn bash(flags: &[Flag], commands: &[Command]) -> String {
    let mut cases = String::new();
    for flag in offered(flags) {
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
    let all: Vec<String> = offered(flags)
        .flat_map(|flag| {
            let short = flag.short.map(|letter| format!("-{letter}"));
            short.into_iter().chain([format!("--{}", flag.long)])
        })
        .collect();
    format!(
        "# Made by 'cargo xtask docs': do not edit.\n\
         _mortis() {{\n    \
             local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}\n    \
             case $before in\n{cases}    esac\n    \
             case $word in\n        \
                 -*) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$word\") ;;\n        \
                 *) mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n    \
             esac\n\
         }}\n\
         complete -o filenames -F _mortis mortis\n",
        all.join(" ")
    )
}

/// For zsh.
pub fn zsh(flags: &[Flag], commands: &[Command]) -> String {
    let mut text = String::from(
        "#compdef mortis\n# Made by 'cargo xtask docs': do not edit.\n_arguments -s \\\n",
    );
    for flag in offered(flags) {
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
            text.push_str(&format!("    '{many}{name}[{about}]{action}' \\\n"));
        }
    }
    text.push_str("    '*:dump or vmlinux:_files'\n");
    text
}

/// For fish.
pub fn fish(flags: &[Flag], commands: &[Command]) -> String {
    let mut text = String::from("# Made by 'cargo xtask docs': do not edit.\n");
    for flag in offered(flags) {
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
        text.push_str(&format!("complete -c mortis{short} -l {}{takes} -d '{about}'\n", flag.long));
    }
    text
}
