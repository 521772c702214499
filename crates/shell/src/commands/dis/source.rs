//! `dis -s`: the source that an address was compiled from.

use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use mortis_debuginfo::dwarf::SourceFile;
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Which line of which file an address was compiled from.
#[derive(Serialize)]
struct Origin {
    file: String,
    line: u32,
}

impl Render for Origin {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("FILE: {}\nLINE: {}\n\n", self.file, self.line));
    }
}

/// A line of the source.
#[derive(Serialize)]
struct Listed {
    line: u32,
    text: String,
    /// Whether it is the one that was asked for.
    wanted: bool,
}

impl Render for Listed {
    fn render(&self, out: &mut String, _: Style) {
        let mark = if self.wanted { '*' } else { ' ' };
        out.push_str(&format!("{mark} {}\t{}\n", self.line, self.text));
    }
}

/// Lines shown before the one that was asked for.
const BEFORE: u32 = 5;

/// A larger file is no source.
const MAX_FILE: u64 = 64 << 20;

/// Lists the source around `address`, which the user called `word`, up to the end of its function
/// or `count` lines further.
pub(super) fn list(
    session: &Session,
    word: &str,
    address: VirtAddr,
    count: Option<u64>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let symbol = kernel.symbol_at(address).filter(|(symbol, _)| kernel.is_code(symbol));
    let Some((symbol, _)) = symbol else {
        return Err(CommandError::Message(format!("{:x}: not a kernel text address", address.0)));
    };
    if let Some(module) = symbol.module.as_deref()
        && kernel.module_file(module).is_none()
    {
        return Err(CommandError::Message(format!(
            "{module}: module source code is not available; mod -s {module} uses its file"
        )));
    }
    let unknown = || format!("{word}: source code is not available\n");
    let Some(line) = kernel.line_at(address) else {
        out.layout("FILE: (unknown)\nLINE: (unknown)\n\n")?;
        return Err(CommandError::Message(unknown()));
    };
    let file = line.file.path.to_string();
    out.emit(&Origin { file, line: line.line })?;
    let source = find(session.settings.source.as_deref(), &line.file);
    let Some(text) = source.and_then(|path| read(&path)) else {
        return Err(CommandError::Message(unknown()));
    };
    for listed in chosen(&text, line.line, count) {
        out.emit(&listed)?;
    }
    Ok(out.layout("\n")?)
}

/// The lines to show: from a few before `wanted` on to the end of the function, or `count` lines
/// further.
fn chosen(text: &str, wanted: u32, count: Option<u64>) -> Vec<Listed> {
    let first = wanted.saturating_sub(BEFORE).max(1);
    let last = count.map(|count| u64::from(wanted).saturating_add(count));
    let mut lines = Vec::new();
    for (line, text) in (1..).zip(text.lines()).skip(first as usize - 1) {
        if last.is_some_and(|last| u64::from(line) > last) {
            break;
        }
        lines.push(Listed { line, text: text.to_owned(), wanted: line == wanted });
        // A brace in the first column ends a function.
        if last.is_none() && line > wanted && text == "}" {
            break;
        }
    }
    lines
}

fn read(path: &Path) -> Option<String> {
    let size = fs::metadata(path).ok()?.len();
    let bytes = (size <= MAX_FILE).then(|| fs::read(path).ok())??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where the source is: below `directory`, or where the compiler found it.
///
/// The compiler's path may begin with where the kernel was built; what of it is below the top of
/// the sources is not known, so ever shorter ends of it are tried.
fn find(directory: Option<&Path>, file: &SourceFile) -> Option<PathBuf> {
    let parts: Vec<_> = Path::new(&*file.path)
        .components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect();
    let below = |directory: &Path| {
        let ends = (0..parts.len()).filter_map(|from| parts.get(from..));
        let mut paths = ends.map(|end| directory.join(end.iter().collect::<PathBuf>()));
        paths.find(|path| path.is_file())
    };
    let built = PathBuf::from(file.full_path());
    directory
        .and_then(below)
        .or_else(|| Some(built).filter(|path| path.is_absolute() && path.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "1\n2\n3\n4\n5\n6\nint f()\n{\n\tif (x) {\n\t}\n}\n\nint g;\n";

    fn numbers(wanted: u32, count: Option<u64>) -> Vec<u32> {
        chosen(SOURCE, wanted, count).iter().map(|listed| listed.line).collect()
    }

    #[test]
    fn a_function_is_shown_to_its_end() {
        assert_eq!(numbers(7, None), (2..=11).collect::<Vec<_>>());
        assert_eq!(numbers(9, Some(1)), (4..=10).collect::<Vec<_>>());
        assert_eq!(numbers(1, Some(0)), [1]);
        assert_eq!(numbers(13, None), (8..=13).collect::<Vec<_>>());
        assert_eq!(numbers(1000, None), [0; 0]);
        assert!(chosen(SOURCE, 7, None)[5].wanted);
    }
}
