//! ELF and DWARF of the lab's kernels and module, against what the kernel and its compiler say
//! in other places: the symbol table, BTF, and the oops that the dying kernel printed.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use mortis_debuginfo::btf::Btf;
use mortis_debuginfo::dwarf::{Dwarf, DwarfTypes};
use mortis_debuginfo::elf::{BuildId, ElfFile, ElfSymbolKind, ModuleLayout};
use mortis_debuginfo::types::{Type, TypeId, TypeSource, type_name};
use mortis_debuginfo::{Image, MappedFile};
use mortis_memory::{LinkAddr, VirtAddr};

const KERNELS: [&str; 2] = ["6.12", "7.x"];

fn open(path: &Path) -> Arc<ElfFile> {
    let file = File::open(path).expect("the lab's file");
    let image = MappedFile::map(&file).expect("maps");
    Arc::new(ElfFile::open(Arc::new(image)).expect("a sound file"))
}

fn vmlinux(kernel: &str) -> Arc<ElfFile> {
    open(&mortis_lab::vmlinux(kernel))
}

#[test]
fn a_kernel_says_which_it_is() {
    for kernel in KERNELS {
        let elf = vmlinux(kernel);
        assert!(elf.is_kernel() && !elf.is_module());
        let id = elf.build_id().expect("sound notes").expect("a build-id");
        assert_eq!(id.0.len(), 20);
        // The same note is in the kernel's memory, between __start_notes and __stop_notes.
        let notes = elf.section_data(".notes").expect("sound").expect("present");
        assert_eq!(BuildId::find_in_notes(notes), Some(id));
        let banner = elf.linux_banner().expect("a banner");
        let start = format!("Linux version {} ", mortis_lab::release(kernel));
        assert!(banner.starts_with(start.as_bytes()));
    }
}

#[test]
fn functions_of_dwarf_are_those_of_the_symbol_table() {
    for kernel in KERNELS {
        let elf = vmlinux(kernel);
        let dwarf = Dwarf::new(elf.clone()).expect("has DWARF");
        let symbols = elf.symbols().expect("a symbol table");
        let functions = symbols.filter(|symbol| {
            // Rust's symbols are mangled.
            symbol.kind == ElfSymbolKind::Function
                && symbol.typed
                && symbol.size > 0
                && !symbol.name.starts_with(b"_R")
        });
        let (mut known, mut agree) = (0, 0);
        for symbol in functions.step_by(97) {
            let Some(function) = dwarf.function_at(symbol.address).expect("sound DWARF") else {
                continue;
            };
            known += 1;
            // `foo.cold`, `foo.isra.0` and `foo.constprop.0` are all foo.
            let name = String::from_utf8_lossy(symbol.name);
            let name = name.split('.').next().unwrap_or_default();
            let aliased = function.start == symbol.address;
            assert!(aliased || *function.name == *name, "{name} is {function:?}");
            agree += usize::from(*function.name == *name);
            let frames = dwarf.frames_at(symbol.address).expect("sound DWARF");
            assert_eq!(frames.last().map(|frame| &frame.function), Some(&function.name));
        }
        assert!(known > 500, "{kernel}: DWARF knows {known} functions");
        // System calls have three names, `__x64_sys_read` among them, and share code.
        assert!(agree * 100 > known * 95, "{kernel}: {agree} of {known}");
    }
}

#[test]
fn units_without_aranges_answer_alike() {
    let path = mortis_lab::vmlinux("6.12");
    let elf = open(&path);
    // The section's name in the string table, spoiled: no reader finds the section any more.
    let mut bytes = std::fs::read(&path).expect("the lab's file");
    let name = b".debug_aranges\0";
    let at = bytes.windows(name.len()).rposition(|window| window == name).expect("the name");
    bytes[at + 1] = b'x';
    let clang = Arc::new(ElfFile::open(Arc::new(bytes)).expect("a sound file"));
    assert!(clang.section(".debug_aranges").is_none());

    let (with, without) =
        (Dwarf::new(elf.clone()).expect("has DWARF"), Dwarf::new(clang).expect("has DWARF"));
    let symbols = elf.symbols().expect("a symbol table");
    let functions = symbols.filter(|symbol| symbol.kind == ElfSymbolKind::Function);
    for symbol in functions.step_by(499) {
        let address = symbol.address.offset(symbol.size / 2);
        assert_eq!(with.frames_at(address), without.frames_at(address), "{address}");
    }
}

/// A type in words, as deep as its own members.
fn describe(types: &dyn TypeSource, id: TypeId) -> String {
    match &*types.get(id).expect("decodes") {
        Type::Compound(compound) => {
            let members: Vec<_> = compound
                .members
                .iter()
                .map(|member| {
                    let ty = type_name(types, member.ty);
                    // pahole makes one dimension of several when it writes BTF.
                    let ty = match ty.matches('[').count() {
                        0 | 1 => ty,
                        _ => one_dimension(&ty),
                    };
                    (member.name.clone(), ty, member.bit_offset, member.bit_size)
                })
                .collect();
            format!("{:?} {} {members:?}", compound.kind, compound.size)
        }
        Type::Enum(kind) => format!("{} {:?}", kind.signed, kind.variants),
        Type::Typedef { target, .. } => type_name(types, *target),
        other => format!("{other:?}"),
    }
}

/// `u8 [3][66]` to `u8 [198]`.
fn one_dimension(ty: &str) -> String {
    let start = ty.find('[').unwrap_or(ty.len());
    let (element, dimensions) = ty.split_at(start);
    let counts = dimensions.split(['[', ']']).filter_map(|count| count.parse::<u64>().ok());
    format!("{element}[{}]", counts.product::<u64>())
}

#[test]
fn dwarf_and_btf_describe_the_same_types() {
    for kernel in KERNELS {
        let elf = vmlinux(kernel);
        let section = elf.shared_section_data(".BTF").expect("sound").expect("has BTF");
        let btf = Btf::new("BTF", Arc::new(section)).expect("sound BTF");
        let dwarf = DwarfTypes::new(Arc::new(Dwarf::new(elf).expect("has DWARF")), "DWARF");
        let mut names = Vec::new();
        btf.for_each_name(&mut |namespace, name, _| names.push((namespace, name.to_owned())));
        let (mut compared, mut different) = (0, Vec::new());
        for (namespace, name) in &names {
            let (Some(in_btf), Some(in_dwarf)) =
                (btf.lookup(*namespace, name), dwarf.lookup(*namespace, name))
            else {
                // A type that is declared in a function is in BTF only.
                continue;
            };
            compared += 1;
            let (in_btf, in_dwarf) = (describe(&btf, in_btf), describe(&dwarf, in_dwarf));
            if in_btf != in_dwarf {
                different.push(format!("{namespace:?} {name}\n  {in_btf}\n  {in_dwarf}"));
            }
        }
        assert!(compared > 11_000 && names.len() - compared < 50, "{compared} of {}", names.len());
        assert!(different.is_empty(), "{}", different.join("\n"));
    }
}

#[test]
fn variables_have_addresses_and_types() {
    for kernel in KERNELS {
        let elf = vmlinux(kernel);
        let dwarf = DwarfTypes::new(Arc::new(Dwarf::new(elf.clone()).expect("has DWARF")), "DWARF");
        for (name, ty) in [
            ("init_task", "struct task_struct"),
            ("init_mm", "struct mm_struct"),
            ("super_blocks", "struct list_head"),
            ("panic_timeout", "int"),
        ] {
            let (id, address) = dwarf.variable_at(name).expect("sound").expect(name);
            assert_eq!(type_name(&dwarf, id), ty);
            let mut symbols = elf.symbols().expect("a symbol table");
            let symbol = symbols.find(|symbol| symbol.name == name.as_bytes()).expect(name);
            assert_eq!(address, Some(symbol.address), "{name}");
        }
    }
}

#[test]
fn a_module_where_it_was_loaded() {
    for kernel in KERNELS {
        let elf = open(&mortis_lab::module_debug(kernel, "mortis_lab"));
        assert!(elf.is_module());
        let dwarf = Dwarf::new(elf.clone()).expect("has DWARF");
        let text = VirtAddr(0xffff_ffff_c050_1000);
        let layout = ModuleLayout::new(&elf, [(".text", text)]);
        let mut functions = 0;
        for symbol in elf.symbols().expect("a symbol table") {
            let in_text = elf.section_at(symbol.address).is_some_and(|s| &*s.name == ".text");
            if !in_text || !symbol.typed || symbol.size == 0 || symbol.name.starts_with(b"__pfx_") {
                continue;
            }
            let loaded = layout.to_loaded(symbol.address).expect("in .text");
            let link = layout.to_link(loaded.offset(symbol.size - 1)).expect("in .text");
            let function = dwarf.function_at(link).expect("sound DWARF").expect("a function");
            let name = String::from_utf8_lossy(symbol.name);
            assert_eq!(Some(&*function.name), name.split('.').next());
            assert_eq!(function.start, symbol.address);
            let line = dwarf.line_at(link).expect("sound DWARF").expect("a line");
            assert!(line.file.path.ends_with("mortis_lab.c") || line.file.path.ends_with(".h"));
            functions += 1;
        }
        assert!(functions > 3);
        let types = DwarfTypes::new(Arc::new(dwarf), "DWARF");
        let module = types.lookup(mortis_debuginfo::types::Namespace::Struct, "module");
        assert!(module.is_some());
    }
}

#[test]
fn a_damaged_module_does_no_harm() {
    let sound = std::fs::read(mortis_lab::module_debug("6.12", "mortis_lab")).expect("readable");
    let step = sound.len() / 200;
    for at in (64..sound.len()).step_by(step) {
        let mut damaged = sound.clone();
        damaged[at..].iter_mut().step_by(step / 3).for_each(|byte| *byte ^= 0x55);
        exercise(damaged);
        exercise(sound[..at].to_vec());
    }
}

/// Asks for much; only panics and hangs matter.
fn exercise(bytes: impl Image + 'static) {
    let Ok(elf) = ElfFile::open(Arc::new(bytes)) else { return };
    let elf = Arc::new(elf);
    let Ok(dwarf) = Dwarf::new(elf.clone()) else { return };
    for section in elf.sections().iter().filter(|section| section.executable) {
        for offset in (0..section.size.min(1 << 12)).step_by(64) {
            let address = LinkAddr(section.address.0.wrapping_add(offset));
            let _ = dwarf.frames_at(address);
        }
    }
    let types = DwarfTypes::new(Arc::new(dwarf), "DWARF");
    let mut ids = Vec::new();
    types.for_each_name(&mut |_, _, id| ids.push(id));
    for id in ids {
        let _ = types.get(id);
    }
}
