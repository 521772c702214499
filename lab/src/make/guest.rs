//! One guest, from boot to dump.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cpio::Cpio;
use super::process::{command, run as run_command, show, tail, wait};
use super::{peers, progress};
use crate::store::Store;
use crate::table::{self, Case, Kernel, MODULES, Paging, SERVICE_MODULES};

/// Pid 1 of the guest.
pub const INIT: &str = include_str!("../../guest/init");
/// Pid 1 of its capture kernel.
pub const CAPTURE: &str = include_str!("../../guest/capture");

const APPLETS: &[&str] = &[
    "cat", "cut", "dd", "echo", "free", "grep", "hostname", "ifconfig", "insmod", "losetup", "ls",
    "mkdir", "mkswap", "mount", "poweroff", "ps", "sh", "sleep", "stat", "swapon", "sync", "tail",
    "tr", "umount", "uname",
];

/// The machine's own QEMU.
pub const QEMU: &str = "qemu-system-x86_64";

/// What a finished guest leaves.
pub struct Run {
    /// Everything of this run; removed at the end.
    pub dir: PathBuf,
    /// What will be kept; has `console.log` already.
    pub product: PathBuf,
    /// The disk with the truth.
    pub truth_disk: PathBuf,
    /// The disk with the dumps.
    pub dump_disk: PathBuf,
    /// QEMU's command line.
    pub command: String,
}

impl Run {
    /// An empty folder for the guest.
    pub fn new(store: &Store, kernel: &Kernel, case: &Case) -> Result<Run> {
        let dir = store.temporary(&format!("guest-{}-{}", kernel.key, case.name))?;
        let product = dir.join("product");
        fs::create_dir_all(&product)?;
        Ok(Run {
            truth_disk: dir.join("truth.disk"),
            dump_disk: dir.join("dump.disk"),
            command: String::new(),
            product,
            dir,
        })
    }

    /// The guest's own RAM file system.
    pub fn boot(&self) -> PathBuf {
        self.dir.join("boot.img")
    }

    /// What the guest says on its serial line.
    pub fn console(&self) -> PathBuf {
        self.product.join("console.log")
    }
}

/// Boots the kernel, has it die and be captured.
pub fn run(store: &Store, kernel: &Kernel, case: &Case, captures: &[&str]) -> Result<Run> {
    let large = case.crowd > 0;
    let run = Run::new(store, kernel, case)?;
    let boot = run.boot();
    boot_image(store, kernel, &boot)?;
    let payload = payload(store, kernel, captures, &run.dir)?;
    let (truth_size, dump_size) = if large { ("2G", "24G") } else { ("256M", "4G") };
    disk(&run.truth_disk, truth_size, &["-t", "ext2", "-d"], Some(&payload))?;
    disk(&run.dump_disk, dump_size, &["-t", "ext4", "-O", "^has_journal"], None)?;
    let console = run.console();
    let mut qemu = qemu(store, kernel, case, &run, &boot, &console);
    let run = Run { command: show(&qemu), ..run };
    let said = File::create(run.dir.join("qemu.log"))?;
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()
        .context("cannot run qemu-system-x86_64: apt-get install qemu-system-x86")?;
    let mut shown = 0;
    let ended = wait(&mut child, Duration::from_secs(case.timeout), || {
        shown = follow(&console, shown, kernel, case);
    })?;
    follow(&console, shown, kernel, case);
    let text = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
    if text.lines().any(|line| line.contains("mortis-lab: captured")) {
        return Ok(run);
    }
    let why = if ended { "the guest ended without a dump" } else { "the guest took too long" };
    let qemu_said = fs::read_to_string(run.dir.join("qemu.log")).unwrap_or_default();
    bail!(
        "{why}; its console is {}:\n{}\n{}",
        console.display(),
        tail(&text, 25),
        tail(&qemu_said, 5)
    )
}

/// The guest's own RAM file system: just enough to find the disk.
pub fn boot_image(store: &Store, kernel: &Kernel, to: &Path) -> Result<()> {
    let mut cpio = Cpio::with_busybox(APPLETS)?;
    pid_1(&mut cpio, store, kernel, INIT)?;
    cpio.write(to)
}

/// The script that is pid 1, with what it needs to find a disk.
fn pid_1(cpio: &mut Cpio, store: &Store, kernel: &Kernel, script: &str) -> Result<()> {
    let modules = store.kernel(kernel.key).join("modules");
    for name in kernel.first.iter().chain(&["virtio_blk"]) {
        let name = format!("{name}.ko");
        cpio.file(&format!("modules/{name}"), &modules.join(&name))?;
    }
    if kernel.first.is_empty() {
        cpio.bytes("init", script.as_bytes());
        return Ok(());
    }
    let mut first = "#!/bin/busybox sh\n".to_owned();
    for name in kernel.first {
        first.push_str(&format!("/bin/busybox insmod /modules/{name}.ko\n"));
    }
    first.push_str("exec /init.lab\n");
    cpio.bytes("init", first.as_bytes());
    cpio.bytes("init.lab", script.as_bytes());
    Ok(())
}

/// The capture kernel's RAM file system.
fn capture_image(store: &Store, kernel: &Kernel, captures: &[&str], to: &Path) -> Result<()> {
    let mut cpio = Cpio::with_busybox(APPLETS)?;
    pid_1(&mut cpio, store, kernel, CAPTURE)?;
    cpio.file("bin/makedumpfile", &peers::makedumpfile(store))?;
    cpio.directory("lib64");
    for library in peers::makedumpfile_libraries(store)? {
        let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        cpio.file(&format!("lib64/{name}"), &library)?;
    }
    cpio.link("lib", "lib64");
    let mut list = String::new();
    // Filtered ones first: small and wanted most.
    for capture in table::CAPTURES.iter().filter(|capture| captures.contains(&capture.name)) {
        list.push_str(&format!("{} {}\n", capture.name, capture.options));
    }
    cpio.bytes("captures", list.as_bytes());
    cpio.write(to)
}

/// The folder that becomes the guest's first disk.
fn payload(store: &Store, kernel: &Kernel, captures: &[&str], dir: &Path) -> Result<PathBuf> {
    let payload = life(store, kernel, dir)?;
    fs::copy(store.kernel(kernel.key).join("vmlinuz"), payload.join("vmlinuz"))?;
    capture_image(store, kernel, captures, &payload.join("capture.img"))?;
    Ok(payload)
}

/// What every guest has on its first disk.
pub fn life(store: &Store, kernel: &Kernel, dir: &Path) -> Result<PathBuf> {
    let payload = dir.join("payload");
    fs::create_dir_all(payload.join("modules"))?;
    let files = store.kernel(kernel.key);
    let built = store.built(kernel.key);
    fs::copy(built.join("guest"), payload.join("guest"))?;
    fs::copy(built.join("mortis_lab.ko"), payload.join("mortis_lab.ko"))?;
    let mut order = String::new();
    for name in MODULES.iter().skip(1).chain(SERVICE_MODULES) {
        let module = format!("{name}.ko");
        let from = files.join("modules").join(&module);
        if from.exists() {
            fs::copy(from, payload.join("modules").join(&module))?;
            if MODULES.contains(name) {
                order.push_str(&format!("{module}\n"));
            }
        }
    }
    fs::write(payload.join("modules/order"), order)?;
    disk(&payload.join("ext4.img"), "16M", &["-t", "ext4"], None)?;
    Ok(payload)
}

/// A disk image with a file system, filled from a folder after the last option.
pub fn disk(path: &Path, size: &str, options: &[&str], from: Option<&Path>) -> Result<()> {
    let mut mke2fs = command("mke2fs");
    mke2fs.args(["-q", "-F", "-E", "lazy_itable_init=1,nodiscard"]).args(options);
    if let Some(from) = from {
        mke2fs.arg(from);
    }
    run_command(mke2fs.arg(path).arg(size))
}

fn qemu(
    store: &Store,
    kernel: &Kernel,
    case: &Case,
    run: &Run,
    boot: &Path,
    console: &Path,
) -> Command {
    let line = kernel_line(case, &format!("panic=5 crashkernel={}M", case.crashkernel));
    let mut qemu = machine(Path::new(QEMU), store, kernel, case, boot, &line);
    qemu.args(["-monitor", "none", "-serial"]).arg(format!("file:{}", console.display())).args([
        "-drive",
        &drive(&run.truth_disk),
        "-drive",
        &drive(&run.dump_disk),
    ]);
    qemu
}

/// The kernel's parameters, with those on how to die in `dying`.
pub fn kernel_line(case: &Case, dying: &str) -> String {
    let mut line = format!(
        "console=ttyS0 {dying} lab_crash={} lab_busy={} lab_crowd={}",
        case.crash.word(),
        case.busy,
        case.crowd
    );
    if !case.parameters.is_empty() {
        line.push(' ');
        line.push_str(case.parameters);
    }
    line
}

/// QEMU's option for a disk of the guest.
pub fn drive(disk: &Path) -> String {
    format!("file={},if=virtio,format=raw,cache=unsafe", disk.display())
}

/// A machine with the kernel and a network card; without disks, monitor and console.
pub fn machine(
    program: &Path,
    store: &Store,
    kernel: &Kernel,
    case: &Case,
    boot: &Path,
    line: &str,
) -> Command {
    let cpu = match case.paging {
        Paging::Four => "max,la57=off",
        Paging::Five => "max",
    };
    let mut qemu = command(program);
    // Hardware virtualisation may look usable and not be: always emulate.
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", cpu])
        .args(["-smp", "2"])
        .args(["-m", &case.memory.to_string()])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(store.kernel(kernel.key).join("vmlinuz"))
        .arg("-initrd")
        .arg(boot)
        .arg("-append")
        .arg(line)
        .args(["-nic", "user,model=virtio-net-pci,restrict=on"]);
    qemu
}

/// Repeats what the guest said to the lab since the last time.
pub fn follow(console: &Path, shown: usize, kernel: &Kernel, case: &Case) -> usize {
    let bytes = fs::read(console).unwrap_or_default();
    let new = bytes.get(shown..).unwrap_or_default();
    let Some(end) = new.iter().rposition(|&byte| byte == b'\n') else {
        return shown;
    };
    for line in String::from_utf8_lossy(&new[..end]).lines() {
        if let Some(text) = line.trim_end().strip_prefix("mortis-lab: ") {
            progress(format_args!("{} {}: {text}", kernel.key, case.name));
        }
    }
    shown + end + 1
}
