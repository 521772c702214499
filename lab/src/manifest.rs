//! The note beside each product: `key: value` lines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// How a product was made. A folder without one is not a product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest(Vec<(String, String)>);

const NAME: &str = "manifest";

impl Manifest {
    /// The manifest in `dir`, if there is one.
    pub fn read(dir: &Path) -> Option<Manifest> {
        let text = fs::read_to_string(dir.join(NAME)).ok()?;
        let split = |line: &str| {
            let (key, value) = line.split_once(": ")?;
            Some((key.to_owned(), value.to_owned()))
        };
        Some(Manifest(text.lines().filter_map(split).collect()))
    }

    /// Adds a line.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into().replace('\n', " ");
        self.0.push((key.to_owned(), value));
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(have, _)| have == key)?;
        Some(value)
    }

    /// Writes it into `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let text: String = self.0.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let path = dir.join(NAME);
        fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_disk() {
        let dir = std::env::temp_dir().join(format!("mortis-manifest-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        assert_eq!(Manifest::read(&dir), None);
        let mut manifest = Manifest::default();
        manifest.set("release", "6.12.1");
        manifest.set("command", "a: b\nc");
        manifest.write(&dir).expect("written");
        let read = Manifest::read(&dir).expect("read back");
        fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(read.get("release"), Some("6.12.1"));
        assert_eq!(read.get("command"), Some("a: b c"));
        assert_eq!(read.get("nothing"), None);
    }
}
