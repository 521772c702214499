//! The examples of every command's help, run on the sample.

use super::{Command, Mortis};
use anyhow::Result;

/// Lines of an answer that are shown, and how many are cut only where more than that are left.
const LINES: usize = 12;
const SPARE: usize = 2;

/// Characters of a line that are shown.
const WIDTH: usize = 100;

/// The examples of one command.
pub struct Answers {
    pub command: String,
    pub examples: Vec<Example>,
}

/// A line, and what it answers.
pub struct Example {
    pub line: String,
    pub answer: Vec<String>,
}

/// Printed before each answer.
const MARK: &str = "@@@ the next example";

/// Runs the examples of each command in a session. What fails on the sample, or would write files,
/// is shown without an answer.
pub fn answers(mortis: &Mortis, commands: &[Command]) -> Result<Vec<Answers>> {
    let mut all = Vec::new();
    for command in commands.iter().filter(|command| !command.examples.is_empty()) {
        let mut arguments = vec!["-s", "--no-rc", "--color", "never", "vmcore"];
        let mark = format!("echo \"{MARK}\"");
        for line in &command.examples {
            let line = if writes_files(line) { "#" } else { line };
            arguments.extend(["-c", &mark, "-c", line]);
        }
        let (text, _) = mortis.run(&arguments)?;
        let separator = format!("{MARK}\n");
        let answers = text.split(&separator).skip(1);
        let examples = command
            .examples
            .iter()
            .zip(answers)
            .map(|(line, answer)| Example { line: line.clone(), answer: shortened(answer) });
        all.push(Answers { command: command.name.clone(), examples: examples.collect() });
    }
    Ok(all)
}

fn writes_files(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.contains(&">")
        || words.contains(&">>")
        || matches!(words[..], ["gcore", ..] | ["trace", "dump", ..] | ["rd", "-r", ..])
        || line.starts_with("files -p") && words.len() > 3
}

fn shortened(answer: &str) -> Vec<String> {
    let mut lines: Vec<String> = answer.trim_end().lines().map(cut).collect();
    if lines.len() > LINES + SPARE {
        lines.truncate(LINES);
        lines.push("...".to_owned());
    }
    lines
}

/// A line that fits a page, without blanks at its end.
fn cut(line: &str) -> String {
    let line = line.trim_end();
    match line.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

/// The file that `help` reads its examples from.
pub fn text(all: &[Answers]) -> String {
    let mut text = String::from("Made by 'cargo xtask docs': do not edit.\n");
    for Answers { command, examples } in all {
        text.push_str(&format!("\n=== {command}\n"));
        for (index, Example { line, answer }) in examples.iter().enumerate() {
            if index > 0 && !(answer.is_empty() && examples[index - 1].answer.is_empty()) {
                text.push('\n');
            }
            text.push_str(&format!("mortis> {line}\n"));
            for line in answer {
                text.push_str(&format!("{line}\n"));
            }
        }
    }
    text
}
