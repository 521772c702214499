//! The small dump that is kept in the repository.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{one, progress};
use crate::store::Store;
use crate::table;

const KERNEL: &str = "6.12";
const CASE: &str = "sample";
const CAPTURES: &[&str] = &["c31", "z31"];
const NAME: &str = "null-dereference-6.12";
const LIMIT: u64 = 24 << 20;

/// Makes `dir/null-dereference-6.12.vmcore` and its console.
pub fn sample(dir: &Path) -> Result<()> {
    let store = Store::find()?;
    let _lock = store.lock()?;
    let kernel = table::kernel(KERNEL).context("the sample's kernel is not in the table")?;
    let case = table::case(CASE).context("the sample's case is not in the table")?;
    one(&store, kernel, case, CAPTURES)?;
    let made = store.dump(KERNEL, CASE);
    let size = |name: &&&str| fs::metadata(made.join(name)).map_or(u64::MAX, |m| m.len());
    let smallest = CAPTURES.iter().min_by_key(size).context("no captures")?;
    let bytes = size(&smallest);
    if bytes > LIMIT {
        bail!("the smallest capture, {smallest}, has {bytes} bytes: more than {LIMIT}");
    }
    let vmcore = dir.join(format!("{NAME}.vmcore"));
    fs::copy(made.join(smallest), &vmcore).with_context(|| vmcore.display().to_string())?;
    let console = fs::read(made.join("console.log"))?;
    let console = String::from_utf8_lossy(&console).replace('\r', "");
    fs::write(dir.join(format!("{NAME}.console.txt")), last_words(&console))?;
    progress(format_args!("{}: {smallest}, {bytes} bytes", vmcore.display()));
    Ok(())
}

/// The kernel's name, the addresses of the module's objects, and the oops.
fn last_words(console: &str) -> String {
    let mut lines = console.lines();
    let before = |line: &&str| !line.ends_with("mortis-lab: dying of null");
    let boot: Vec<_> = lines.by_ref().take_while(before).collect();
    let named = ["Linux version", "Command line:", "mortis_lab: items", "mortis_lab: cache"];
    let mut text = String::new();
    for name in named {
        for line in boot.iter().filter(|line| line.contains(name)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str("[...]\n");
    // The next line like the first is the capture kernel's.
    for line in lines.take_while(|line| !line.contains("Linux version")) {
        text.push_str(line);
        text.push('\n');
    }
    text
}
