//! Symbols and whole lines, as gdb's `x/i` and crash's `dis` print them.

use mortis_disasm::{
    Architecture, Disassembler, Instruction, OffsetRadix, Style, SymbolOffset, TextOptions,
};
use mortis_memory::VirtAddr;

/// The start of 6.12's sysrq_handle_crash.
const START: VirtAddr = VirtAddr(0xffff_ffff_818b_51b0);
const CODE: &[u8] = &[
    0xf3, 0x0f, 0x1e, 0xfa, // endbr64
    0xe8, 0xf7, 0x72, 0x7d, 0xff, // call __fentry__
    0xe8, 0x72, 0xd0, 0x8b, 0xff, // call __rcu_read_unlock
    0x48, 0xc7, 0xc7, 0x95, 0x09, 0x4b, 0x82, // mov
    0x48, 0x8d, 0x05, 0x10, 0x00, 0x00, 0x00, // lea
    0xeb, 0xe3, // jmp
];

fn symbol(address: VirtAddr) -> Option<SymbolOffset<'static>> {
    const SYMBOLS: [(&str, u64); 3] = [
        ("__fentry__", 0xffff_ffff_8108_c4b0),
        ("__rcu_read_unlock", 0xffff_ffff_8117_2230),
        ("sysrq_handle_crash", START.0),
    ];
    let (name, start) = SYMBOLS.into_iter().rfind(|&(_, start)| start <= address.get())?;
    Some(SymbolOffset { name: name.into(), offset: address.get() - start })
}

fn lines(options: &TextOptions<'_>) -> Vec<String> {
    let disassembler = Disassembler::new(Architecture::X86_64);
    disassembler.function(START, CODE).map(|instruction| instruction.line(options)).collect()
}

#[test]
fn lines_are_those_of_gdb() {
    let options = TextOptions { symbols: &symbol, ..TextOptions::default() };
    let expected = [
        "0xffffffff818b51b0 <sysrq_handle_crash>:\tendbr64",
        "0xffffffff818b51b4 <sysrq_handle_crash+4>:\tcall   0xffffffff8108c4b0 <__fentry__>",
        "0xffffffff818b51b9 <sysrq_handle_crash+9>:\tcall   0xffffffff81172230 \
         <__rcu_read_unlock>",
        "0xffffffff818b51be <sysrq_handle_crash+14>:\tmov    $0xffffffff824b0995,%rdi",
        "0xffffffff818b51c5 <sysrq_handle_crash+21>:\tlea    0x10(%rip),%rax        \
         # 0xffffffff818b51dc <sysrq_handle_crash+44>",
        "0xffffffff818b51cc <sysrq_handle_crash+28>:\tjmp    0xffffffff818b51b1 \
         <sysrq_handle_crash+1>",
    ];
    assert_eq!(lines(&options), expected);
}

#[test]
fn offsets_are_hexadecimal_on_demand() {
    let options =
        TextOptions { style: Style::Intel, offsets: OffsetRadix::Hexadecimal, symbols: &symbol };
    assert_eq!(
        lines(&options)[4],
        "0xffffffff818b51c5 <sysrq_handle_crash+0x15>:\tlea    rax,[rip+0x10]        \
         # 0xffffffff818b51dc <sysrq_handle_crash+0x2c>"
    );
}

#[test]
fn without_symbols_addresses_stand_alone() {
    assert_eq!(lines(&TextOptions::default())[1], "0xffffffff818b51b4:\tcall   0xffffffff8108c4b0");
}

#[test]
fn a_function_is_decoded_to_its_last_byte() {
    let disassembler = Disassembler::new(Architecture::X86_64);
    // The second call is cut short after three bytes: e8 72 d0.
    let cut: Vec<Instruction> = disassembler.function(START, &CODE[..12]).collect();
    let texts: Vec<String> =
        cut.iter().map(|instruction| instruction.text(&TextOptions::default())).collect();
    assert_eq!(
        texts,
        ["endbr64", "call   0xffffffff8108c4b0", "(bad)", "jb     0xffffffff818b518c"]
    );
    assert_eq!(cut.iter().map(Instruction::len).sum::<usize>(), 12);
}

#[test]
fn bytes_after_ud2_are_skipped_on_demand() {
    let code = [0x0f, 0x0b, 0x12, 0x34, 0xc3];
    let disassembler = Disassembler::new(Architecture::X86_64);
    let addresses = |skip| -> Vec<u64> {
        disassembler
            .function(START, &code)
            .skip_after_ud2(skip)
            .map(|instruction| instruction.address.get() - START.get())
            .collect()
    };
    assert_eq!(addresses(0)[..2], [0, 2]);
    assert_eq!(addresses(2), [0, 4]);
    assert_eq!(addresses(usize::MAX), [0]);
}
