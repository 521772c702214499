//! A guest that libvirt runs and writes down, in files that only libvirt writes.
//!
//! The daemon is one of its own, of a session, and believes that it is not root: no user, no
//! network and no folder of the machine's libvirt is touched.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::guest::{self, Run};
use super::harvest::with_holes;
use super::outside;
use super::process::{command, exists, output, run as run_command};
use super::progress;
use crate::store::Store;
use crate::table::{Case, Kernel, Outside};

/// Whether this machine has libvirt.
pub fn is_there() -> bool {
    exists("libvirtd") && exists("virsh")
}

/// Boots the kernel, has it die, and has it saved and dumped.
pub fn run(
    store: &Store,
    kernel: &Kernel,
    case: &Case,
    outside: &Outside,
    forms: &[&str],
) -> Result<Run> {
    let run = Run::new(store, kernel, case)?;
    outside::files(store, kernel, outside, &run)?;
    fs::write(run.console(), "")?;
    let run = Run { command: domain(store, kernel, case, outside, &run), ..run };
    fs::write(run.dir.join("domain.xml"), &run.command)?;
    let mut libvirt = Libvirt::new(&run)?;
    let written = libvirt.write(case, forms);
    libvirt.virsh(&["destroy", NAME]).ok();
    libvirt.stop();
    fs::remove_dir_all(&libvirt.home).ok();
    written?;
    Ok(run)
}

const NAME: &str = "mortis-lab";

/// libvirt's description of the machine.
fn domain(store: &Store, kernel: &Kernel, case: &Case, outside: &Outside, run: &Run) -> String {
    let line = guest::kernel_line(case, "panic=0");
    format!(
        "<domain type='qemu'><name>{NAME}</name><memory unit='MiB'>{}</memory><vcpu>2</vcpu>\
         <os><type arch='x86_64' machine='{}'>hvm</type><kernel>{}</kernel><initrd>{}</initrd>\
         <cmdline>{line}</cmdline></os><features><acpi/></features><cpu mode='maximum'/>\
         <on_crash>preserve</on_crash><devices>\
         <disk type='file' device='disk'><driver name='qemu' type='raw' cache='unsafe'/>\
         <source file='{}'/><target dev='vda' bus='virtio'/></disk>\
         <serial type='file'><source path='{}' append='on'/></serial>\
         <serial type='pipe'><source path='{}'/></serial>\
         <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>\n",
        case.memory,
        outside.machine,
        store.kernel(kernel.key).join("vmlinuz").display(),
        run.boot().display(),
        run.truth_disk.display(),
        run.console().display(),
        run.dir.join("word").display(),
    )
}

/// A daemon that runs.
struct Libvirt<'a> {
    run: &'a Run,
    /// Its own; short, as the names of sockets in it may not be long.
    home: PathBuf,
    daemon: Child,
}

impl<'a> Libvirt<'a> {
    fn new(run: &'a Run) -> Result<Libvirt<'a>> {
        let home = std::env::temp_dir().join(format!("mortis-libvirt-{}", std::process::id()));
        fs::create_dir_all(home.join(".config/libvirt"))?;
        let daemon = start(&home, run, "raw")?;
        Ok(Libvirt { run, home, daemon })
    }

    fn write(&mut self, case: &Case, forms: &[&str]) -> Result<()> {
        let path = |name: &str| self.run.dir.join(name).to_string_lossy().into_owned();
        let xml = path("domain.xml");
        let saved = path("save-raw");
        self.virsh(&["create", &xml])?;
        self.wait_for("mortis-lab: alive", case)?;
        fs::write(self.run.dir.join("word.in"), "die\n")?;
        self.wait_for("end Kernel panic", case)?;
        thread::sleep(Duration::from_secs(1));
        self.virsh(&["suspend", NAME])?;
        let monitor = |libvirt: &Libvirt, line: &str| {
            libvirt.virsh(&["qemu-monitor-command", NAME, "--hmp", line])
        };
        fs::create_dir(self.run.dir.join("qemu"))?;
        for (request, name) in outside::SAYINGS {
            fs::write(self.run.dir.join(name), monitor(self, request)?)?;
        }
        let size = u64::from(case.memory) << 20;
        monitor(self, &format!("pmemsave 0 {size} \"{}\"", path("raw-mem")))?;
        self.virsh(&["save", NAME, &saved])?;
        // What was saved comes back as it was, to be written in other ways.
        for name in forms {
            let packed = name.strip_prefix("save-").filter(|packed| *packed != "raw");
            let options: &[&str] = match *name {
                "virsh-dump" => &[],
                "virsh-elf" => &["--memory-only"],
                "virsh-zlib" => &["--memory-only", "--format", "kdump-zlib"],
                _ if packed.is_some() => &[],
                _ => continue,
            };
            if let Some(packed) = packed {
                self.stop();
                self.daemon = start(&self.home, self.run, packed)?;
            }
            let to = path(name);
            self.virsh(&["restore", &saved, "--paused"])?;
            if packed.is_some() {
                self.virsh(&["save", NAME, &to])?;
            } else {
                self.virsh(&[&["dump", NAME, to.as_str()], options].concat())?;
                self.virsh(&["destroy", NAME])?;
            }
            progress(format_args!("{}: {name}", case.name));
        }
        for name in forms {
            with_holes(&self.run.dir.join(name), &self.run.product.join(name))?;
        }
        Ok(())
    }

    fn wait_for(&self, word: &str, case: &Case) -> Result<()> {
        let start = Instant::now();
        while !fs::read_to_string(self.run.console()).unwrap_or_default().contains(word) {
            if start.elapsed() > Duration::from_secs(case.timeout) {
                bail!("the guest never said {word:?}: see {}", self.run.console().display());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn virsh(&self, words: &[&str]) -> Result<String> {
        virsh(&self.home, words)
    }

    fn stop(&mut self) {
        // It leaves guests alone when it is asked to end.
        let id = self.daemon.id().to_string();
        run_command(command("kill").arg(id)).ok();
        self.daemon.wait().ok();
    }
}

fn virsh(home: &std::path::Path, words: &[&str]) -> Result<String> {
    output(ours("virsh", home).args(["--quiet", "--connect", "qemu:///session"]).args(words))
}

/// Starts a daemon that saves in the form called `packed`.
fn start(home: &std::path::Path, run: &Run, packed: &str) -> Result<Child> {
    fs::write(
        home.join(".config/libvirt/qemu.conf"),
        format!("save_image_format = \"{packed}\"\n"),
    )?;
    let log = File::options().create(true).append(true).open(run.dir.join("libvirtd.log"))?;
    let daemon =
        ours("libvirtd", home).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    for _ in 0..100 {
        if virsh(home, &["list"]).is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(daemon)
}

/// A program of libvirt's, under a user's id in a name space of its own.
fn ours(program: &str, home: &std::path::Path) -> Command {
    let mut unshare = command("unshare");
    unshare
        .args(["--user", "--map-user=1000", "--map-group=1000", program])
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_CACHE_HOME");
    unshare
}
