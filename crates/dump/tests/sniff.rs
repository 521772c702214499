//! What files are said to be.

use mortis_dump::{
    ContainerKind, Dump, DumpKind, FileKind, Foreign, OpenOptions, sniff, sniff_source,
};
use mortis_dump_synthetic::{Codec, ElfWriter, KdumpWriter};
use std::sync::Arc;

#[test]
fn dumps_are_dumps() {
    let kdump = KdumpWriter::small(Codec::Zlib).write();
    assert_eq!(sniff_source(&kdump), FileKind::Dump(DumpKind::Kdump));
    assert_eq!(sniff_source(&ElfWriter::default().write()), FileKind::Dump(DumpKind::ElfCore));
}

#[test]
fn elf_files_are_told_apart() {
    let executable = std::env::current_exe().expect("a test has a file");
    assert_eq!(sniff(&executable).expect("it opens"), FileKind::ElfExecutable);
    let mut file = ElfWriter::default().write();
    let mut kind_with = |offset: usize, byte: u8| {
        let old = std::mem::replace(&mut file[offset], byte);
        let kind = sniff_source(&file);
        file[offset] = old;
        kind
    };
    assert_eq!(kind_with(16, 1), FileKind::ElfRelocatable);
    assert_eq!(kind_with(16, 2), FileKind::ElfExecutable);
    assert_eq!(kind_with(16, 3), FileKind::ElfExecutable);
    assert_eq!(kind_with(16, 9), FileKind::Foreign(Foreign::ElfOther));
    assert_eq!(kind_with(4, 1), FileKind::Foreign(Foreign::Elf32Core));
    assert_eq!(kind_with(5, 2), FileKind::Foreign(Foreign::ElfBigEndian));
}

#[test]
fn dumps_and_what_they_are_wrapped_in_are_told_by_their_first_bytes() {
    let kind = |bytes: &[u8]| sniff_source(&bytes.to_vec());
    let dumps: [(&[u8], DumpKind); 2] = [
        (b"QEVM\0\0\0\x03", DumpKind::QemuStream),
        (b"\xd2\xbe\xd2\xbe\x08\0\0\0", DumpKind::Vmware),
    ];
    for (bytes, dump) in dumps {
        assert_eq!(kind(bytes), FileKind::Dump(dump));
    }
    let containers: [(&[u8], ContainerKind); 4] = [
        (b"makedumpfile\0\0\0\0\0\0\0\0\0\0\0\x01", ContainerKind::Flattened),
        (b"\x1f\x8b\x08\0", ContainerKind::Gzip),
        (b"\xfd7zXZ\0\0", ContainerKind::Xz),
        (b"LibvirtQemudSave", ContainerKind::LibvirtSave),
    ];
    for (bytes, container) in containers {
        assert_eq!(kind(bytes), FileKind::Container(container));
    }
}

#[test]
fn what_is_not_read_is_named() {
    let kind = |bytes: &[u8]| sniff_source(&bytes.to_vec());
    let mut swap = vec![1; 4096];
    swap[4086..4095].copy_from_slice(b"S1SUSPEND");
    let mut disk = vec![0; 4096];
    disk[446..451].copy_from_slice(&[0x80, 0, 2, 0, 0x83]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut vdi = b"<<< Oracle VM VirtualBox Disk Image >>>\n".to_vec();
    vdi.resize(64, 0);
    vdi.extend([0x7f, 0x10, 0xda, 0xbe]);
    let cases: [(&[u8], Foreign); 18] = [
        (b"", Foreign::Empty),
        (b"\xed\x23\x8f\x61\x73\x01\x19\xa8", Foreign::Lkcd),
        (b"[    0.000000] Linux version 6.12\n", Foreign::Text),
        (&[0; 4096], Foreign::Zeroes),
        (b"\xed\xab\xee\xdb\x03\0", Foreign::Rpm),
        (b"LinuxGuestRecord\0", Foreign::XenSave),
        (b"\xff\xff\xff\xff\xff\xff\xff\xffXENF\0\0\0\x02", Foreign::XenSave),
        (b"Xen saved domain, xl format\n \0 \r", Foreign::XlSave),
        (b"\xed\xeb\x0f\xf0", Foreign::XenCore),
        (b"\x14\x20\x28\x01\0\0", Foreign::HyperV),
        (b"\x7fVirtualBox SavedState V2.0\n", Foreign::VirtualBoxState),
        (b"PAGEDU64", Foreign::WindowsDump),
        (b"KDMV\x01\0\0\0", Foreign::Vmdk),
        (b"conectix\0\0\0\x02", Foreign::Vhd),
        (b"vhdxfile", Foreign::Vhdx),
        (&vdi, Foreign::Vdi),
        (&swap, Foreign::Hibernation),
        (&disk, Foreign::Disk),
    ];
    for (bytes, foreign) in cases {
        assert_eq!(kind(bytes), FileKind::Foreign(foreign));
        let error = Dump::from_source(Arc::new(bytes.to_vec()), "file", OpenOptions::default());
        let error = error.expect_err("it is no dump").to_string();
        assert_eq!(error, format!("file: this is {foreign}"));
    }
    let mut image = vec![0x4d; 0x300];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    assert_eq!(kind(&image), FileKind::Foreign(Foreign::BootImage));
    assert_eq!(kind(b"\x01\x02\x03\x04\0\0"), FileKind::Unknown);
}

#[test]
fn folders_and_missing_files_are_the_systems_errors() {
    assert!(sniff("/".as_ref()).is_err());
    let error = Dump::open("/nonexistent/vmcore").expect_err("there is no such file");
    assert!(error.to_string().starts_with("/nonexistent/vmcore: "), "{error}");
}
