//! Instructions as data: control flow, memory operands, registers.

use mortis_disasm::{Access, Architecture, Disassembler, Flow, GeneralRegister, Instruction, Role};
use mortis_memory::{VirtAddr, X86_64Registers};

const ADDRESS: VirtAddr = VirtAddr(0xffff_ffff_8100_0000);

fn instruction(bytes: &[u8]) -> Instruction {
    Disassembler::new(Architecture::X86_64).instruction(ADDRESS, bytes).expect("bytes")
}

#[test]
fn flow_and_target() {
    let cases: &[(&[u8], Flow, Option<u64>)] = &[
        (&[0x90], Flow::Nop, None),
        (&[0x0f, 0x1f, 0x00], Flow::Nop, None),
        (&[0xe8, 0xfb, 0x0f, 0x00, 0x00], Flow::Call, Some(0xffff_ffff_8100_1000)),
        (&[0xff, 0xd0], Flow::Call, None),
        (&[0xeb, 0xfe], Flow::Jump, Some(0xffff_ffff_8100_0000)),
        (&[0xff, 0x25, 0, 0, 0, 0], Flow::Jump, None),
        (&[0x74, 0x02], Flow::ConditionalJump, Some(0xffff_ffff_8100_0004)),
        (&[0xe2, 0xfe], Flow::ConditionalJump, Some(0xffff_ffff_8100_0000)),
        // A jump to address zero is a jump with a target.
        (&[0xe9, 0xfb, 0xff, 0xff, 0x7e], Flow::Jump, Some(0)),
        (&[0xc3], Flow::Return, None),
        (&[0x48, 0xcf], Flow::Return, None),
        (&[0x48, 0x0f, 0x07], Flow::Return, None),
        (&[0x0f, 0x05], Flow::SystemCall, None),
        (&[0xcc], Flow::Breakpoint, None),
        (&[0xcd, 0x80], Flow::Interrupt, None),
        (&[0x0f, 0x0b], Flow::Undefined, None),
        (&[0xf4], Flow::Halt, None),
        (&[0x48, 0x89, 0xe5], Flow::Next, None),
        (&[0x06], Flow::Bad, None),
    ];
    for &(bytes, flow, target) in cases {
        let instruction = instruction(bytes);
        assert_eq!(instruction.flow, flow, "{bytes:02x?}");
        assert_eq!(instruction.target, target.map(VirtAddr), "{bytes:02x?}");
        assert_eq!(instruction.bytes(), bytes);
    }
}

#[test]
fn a_null_dereference_names_its_register() {
    // movb $0x1,(%rax)
    let instruction = instruction(&[0xc6, 0x00, 0x01]);
    let registers = X86_64Registers { rax: 0, rbx: 1, ..X86_64Registers::default() };
    let operand = instruction.memory_at(&registers, VirtAddr(0)).expect("the operand");
    assert_eq!(operand.access, Access::Write);
    assert_eq!(operand.size, 1);
    assert_eq!(operand.role, Role::Explicit);
    assert_eq!(operand.address_registers().collect::<Vec<_>>(), [GeneralRegister::Rax]);
    assert_eq!(GeneralRegister::Rax.value(&registers), 0);
    assert_eq!(instruction.memory_at(&registers, VirtAddr(1)), None);
}

#[test]
fn base_index_scale_displacement() {
    // mov -0x8(%r13,%rcx,4),%rdx
    let instruction = instruction(&[0x49, 0x8b, 0x54, 0x8d, 0xf8]);
    let [operand] = instruction.memory()[..] else { panic!("one operand") };
    assert_eq!(operand.base.map(|base| base.to_string()).as_deref(), Some("r13"));
    assert_eq!(operand.index.map(|index| index.to_string()).as_deref(), Some("rcx"));
    assert_eq!((operand.scale, operand.displacement, operand.size), (4, -8, 8));
    assert_eq!((operand.access, operand.segment, operand.absolute), (Access::Read, None, None));
    let registers = X86_64Registers { r13: 0x1000, rcx: 3, ..X86_64Registers::default() };
    assert_eq!(operand.effective_address(&registers), Some(VirtAddr(0x1004)));
    assert!(operand.covers(&registers, VirtAddr(0x100b)));
    assert!(!operand.covers(&registers, VirtAddr(0x100c)));
    // A negative index wraps as the machine does.
    let registers = X86_64Registers { r13: 0x1000, rcx: u64::MAX, ..X86_64Registers::default() };
    assert_eq!(operand.effective_address(&registers), Some(VirtAddr(0xff4)));
}

#[test]
fn rip_relative_and_per_cpu() {
    // mov 0x10(%rip),%rax
    let [operand] = instruction(&[0x48, 0x8b, 0x05, 0x10, 0, 0, 0]).memory()[..] else {
        panic!("one operand")
    };
    assert!(operand.base.is_some_and(|base| base.is_instruction_pointer()));
    assert_eq!(operand.absolute, Some(VirtAddr(0xffff_ffff_8100_0017)));
    assert_eq!(operand.displacement, 0x10);

    // mov %gs:0x28,%rax: with the per-CPU base of the CPU
    let [operand] = instruction(&[0x65, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0]).memory()[..] else {
        panic!("one operand")
    };
    assert_eq!(operand.segment.map(|segment| segment.to_string()).as_deref(), Some("gs"));
    let registers = X86_64Registers { gs_base: 0x7000, ..X86_64Registers::default() };
    assert_eq!(operand.effective_address(&registers), Some(VirtAddr(0x7028)));
}

#[test]
fn narrow_addresses_wrap_at_4_gib() {
    // mov -0x8(%eax),%eax
    let [operand] = instruction(&[0x67, 0x8b, 0x40, 0xf8]).memory()[..] else {
        panic!("one operand")
    };
    assert_eq!(operand.displacement, -8);
    let registers = X86_64Registers { rax: 0xffff_0000_0000_0004, ..X86_64Registers::default() };
    assert_eq!(operand.effective_address(&registers), Some(VirtAddr(0xffff_fffc)));
}

#[test]
fn the_stack_is_touched_without_being_printed() {
    // push 0x10(%rsp)
    let registers = X86_64Registers { rsp: 0x2000, ..X86_64Registers::default() };
    let touched: Vec<_> = instruction(&[0xff, 0x74, 0x24, 0x10])
        .memory()
        .iter()
        .map(|operand| (operand.role, operand.access, operand.effective_address(&registers)))
        .collect();
    assert_eq!(
        touched,
        [
            (Role::Explicit, Access::Read, Some(VirtAddr(0x2010))),
            (Role::Implicit, Access::Write, Some(VirtAddr(0x1ff8))),
        ]
    );
}

#[test]
fn string_instructions_touch_source_and_destination() {
    // rep movsq
    let registers = X86_64Registers { rsi: 0x10, rdi: 0x20, ..X86_64Registers::default() };
    let touched: Vec<_> = instruction(&[0xf3, 0x48, 0xa5])
        .memory()
        .iter()
        .map(|operand| (operand.access, operand.size, operand.effective_address(&registers)))
        .collect();
    assert_eq!(
        touched,
        [(Access::Write, 8, Some(VirtAddr(0x20))), (Access::Read, 8, Some(VirtAddr(0x10))),]
    );
}

#[test]
fn lea_computes_and_touches_nothing() {
    // lea 0x8(%rax),%rdi
    let instruction = instruction(&[0x48, 0x8d, 0x78, 0x08]);
    let [operand] = instruction.memory()[..] else { panic!("one operand") };
    assert_eq!(operand.access, Access::AddressOnly);
    assert_eq!(instruction.memory_at(&X86_64Registers::default(), VirtAddr(8)), None);
}

#[test]
fn registers_read_and_written() {
    use GeneralRegister::{R9, Rax, Rcx, Rdi, Rdx, Rsi, Rsp};
    let cases: &[(&[u8], &[GeneralRegister], &[GeneralRegister])] = &[
        // mov %rax,0x8(%rdi,%rcx,2)
        (&[0x48, 0x89, 0x44, 0x4f, 0x08], &[Rax, Rcx, Rdi], &[]),
        // add %r9b,%al
        (&[0x44, 0x00, 0xc8], &[Rax, R9], &[Rax]),
        // xor %eax,%eax reads nothing
        (&[0x31, 0xc0], &[], &[Rax]),
        // call
        (&[0xe8, 0, 0, 0, 0], &[Rsp], &[Rsp]),
        // cqto
        (&[0x48, 0x99], &[Rax], &[Rdx]),
        // rep stos
        (&[0xf3, 0x48, 0xab], &[Rax, Rcx, Rdi], &[Rcx, Rdi]),
        // mov %rsi,%cr3
        (&[0x0f, 0x22, 0xde], &[Rsi], &[]),
    ];
    for &(bytes, read, written) in cases {
        let instruction = instruction(bytes);
        assert_eq!(instruction.registers_read().iter().collect::<Vec<_>>(), read, "{bytes:02x?}");
        assert_eq!(
            instruction.registers_written().iter().collect::<Vec<_>>(),
            written,
            "{bytes:02x?}"
        );
    }
}
