use super::*;
use crate::test_memory::TestMemory;
use crate::{
    CfiSection, CfiTable, OrcFormat, OrcTable, Recovered, Register, ReturnSlot, StackKind,
    UnknownStacks,
};
use mortis_memory::Unavailable;

const TEXT: u64 = 0xffff_ffff_8100_0000;
const TEXT_END: u64 = TEXT + 0x10000;
const IPS: u64 = 0xffff_ffff_8300_0000;
const TASK: u64 = 0xffff_c900_0001_0000;
const TASK_END: u64 = TASK + 0x4000;
const IRQ: u64 = 0xffff_c900_0010_0000;
const IRQ_END: u64 = IRQ + 0x4000;
const NMI: u64 = 0xffff_fe00_0000_b000;
const NMI_END: u64 = NMI + 0x1000;

const KERNEL_CS: u64 = 0x10;
const USER_CS: u64 = 0x33;
const FLAGS: u64 = 0x246;

/// Entries in the format of 6.4: type in the last byte, 8 for `signal`.
const CALL: u8 = 0x2;
const REGS: u8 = 0xb;
const PARTIAL: u8 = 0xc;
const SP: u8 = 5;
const BP: u8 = 4;
const R10: u8 = 6;
const BP_INDIRECT: u8 = 8;
const SP_INDIRECT: u8 = 9;
const BP_BELOW_CFA: u8 = 0x10;

/// A function in [`TEXT`], 0x100 bytes apart from the next.
const fn function(number: u64) -> u64 {
    TEXT + number * 0x100
}

/// Where a call at the start of a function returns to.
const fn returns_to(number: u64) -> u64 {
    function(number) + 5
}

/// One rule a function: where, sp_offset, bp_offset, registers, last byte.
type RuleBytes = (u64, i16, i16, u8, u8);

const UNDEFINED: (i16, i16, u8, u8) = (0, 0, 0, 0);
const END_OF_STACK: (i16, i16, u8, u8) = (0, 0, 0, 1);

struct Scene {
    memory: TestMemory,
    rules: Vec<RuleBytes>,
    stacks: Vec<Stack>,
}

fn stack(kind: StackKind, low: u64, high: u64) -> Stack {
    Stack { kind, cpu: Some(0), low: VirtAddr(low), high: VirtAddr(high) }
}

impl Scene {
    fn new() -> Self {
        // Every function begins with a call, so that `returns_to` follows one.
        let text: Vec<u8> =
            (0..0x10000).map(|at| if at % 0x100 == 0 { 0xe8 } else { 0x90 }).collect();
        let memory = TestMemory::default()
            .with(TEXT, text)
            .with_zeroes(TASK..TASK_END)
            .with_zeroes(IRQ..IRQ_END)
            .with_zeroes(NMI..NMI_END);
        let stacks = vec![
            stack(StackKind::Task, TASK, TASK_END),
            stack(StackKind::Irq, IRQ, IRQ_END),
            stack(StackKind::Nmi, NMI, NMI_END),
        ];
        Self { memory, rules: Vec::new(), stacks }
    }

    fn rule(mut self, number: u64, rule: (i16, i16, u8, u8)) -> Self {
        let (sp_offset, bp_offset, registers, flags) = rule;
        self.rules.push((function(number), sp_offset, bp_offset, registers, flags));
        self
    }

    fn call(self, number: u64, sp_offset: i16) -> Self {
        self.rule(number, (sp_offset, 0, SP, CALL))
    }

    fn words(mut self, address: u64, words: &[u64]) -> Self {
        self.memory.put_words(address, words);
        self
    }

    /// A `struct pt_regs` with rbp and r10 as said.
    fn pt_regs(self, at: u64, ip: u64, cs: u64, sp: u64, bp_r10: [u64; 2]) -> Self {
        let mut words = [0x5555; 21];
        [words[4], words[7]] = bp_r10;
        [words[16], words[17], words[18], words[19], words[20]] = [ip, cs, FLAGS, sp, 0x18];
        self.words(at, &words)
    }

    fn tables(&self) -> Tables {
        let mut rules = self.rules.clone();
        rules.sort_unstable();
        let ips: Vec<u8> = rules
            .iter()
            .zip((IPS..).step_by(4))
            .flat_map(|(rule, place)| (rule.0.wrapping_sub(place) as i32).to_le_bytes())
            .collect();
        let entries: Vec<u8> = rules
            .iter()
            .flat_map(|&(_, sp_offset, bp_offset, registers, flags)| {
                let [a, b] = sp_offset.to_le_bytes();
                let [c, d] = bp_offset.to_le_bytes();
                [a, b, c, d, registers, flags]
            })
            .collect();
        let mut tables = Tables::new();
        let text = VirtAddr(TEXT)..VirtAddr(TEXT_END);
        match OrcTable::from_sections(&ips, VirtAddr(IPS), &entries, OrcFormat::WideType) {
            Ok(table) => tables.add_orc([text], table),
            Err(_) => tables.add_text(text),
        }
        tables
    }

    fn trace(&self, start: Start) -> Trace {
        self.trace_with(start, |unwinder| unwinder)
    }

    fn trace_with(
        &self,
        start: Start,
        change: impl for<'a> FnOnce(Unwinder<'a>) -> Unwinder<'a>,
    ) -> Trace {
        let tables = self.tables();
        let stacks: &[Stack] = &self.stacks;
        let stacks = TaskStacks(stacks.to_vec());
        change(Unwinder::new(&self.memory, &tables)).trace(&stacks, start)
    }
}

struct TaskStacks(Vec<Stack>);

impl Stacks for TaskStacks {
    fn stack_at(&self, address: VirtAddr) -> Option<Stack> {
        self.0.as_slice().stack_at(address)
    }
}

fn exact(ip: u64, sp: u64) -> Start {
    Start::at(VirtAddr(ip), VirtAddr(sp), true)
}

fn without_scan(unwinder: Unwinder<'_>) -> Unwinder<'_> {
    unwinder.with_options(Options { scan: false, ..Options::default() })
}

fn ips(trace: &Trace) -> Vec<u64> {
    trace.frames.iter().map(|frame| frame.ip.0).collect()
}

fn trusts(trace: &Trace) -> Vec<Trust> {
    trace.frames.iter().map(|frame| frame.how).collect()
}

#[test]
fn calls_lead_to_the_end_of_the_stack() {
    let sp = TASK + 0x3000;
    let scene = Scene::new()
        .call(1, 16)
        .rule(2, (32, -16, BP_BELOW_CFA | SP, CALL))
        .rule(3, (16, 0, BP, CALL))
        .rule(4, END_OF_STACK)
        .words(sp, &[0, returns_to(2), 0, 0, TASK + 0x3100, returns_to(3)])
        .words(TASK + 0x3100, &[0, returns_to(4)]);
    let trace = scene.trace(exact(function(1) + 0x20, sp));
    assert_eq!(trace.stop, Stop::EndOfStack);
    assert_eq!(ips(&trace), [function(1) + 0x20, returns_to(2), returns_to(3), returns_to(4)]);
    assert_eq!(trusts(&trace), [Trust::Registers, Trust::Orc, Trust::Orc, Trust::Orc]);
    let [first, second, third, fourth] = &trace.frames[..] else { panic!("four frames") };
    assert_eq!((first.ip_slot, first.cfa), (None, Some(VirtAddr(sp + 16))));
    assert!(first.exact_ip && !second.exact_ip);
    assert_eq!((second.sp, second.ip_slot), (VirtAddr(sp + 16), Some(VirtAddr(sp + 8))));
    assert_eq!(second.lookup_ip(), VirtAddr(returns_to(2) - 1));
    assert_eq!(third.registers.bp(), Some(TASK + 0x3100));
    assert_eq!((fourth.sp, fourth.cfa), (VirtAddr(TASK + 0x3110), None));
    assert!(trace.frames.iter().all(|frame| frame.stack.map(|s| s.kind) == Some(StackKind::Task)));
}

#[test]
fn a_return_address_is_looked_up_one_byte_back() {
    // The call is the last instruction of function 2: the address behind it is function 3's.
    let sp = TASK + 0x3000;
    let mut scene = Scene::new()
        .call(1, 8)
        .call(2, 8)
        .rule(3, UNDEFINED)
        .rule(4, END_OF_STACK)
        .words(sp, &[function(3), returns_to(4)]);
    scene.memory.put(function(3) - 5, &[0xe8, 0, 0, 0, 0]);
    let trace = scene.trace(exact(function(1), sp));
    assert_eq!(
        (ips(&trace), trace.stop),
        (vec![function(1), function(3), returns_to(4)], Stop::EndOfStack)
    );
}

#[test]
fn the_walk_goes_from_nmi_through_interrupt_to_task_to_user() {
    let (nmi_regs, irq_regs) = (NMI_END - 168, TASK + 0x3000);
    let scene = Scene::new()
        .call(1, 8)
        .rule(2, (0, 0, SP, REGS))
        // In code on the interrupt stack.
        .call(3, 8)
        // The switch of stacks: the old stack pointer lies on top of the interrupt stack.
        .rule(4, (8, 0, SP_INDIRECT, CALL))
        .rule(5, (0, 0, SP, REGS))
        .call(6, 8)
        .rule(7, (0, 0, SP, REGS))
        .words(nmi_regs - 16, &[0x1234, returns_to(2)])
        .pt_regs(nmi_regs, function(3) + 1, KERNEL_CS, IRQ_END - 16, [1, 2])
        .words(IRQ_END - 16, &[returns_to(4), irq_regs - 8])
        .words(irq_regs - 8, &[returns_to(5)])
        .pt_regs(irq_regs, function(6) + 1, KERNEL_CS, irq_regs + 0x200, [3, 4])
        .words(irq_regs + 0x200, &[returns_to(7)])
        .pt_regs(irq_regs + 0x208, 0x40_1000, USER_CS, 0x7fff_0000_0000, [5, 6]);
    let trace = scene.trace(exact(function(1), nmi_regs - 8));
    let user = PtRegs { address: VirtAddr(irq_regs + 0x208), partial: false };
    assert_eq!(trace.stop, Stop::UserMode(user));
    assert_eq!(
        ips(&trace),
        [
            function(1),
            returns_to(2),
            function(3) + 1,
            returns_to(4),
            returns_to(5),
            function(6) + 1,
            returns_to(7)
        ]
    );
    let kinds: Vec<_> = trace.frames.iter().map(|f| f.stack.map(|stack| stack.kind)).collect();
    use StackKind::{Irq, Nmi, Task};
    assert_eq!(kinds, [Nmi, Nmi, Irq, Irq, Task, Task, Task].map(Some));
    let interrupted = &trace.frames[2];
    assert_eq!(interrupted.how, Trust::ExceptionFrame);
    assert!(interrupted.exact_ip);
    assert_eq!(interrupted.pt_regs, Some(PtRegs { address: VirtAddr(nmi_regs), partial: false }));
    assert_eq!(interrupted.ip_slot, Some(VirtAddr(nmi_regs + 128)));
    assert_eq!(interrupted.registers.get(Register::R10), Some(2));
    let saved = user.read(&scene.memory).expect("registers");
    assert_eq!((saved.rip, saved.r10, saved.rsp), (0x40_1000, 6, 0x7fff_0000_0000));
}

#[test]
fn before_5_12_the_offset_of_sp_indirect_came_first() {
    let (irq_sp, regs) = (IRQ_END - 0x40, TASK + 0x3000);
    let scene = Scene::new()
        .rule(1, (0x38, 0, SP_INDIRECT, REGS))
        .rule(2, END_OF_STACK)
        .words(irq_sp + 0x38, &[regs])
        .pt_regs(regs, function(2), KERNEL_CS, TASK + 0x3800, [0, 0]);
    let trace = scene.trace(exact(function(1), irq_sp));
    assert_eq!((ips(&trace), trace.stop), (vec![function(1), function(2)], Stop::EndOfStack));
}

#[test]
fn a_partial_frame_leaves_the_other_registers_alone() {
    let regs_end = TASK + 0x3000;
    let scene = Scene::new()
        .rule(1, (0, 0, SP, PARTIAL))
        // A stack that GCC realigned: counted from R10.
        .rule(2, (0, 0, R10, CALL))
        .rule(3, (8, 0, BP_INDIRECT, CALL))
        .rule(4, END_OF_STACK)
        .words(regs_end, &[function(2) + 1, KERNEL_CS, FLAGS, TASK + 0x3100, 0x18])
        .words(TASK + 0x3200 - 8, &[returns_to(3)])
        .words(TASK + 0x3308, &[TASK + 0x3400])
        .words(TASK + 0x33f8, &[returns_to(4)]);
    let mut start = exact(function(1), regs_end);
    start.registers.set(Register::R10, TASK + 0x3200);
    start.registers.set(Register::Rbp, TASK + 0x3300);
    let trace = scene.trace(start);
    assert_eq!(trace.stop, Stop::EndOfStack);
    assert_eq!(ips(&trace), [function(1), function(2) + 1, returns_to(3), returns_to(4)]);
    let partial = trace.frames[1].pt_regs.expect("saved registers");
    assert!(partial.partial);
    assert_eq!(partial.address, VirtAddr(regs_end - 128));
    assert_eq!(trace.frames[1].registers.bp(), Some(TASK + 0x3300));
    let read = partial.read(&scene.memory).expect("registers");
    assert_eq!((read.rip, read.rbp), (function(2) + 1, 0));
}

#[test]
fn fred_data_above_the_segments_does_not_confuse() {
    let regs = TASK + 0x3000;
    let fred = |cs: u64| cs | 0x0003_0000_0000_0000;
    let scene = Scene::new()
        .rule(1, (0, 0, SP, REGS))
        .rule(2, (0x80, 0, SP, REGS))
        .pt_regs(regs, function(2), fred(KERNEL_CS), TASK + 0x3100, [0, 0])
        .pt_regs(TASK + 0x3180, 0x40_0000, fred(USER_CS), 0x7fff_0000, [0, 0]);
    let trace = scene.trace(exact(function(1), regs));
    assert!(matches!(trace.stop, Stop::UserMode(_)), "{:?}", trace.stop);
    assert_eq!(trace.frames.len(), 2);
}

#[test]
fn a_stack_that_does_not_rise_ends_the_walk() {
    let sp = TASK + 0x3000;
    for (rule, start_sp) in [
        // A frame of no size, one below itself, and a frame pointer that points back.
        ((0, 0, SP, CALL), sp),
        ((-16, 0, SP, CALL), sp),
        ((16, 0, BP, CALL), sp + 0x100),
    ] {
        let scene = Scene::new()
            .rule(1, rule)
            .words(sp - 24, &[returns_to(1), returns_to(1), returns_to(1), 0, returns_to(1)]);
        let mut start = exact(function(1), start_sp);
        start.registers.set(Register::Rbp, sp - 16);
        let trace = scene.trace_with(start, without_scan);
        assert_eq!(trace.stop, Stop::Loop(VirtAddr(start_sp)), "{rule:?}");
        assert_eq!(trace.frames.len(), 1);
    }
}

#[test]
fn two_stacks_cannot_be_walked_in_circles() {
    let (a, b) = (NMI + 0x800, IRQ + 0x800);
    let scene = Scene::new()
        .rule(1, (0, 0, SP, REGS))
        .pt_regs(a, function(1), KERNEL_CS, b, [0, 0])
        .pt_regs(b, function(1), KERNEL_CS, a, [0, 0]);
    let trace = scene.trace_with(exact(function(1), a), without_scan);
    assert_eq!(trace.stop, Stop::Loop(VirtAddr(b)));
    assert_eq!(trace.frames.len(), 2);
}

#[test]
fn pointers_to_nowhere_end_the_walk() {
    let sp = TASK + 0x3000;
    for (bp, stop) in [
        (Some(0), Stop::BadStackPointer(VirtAddr(8))),
        (Some(0x7fff_ffff_f000), Stop::BadStackPointer(VirtAddr(0x7fff_ffff_f008))),
        (Some(u64::MAX), Stop::BadStackPointer(VirtAddr(7))),
        (Some(0xffff_8880_0000_0000), Stop::BadStackPointer(VirtAddr(0xffff_8880_0000_0008))),
        (None, Stop::UnknownRegister { ip: VirtAddr(function(1)), register: Register::Rbp }),
    ] {
        let scene = Scene::new().rule(1, (16, 0, BP, CALL));
        let mut start = exact(function(1), sp);
        start.registers.put(Register::Rbp, bp);
        let trace = scene.trace_with(start, without_scan);
        assert_eq!(trace.stop, stop);
        assert_eq!(trace.frames.len(), 1);
    }
}

#[test]
fn rules_without_a_meaning_end_the_walk() {
    for registers in [0xf, 0x1] {
        let scene = Scene::new().rule(1, (8, 0, registers, CALL));
        let trace = scene.trace_with(exact(function(1), TASK + 0x3000), without_scan);
        assert_eq!(trace.stop, Stop::BadRule(VirtAddr(function(1))));
    }
    let scene = Scene::new().rule(1, (8, 0, SP, 0x7));
    let trace = scene.trace_with(exact(function(1), TASK + 0x3000), without_scan);
    assert_eq!(trace.stop, Stop::BadRule(VirtAddr(function(1))));
}

#[test]
fn an_interrupted_entry_from_user_mode_is_a_frame_too() {
    // The first instructions of a system call have the kernel's code and the user's stack.
    let regs = NMI_END - 168;
    let scene = Scene::new().rule(1, (0, 0, SP, REGS)).rule(2, END_OF_STACK).pt_regs(
        regs,
        function(2),
        KERNEL_CS,
        0x7fff_ffff_e000,
        [0, 0],
    );
    let trace = scene.trace(exact(function(1), regs));
    assert_eq!((ips(&trace), trace.stop), (vec![function(1), function(2)], Stop::EndOfStack));
}

#[test]
fn impossible_saved_registers_are_none() {
    let regs = TASK + 0x3000;
    let scene = Scene::new().rule(1, (0, 0, SP, REGS)).pt_regs(
        regs,
        function(1),
        0x1234,
        TASK + 0x3800,
        [0, 0],
    );
    let trace = scene.trace_with(exact(function(1), regs), without_scan);
    assert_eq!(trace.stop, Stop::BadRegisters(VirtAddr(regs)));
}

#[test]
fn a_missing_page_of_the_stack_is_told_with_its_reason() {
    let sp = TASK + 0x2ff0;
    let mut scene = Scene::new().call(1, 8).call(2, 32).words(sp, &[returns_to(2)]);
    scene.memory = scene.memory.excluding(TASK + 0x3000..TASK + 0x4000);
    let trace = scene.trace(exact(function(1), sp));
    let missing = ReadError::new(VirtAddr(TASK + 0x3010), Unavailable::Excluded);
    assert_eq!(trace.stop, Stop::Unreadable(missing));
    assert_eq!(ips(&trace), [function(1), returns_to(2)]);
}

#[test]
fn a_call_to_nowhere_is_undone() {
    let sp = TASK + 0x3000;
    for nowhere in [0, 0xdead_beef, 0xffff_8880_1234_5678] {
        let scene = Scene::new()
            .call(1, 16)
            .rule(2, END_OF_STACK)
            .words(sp, &[returns_to(1), 0, returns_to(2)]);
        let mut start = exact(nowhere, sp);
        start.registers.set(Register::Rbx, 77);
        let trace = scene.trace(start);
        assert_eq!(
            (ips(&trace), trace.stop),
            (vec![nowhere, returns_to(1), returns_to(2)], Stop::EndOfStack)
        );
        assert_eq!(trusts(&trace), [Trust::Registers, Trust::BadCall, Trust::Orc]);
        assert_eq!(trace.frames[1].registers.get(Register::Rbx), Some(77));
    }
}

#[test]
fn generated_code_is_left_by_its_frame_pointer() {
    const BPF: u64 = 0xffff_ffff_c000_0000;
    let sp = TASK + 0x3000;
    let code = [[0x90; 16], [0xe8; 16]].concat();
    let mut scene = Scene::new()
        .call(1, 8)
        .rule(2, END_OF_STACK)
        .words(sp, &[BPF + 26])
        .words(sp + 0x80, &[0x1111, returns_to(2)]);
    scene.memory = scene.memory.with(BPF, code);
    let mut start = exact(function(1), sp);
    start.registers.set(Register::Rbp, sp + 0x80);
    let trace = scene.trace(start);
    assert_eq!(
        (ips(&trace), trace.stop),
        (vec![function(1), BPF + 26, returns_to(2)], Stop::EndOfStack)
    );
    assert_eq!(trusts(&trace)[2], Trust::FramePointer);
    assert_eq!(trace.frames[2].registers.bp(), Some(0x1111));
}

#[test]
fn a_kernel_without_tables_is_walked_by_frame_pointers() {
    let sp = TASK + 0x3000;
    let regs = TASK + 0x3100;
    let scene = Scene::new()
        .words(sp + 0x10, &[sp + 0x40, returns_to(2)])
        // The lowest bit marks saved registers in place of a frame.
        .words(sp + 0x40, &[regs | 1, returns_to(3)])
        .pt_regs(regs, function(4) + 0x20, KERNEL_CS, regs + 0x100, [regs + 0x180, 0])
        .words(regs + 0x180, &[0, returns_to(5)]);
    let mut start = exact(function(1) + 0x20, sp);
    start.registers.set(Register::Rbp, sp + 0x10);
    let trace = scene.trace_with(start, without_scan);
    assert_eq!(
        ips(&trace),
        [function(1) + 0x20, returns_to(2), returns_to(3), function(4) + 0x20, returns_to(5)]
    );
    use Trust::{ExceptionFrame, FramePointer, Registers};
    assert_eq!(
        trusts(&trace),
        [Registers, FramePointer, FramePointer, ExceptionFrame, FramePointer]
    );
    assert_eq!(trace.stop, Stop::NoRule(VirtAddr(returns_to(5))));
}

#[test]
fn a_function_that_has_not_set_its_frame_pointer_yet_returns_from_the_top() {
    let sp = TASK + 0x3000;
    // endbr64; call __fentry__ turned into a nop; push %rbp; mov %rsp,%rbp; … ; ret
    let prologue =
        [0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x55, 0x48, 0x89, 0xe5, 0x90, 0xc3];
    let mut scene = Scene::new()
        .words(sp - 8, &[sp + 0x40, returns_to(2), 0])
        .words(sp + 0x40, &[0, returns_to(3)]);
    scene.memory.put(function(1), &prologue);
    for (at, start_sp) in [(0, sp), (9, sp), (10, sp - 8), (14, sp)] {
        let mut start = exact(function(1) + at, start_sp);
        start.registers.set(Register::Rbp, sp + 0x40);
        let trace = scene.trace_with(start, without_scan);
        assert_eq!(ips(&trace)[1..], [returns_to(2), returns_to(3)], "at {at}");
    }
}

#[test]
fn instructions_are_followed_where_the_table_is_silent() {
    let sp = TASK + 0x3000;
    // push %rbx; sub $0x20,%rsp; mov %edi,%ebx; test %edi,%edi; je +6; …
    // add $0x20,%rsp; pop %rbx; ret; (at +17) call
    let code = [
        0x53, 0x48, 0x83, 0xec, 0x20, 0x89, 0xfb, 0x85, 0xff, 0x74, 0x06, 0x48, 0x83, 0xc4, 0x20,
        0x5b, 0xc3, 0xe8, 0x00, 0x00, 0x00, 0x00,
    ];
    let mut scene = Scene::new()
        .rule(1, UNDEFINED)
        .rule(2, END_OF_STACK)
        .words(sp, &[0, 0, 0, 0, 0x42, returns_to(2)]);
    scene.memory.put(function(1), &code);
    let functions = |_: VirtAddr| Some(VirtAddr(function(1)));
    let return_address = function(1) + 22;
    let start = Start::at(VirtAddr(return_address), VirtAddr(sp), false);
    let tables = scene.tables();
    let stacks = TaskStacks(scene.stacks.clone());
    let unwinder = Unwinder::new(&scene.memory, &tables).with_functions(&functions);
    let trace = unwinder.trace(&stacks, start);
    assert_eq!((ips(&trace), trace.stop), (vec![return_address, returns_to(2)], Stop::EndOfStack));
    assert_eq!(trace.frames[1].how, Trust::Instructions);
    assert_eq!(trace.frames[1].registers.get(Register::Rbx), Some(0x42));
    assert_eq!(trace.frames[0].cfa, Some(VirtAddr(sp + 0x30)));
}

/// A `.debug_frame` for function 1: `push %rbx` is one byte long, and what follows it has the
/// caller's rbx below the return address.
fn debug_frame(link_address: u64) -> Vec<u8> {
    let entry = |body: Vec<u8>| {
        let mut body = body;
        body.resize(body.len().next_multiple_of(8) + 4, 0);
        [(body.len() as u32).to_le_bytes().to_vec(), body].concat()
    };
    // Version 1, no augmentation, code by 1, data by -8, return address in 16;
    // DW_CFA_def_cfa rsp+8, DW_CFA_offset rip at cfa-8.
    let cie = [&[0xff; 4][..], &[1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1]].concat();
    // DW_CFA_advance_loc 1, DW_CFA_def_cfa_offset 16, DW_CFA_offset rbx at cfa-16.
    let fde = [
        &0u32.to_le_bytes()[..],
        &link_address.to_le_bytes(),
        &0x100u64.to_le_bytes(),
        &[0x41, 0x0e, 16, 0x83, 2],
    ]
    .concat();
    [entry(cie), entry(fde)].concat()
}

#[test]
fn call_frame_information_tells_what_orc_does_not() {
    const KASLR: u64 = 0x1000_0000;
    let sp = TASK + 0x3000;
    let cfi = || {
        let bytes: std::sync::Arc<dyn AsRef<[u8]> + Send + Sync> =
            std::sync::Arc::new(debug_frame(function(1) - KASLR));
        CfiTable::new(bytes, CfiSection::DebugFrame, 0, KASLR)
    };
    let text = || [VirtAddr(TEXT)..VirtAddr(TEXT_END)];
    let callee_saved = Options { callee_saved: true, ..Options::default() };
    for orc_rule in [UNDEFINED, (16, 0, SP, CALL), (24, 0, SP, CALL)] {
        let scene = Scene::new()
            .rule(1, orc_rule)
            .rule(2, END_OF_STACK)
            .words(sp, &[0x42, returns_to(2), returns_to(2)]);
        let mut tables = scene.tables();
        tables.add_cfi(text(), cfi());
        let stacks = TaskStacks(scene.stacks.clone());
        let unwinder = Unwinder::new(&scene.memory, &tables).with_options(callee_saved);
        let mut start = exact(function(1) + 9, sp);
        start.registers.set(Register::R12, 12);
        start.registers.set(Register::Rax, 1);
        let trace = unwinder.trace(&stacks, start);
        assert_eq!((ips(&trace)[1], trace.stop), (returns_to(2), Stop::EndOfStack));
        let caller = &trace.frames[1];
        assert_eq!(caller.registers.get(Register::Rax), None);
        let told = [caller.registers.get(Register::Rbx), caller.registers.get(Register::R12)];
        match orc_rule.0 {
            0 => assert_eq!((caller.how, told), (Trust::Cfi, [Some(0x42), Some(12)])),
            16 => assert_eq!((caller.how, told), (Trust::Orc, [Some(0x42), Some(12)])),
            // The two do not speak of the same frame: ORC is right about the kernel's own tricks.
            _ => assert_eq!((caller.how, told), (Trust::Orc, [None, None])),
        }
    }
}

#[test]
fn call_frame_information_holds_for_its_function_only() {
    let table =
        CfiTable::new(std::sync::Arc::new(debug_frame(function(1))), CfiSection::DebugFrame, 0, 0);
    assert!(matches!(table.row(VirtAddr(function(1))), Ok(Some(_))));
    assert!(matches!(table.row(VirtAddr(function(1) - 1)), Ok(None)));
    assert!(matches!(table.row(VirtAddr(function(2))), Ok(None)));
    let mut broken = debug_frame(function(1));
    broken.truncate(broken.len() - 6);
    let table = CfiTable::new(std::sync::Arc::new(broken), CfiSection::DebugFrame, 0, 0);
    assert!(matches!(table.row(VirtAddr(function(1))), Ok(None)));
}

#[test]
fn what_a_tracer_replaced_is_put_back() {
    const TRAMPOLINE: u64 = TEXT + 0x5000;
    let sp = TASK + 0x3000;
    let scene = Scene::new()
        .call(1, 8)
        .call(2, 8)
        .call(3, 8)
        .rule(4, END_OF_STACK)
        .words(sp, &[TRAMPOLINE, TRAMPOLINE, returns_to(4)]);
    let recover = |found: ReturnSlot| match found.ip.0 {
        TRAMPOLINE if found.slot.0 == sp + 8 * found.earlier as u64 => {
            Recovered::Original(VirtAddr(returns_to(2 + found.earlier as u64)))
        }
        TRAMPOLINE => Recovered::Lost,
        _ => Recovered::Untouched,
    };
    let tables = scene.tables();
    let stacks = TaskStacks(scene.stacks.clone());
    let unwinder = Unwinder::new(&scene.memory, &tables).with_trampolines(&recover);
    let trace = unwinder.trace(&stacks, exact(function(1), sp));
    assert_eq!(
        (ips(&trace), trace.stop),
        (vec![function(1), returns_to(2), returns_to(3), returns_to(4)], Stop::EndOfStack)
    );
    let through: Vec<_> = trace.frames.iter().map(|frame| frame.through_trampoline).collect();
    assert_eq!(through, [false, true, true, false]);
}

#[test]
fn a_broken_walk_is_taken_up_where_rules_lead_on() {
    let sp = TASK + 0x3000;
    let scene = Scene::new()
        .rule(1, UNDEFINED)
        .call(2, 16)
        .call(3, 24)
        .rule(4, END_OF_STACK)
        .call(5, 16)
        // A stale address from which no rule leads on, one that no call precedes, and the real one.
        .words(sp, &[7, returns_to(5), function(2) + 0x50, 0, returns_to(2), 0, returns_to(3)])
        .words(sp + 0x38, &[0, 0, returns_to(4)]);
    let trace = scene.trace(exact(function(1) + 0x30, sp));
    assert_eq!(
        (ips(&trace), trace.stop),
        (vec![function(1) + 0x30, returns_to(2), returns_to(3), returns_to(4)], Stop::EndOfStack)
    );
    assert_eq!(trusts(&trace), [Trust::Registers, Trust::Scan, Trust::Orc, Trust::Orc]);
    assert!(trace.frames[1].how.is_guess());
}

#[test]
fn a_scan_that_finds_only_words_says_why_the_walk_ended() {
    let sp = TASK + 0x3000;
    let scene = Scene::new()
        .rule(1, UNDEFINED)
        .rule(2, UNDEFINED)
        .words(sp, &[0, returns_to(2), 0, returns_to(1)]);
    let trace = scene.trace(exact(function(1) + 0x30, sp));
    assert_eq!(ips(&trace), [function(1) + 0x30, returns_to(2), returns_to(1)]);
    assert_eq!(trusts(&trace)[1..], [Trust::Scan, Trust::Scan]);
    assert_eq!(trace.stop, Stop::NoRule(VirtAddr(returns_to(1))));
    let exact_only = scene.trace_with(exact(function(1) + 0x30, sp), without_scan);
    assert_eq!(exact_only.frames.len(), 1);
}

#[test]
fn a_scan_leaves_a_cpus_stack_by_what_lies_on_its_top() {
    let task_sp = TASK + 0x3000;
    let scene = Scene::new()
        .rule(1, UNDEFINED)
        .rule(2, END_OF_STACK)
        .words(IRQ_END - 8, &[task_sp])
        .words(task_sp, &[0, returns_to(2)])
        .pt_regs(NMI_END - 168, function(2) + 9, KERNEL_CS, task_sp, [0, 0]);
    let from_irq = scene.trace(exact(function(1) + 0x30, IRQ + 0x3000));
    assert_eq!(ips(&from_irq), [function(1) + 0x30, returns_to(2)]);
    assert_eq!(from_irq.stop, Stop::EndOfStack);
    let from_nmi = scene.trace(exact(function(1) + 0x30, NMI + 0x100));
    assert_eq!(ips(&from_nmi), [function(1) + 0x30, function(2) + 9]);
    assert_eq!(from_nmi.frames[1].how, Trust::Scan);
    assert!(from_nmi.frames[1].pt_regs.is_some());
}

#[test]
fn an_overflowed_stack_is_walked_from_its_guard_page() {
    // The stack pointer has left the stack; what the frame needs is still on it.
    let sp = TASK - 0x40;
    let scene = Scene::new().call(1, 0x50).rule(2, END_OF_STACK).words(TASK + 8, &[returns_to(2)]);
    let trace = scene.trace(exact(function(1), sp));
    assert_eq!((ips(&trace), trace.stop), (vec![function(1), returns_to(2)], Stop::EndOfStack));
    assert_eq!(trace.frames[0].stack, None);
    let lost = Scene::new()
        .rule(1, UNDEFINED)
        .rule(2, END_OF_STACK)
        .words(TASK + 8, &[returns_to(2)])
        .trace(exact(function(1), sp));
    assert_eq!((ips(&lost), lost.stop), (vec![function(1), returns_to(2)], Stop::EndOfStack));
}

#[test]
fn a_deep_recursion_ends_at_the_limit() {
    let words: Vec<u64> = vec![returns_to(1); 0x3000 / 8];
    let scene = Scene::new().call(1, 8).words(TASK, &words);
    let limit = |max_frames| Options { max_frames, ..Options::default() };
    let trace =
        scene.trace_with(exact(function(1), TASK), |unwinder| unwinder.with_options(limit(100)));
    assert_eq!((trace.frames.len(), trace.stop), (100, Stop::TooDeep));
    let whole =
        scene.trace_with(exact(function(1), TASK), |unwinder| unwinder.with_options(limit(10_000)));
    assert_eq!(whole.frames.len(), 0x3000 / 8 + 1);
}

#[test]
fn without_known_stacks_the_walk_still_rises_and_ends() {
    let sp = TASK + 0x3000;
    let scene = Scene::new()
        .call(1, 8)
        .call(2, 8)
        .rule(3, END_OF_STACK)
        .words(sp, &[returns_to(2), returns_to(3)]);
    let tables = scene.tables();
    let unwinder = Unwinder::new(&scene.memory, &tables);
    let trace = unwinder.trace(&UnknownStacks, exact(function(1), sp));
    assert_eq!((trace.frames.len(), trace.stop), (3, Stop::EndOfStack));
    let endless = Scene::new().call(1, 8).words(TASK, &vec![returns_to(1); 0x4000 / 8]);
    let tables = endless.tables();
    let unwinder = Unwinder::new(&endless.memory, &tables);
    let trace = unwinder.trace(&UnknownStacks, exact(function(1), TASK));
    assert!(matches!(trace.stop, Stop::Unreadable(_) | Stop::TooDeep), "{:?}", trace.stop);
}

#[test]
fn a_walk_can_start_at_saved_registers() {
    let regs = TASK + 0x3000;
    let scene = Scene::new()
        .rule(1, END_OF_STACK)
        .pt_regs(regs, function(1), KERNEL_CS, TASK + 0x3800, [0, 0])
        .pt_regs(TASK + 0x200, 0x40_0000, USER_CS, 0x7fff_0000, [0, 0]);
    let start = Start::at_pt_regs(&scene.memory, VirtAddr(regs)).expect("registers");
    let trace = scene.trace(start);
    assert_eq!((trace.frames.len(), trace.stop), (1, Stop::EndOfStack));
    assert_eq!(trace.frames[0].ip_slot, Some(VirtAddr(regs + 128)));
    let user = Start::at_pt_regs(&scene.memory, VirtAddr(TASK + 0x200));
    assert!(matches!(user, Err(Stop::UserMode(_))));
    let none = Start::at_pt_regs(&scene.memory, VirtAddr(TASK + 0x1000));
    assert_eq!(none, Err(Stop::BadRegisters(VirtAddr(TASK + 0x1000))));
}
