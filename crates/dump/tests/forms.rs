//! One real guest in every form that QEMU writes: they all hold the same memory and registers.

use mortis_dump::{Dump, Format, OpenError, OpenOptions};
use mortis_memory::{CpuRegisters, PhysAddr, PhysicalMemory};
use std::path::{Path, PathBuf};

const PAGE: usize = 4096;
/// What `-m 256` has, without the part of the first megabyte that is firmware's.
const PAGES: usize = 65536 - 96;

fn path(form: &str) -> PathBuf {
    mortis_lab::dump("6.12", "forms", form)
}

fn open(form: &str, snapshot: Option<&str>) -> Dump {
    let options = OpenOptions { snapshot: snapshot.map(str::to_owned), ..OpenOptions::default() };
    Dump::open_with(path(form), options).expect("a real dump opens")
}

/// How many pages are in the dump, and which of them differ from `truth`, the guest's memory from
/// address 0 on. Up to 1 MiB there is firmware, which forms see differently.
fn compare(dump: &Dump, truth: &Path) -> (usize, Vec<usize>) {
    let truth = std::fs::read(truth).expect("the guest's memory");
    let mut bytes = vec![0; PAGE];
    let (mut present, mut different) = (0, Vec::new());
    for (number, expected) in truth.chunks(PAGE).enumerate() {
        let address = number * PAGE;
        let has_firmware = (0xa_0000..0x10_0000).contains(&address);
        if !has_firmware && dump.read(PhysAddr(address as u64), &mut bytes).is_ok() {
            present += 1;
            if bytes != expected {
                different.push(address);
            }
        }
    }
    (present, different)
}

fn registers(dump: &Dump) -> Vec<CpuRegisters> {
    dump.cpu_registers().iter().map(|cpu| CpuRegisters { pid: 0, ..*cpu }).collect()
}

#[test]
fn the_guest_is_the_same_in_every_form() {
    let elf = open("elf", None);
    assert_eq!(registers(&elf).len(), 2);
    let forms = [
        ("elf", None),
        ("paging", None),
        ("zlib", None),
        ("stream", None),
        ("qcow2", Some("dead")),
    ];
    for (form, snapshot) in forms {
        let dump = open(form, snapshot);
        let (present, different) = compare(&dump, &path("raw-mem"));
        assert!(different.is_empty(), "{form}: {different:x?}");
        // By virtual addresses QEMU writes what page tables map, and some memory is in none.
        assert!(
            present == PAGES || form == "paging" && present > PAGES - 1000,
            "{form}: {present}"
        );
        assert_eq!(registers(&dump), registers(&elf), "{form}");
        assert_eq!(dump.cpu_states(), elf.cpu_states(), "{form}");
        assert!(!dump.is_truncated(), "{form}");
    }
    let stream = open("stream", None);
    assert_eq!(stream.format(), Format::QemuStream { mapped_ram: false });
}

#[test]
fn pages_that_were_sent_as_differences() {
    let dump = open("xbzrle", None);
    let (present, different) = compare(&dump, &path("xbzrle-mem"));
    assert_eq!(present, PAGES);
    // Some of the guest's last writes are in its memory and not in the stream, also in pages that
    // were sent whole: an emulated processor's writes are not all seen in time.
    assert!(different.len() < 300, "{different:x?}");
    assert_eq!(dump.cpu_registers().len(), 2);
}

#[test]
fn a_snapshot_is_chosen_by_its_name() {
    match Dump::open(path("qcow2")) {
        Err(OpenError::Wanting { what, advice, .. }) => {
            assert!(what.contains("\"alive\"") && what.contains("\"dead\""), "{what}");
            assert!(advice.contains("--snapshot"), "{advice}");
        }
        other => panic!("{other:?}"),
    }
    let alive = open("qcow2", Some("alive"));
    assert_ne!(registers(&alive), registers(&open("qcow2", Some("dead"))));
    assert_eq!(alive.cpu_registers().len(), 2);
}
