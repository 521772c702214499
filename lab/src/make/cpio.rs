//! Initial RAM file systems: a cpio archive ("newc"), uncompressed.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// An archive that grows in memory.
#[derive(Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CONSOLE: u32 = 0o020_600;

impl Cpio {
    /// An archive with `/dev/console`, `/bin` and busybox under the names given.
    pub fn with_busybox(applets: &[&str]) -> Result<Cpio> {
        let mut cpio = Cpio::default();
        for dir in ["bin", "dev", "modules"] {
            cpio.directory(dir);
        }
        // Without it pid 1 has no standard output.
        cpio.entry("dev/console", CONSOLE, &[], (5, 1));
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context("no busybox: apt-get install busybox-static")?;
        cpio.file("bin/busybox", Path::new(busybox))?;
        for applet in applets {
            cpio.link(&format!("bin/{applet}"), "busybox");
        }
        Ok(cpio)
    }

    /// Adds a folder (its parents first).
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, &[], (0, 0));
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) {
        self.entry(name, LINK, target.as_bytes(), (0, 0));
    }

    /// Adds an executable file with these contents.
    pub fn bytes(&mut self, name: &str, contents: &[u8]) {
        self.entry(name, PROGRAM, contents, (0, 0));
    }

    /// Adds an executable file with the contents of another.
    pub fn file(&mut self, name: &str, from: &Path) -> Result<()> {
        let contents = fs::read(from).with_context(|| from.display().to_string())?;
        self.bytes(name, &contents);
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8], device: (u32, u32)) {
        self.entries += 1;
        // inode mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            contents.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            // Writing to a Vec cannot fail.
            let _ = write!(self.bytes, "{field:08X}");
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Ends the archive and writes it.
    pub fn write(mut self, path: &Path) -> Result<()> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        fs::write(path, &self.bytes).with_context(|| path.display().to_string())
    }
}
