//! Running a program once and telling its answers to many lines apart.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A number that no answer has by chance, with the line's number in its low bits: the two
/// programs are asked to `eval` it between the lines.
const MARK: u64 = 0x6d6f_7274_6973_0000;

/// Lines that `eval` answers with.
const EVAL_LINES: usize = 4;

/// One of the two.
pub struct Program {
    path: PathBuf,
    arguments: Vec<PathBuf>,
}

impl Program {
    pub fn mortis(path: PathBuf, vmlinux: &Path, vmcore: &Path) -> Self {
        let arguments = ["--no-rc".into(), "-s".into(), vmlinux.to_owned(), vmcore.to_owned()];
        Self { path, arguments: arguments.into() }
    }

    pub fn crash(path: PathBuf, vmlinux: &Path, vmcore: &Path) -> Self {
        let arguments = ["--no_crashrc".into(), "-s".into(), vmlinux.to_owned(), vmcore.to_owned()];
        Self { path, arguments: arguments.into() }
    }

    /// What it says, errors included and in their place, to `lines`.
    pub fn run(&self, lines: &str) -> String {
        let folder = std::env::temp_dir().join(format!("mortis-runbook-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let name = self.path.file_name().expect("a program").to_string_lossy().into_owned();
        let (input, output) =
            (folder.join(format!("{name}.in")), folder.join(format!("{name}.out")));
        std::fs::write(&input, lines).expect("the lines can be written");
        let out = std::fs::File::create(&output).expect("the answers can be written");
        let errors = out.try_clone().expect("a second handle");
        Command::new(&self.path)
            .args(&self.arguments)
            .arg("-i")
            .arg(&input)
            .env("TERM", "dumb")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .status()
            .expect("the program starts");
        let answers = std::fs::read(&output).expect("the answers");
        String::from_utf8_lossy(&answers).into_owned()
    }
}

/// The answer to each of `lines`.
pub fn answers(program: &Program, lines: &[&str]) -> Vec<String> {
    let mut input = String::new();
    for (number, line) in lines.iter().enumerate() {
        input.push_str(&format!("eval {:#x}\n{line}\n", MARK + number as u64));
    }
    input.push_str(&format!("eval {:#x}\nq\n", MARK + lines.len() as u64));
    let said = program.run(&input);
    let mut answers = vec![String::new(); lines.len()];
    let (mut current, mut skip) = (None, 0);
    for line in said.split_inclusive('\n') {
        if let Some(number) = marked(line) {
            current = Some(number);
            skip = EVAL_LINES - 1;
        } else if skip > 0 {
            skip -= 1;
        } else if let Some(answer) = current.and_then(|number: usize| answers.get_mut(number)) {
            answer.push_str(line);
        }
    }
    assert_eq!(
        current,
        Some(lines.len()),
        "{}: ended early:\n{said:.2000}",
        program.path.display()
    );
    answers
}

/// The number of the line that is asked next, when `line` starts a mark.
fn marked(line: &str) -> Option<usize> {
    let digits = line.strip_prefix("hexadecimal: ")?.split_whitespace().next()?;
    let value = u64::from_str_radix(digits, 16).ok()?;
    (value & !0xffff == MARK).then_some((value & 0xffff) as usize)
}
