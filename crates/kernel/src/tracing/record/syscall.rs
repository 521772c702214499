//! The arguments of system calls as the kernel prints them (kernel/trace/trace_syscalls.c).

use super::super::formats::{Format, Syscall};
use super::c_string;

/// The arguments of a system call as the kernel prints them.
pub(super) fn arguments(
    format: &Format,
    syscall: &Syscall,
    values: &[u64],
    record: &[u8],
) -> String {
    const O_ACCMODE: u64 = 3;
    const O_CREAT: u64 = 0o100;
    const O_TMPFILE: u64 = 0o20_200_000;
    let is_openat = syscall.name == "sys_openat" && syscall.user_memory.is_some();
    let mut shown = Vec::new();
    for (index, (name, &value)) in syscall.arguments.iter().zip(values).enumerate() {
        let Some(user_memory) = &syscall.user_memory else {
            shown.push(format!("{name}: {value:x}"));
            continue;
        };
        // One system call has code of its own (`sys_enter_openat_print()`).
        if is_openat && index == 2 {
            shown.push(format!("flags: {}", open_flags(value, O_ACCMODE)));
            // Without a file to be made, its mode is not looked at.
            if value & (O_CREAT | O_TMPFILE) == 0 {
                break;
            }
            continue;
        }
        let mut text = match value {
            mode if is_openat && index == 3 => format!("{name}: 0{mode:03o}"),
            value if value < 10 || is_openat => format!("{name}: {value}"),
            value => format!("{name}: {value:#x}"),
        };
        let is_recorded = user_memory.mask >> index & 1 != 0;
        if let Some(data) = is_recorded.then(|| user_data(format, name, record)).flatten() {
            match user_memory.size_argument {
                None => text.push_str(&format!(" \"{}\"", c_string(data))),
                Some(size) => {
                    let bytes: Vec<String> = data.iter().map(|b| format!("{b:02x}")).collect();
                    let is_cut = values.get(size).is_some_and(|&size| size > data.len() as u64);
                    let rest = if is_cut { ", ..." } else { "" };
                    text.push_str(&format!(" ({}{rest})", bytes.join(":")));
                }
            }
        }
        shown.push(text);
    }
    shown.join(", ")
}

/// What was recorded of the user memory behind the argument `name`.
fn user_data<'r>(format: &Format, name: &str, record: &'r [u8]) -> Option<&'r [u8]> {
    let field = format.field(&format!("__{name}_val"))?;
    let word = record.get(field.offset..field.offset.checked_add(4)?)?;
    let word = u32::from_le_bytes(*word.first_chunk()?);
    let (from, length) = ((word & 0xffff) as usize, (word >> 16) as usize);
    record.get(from..from.checked_add(length)?)
}

/// The flags of `open()` by name (include/uapi/asm-generic/fcntl.h).
fn open_flags(mut bits: u64, access_mode: u64) -> String {
    const FLAGS: &[(u64, &str)] = &[
        (0o20_200_000, "O_TMPFILE"),
        (0o1, "O_WRONLY"),
        (0o2, "O_RDWR"),
        (0o100, "O_CREAT"),
        (0o200, "O_EXCL"),
        (0o400, "O_NOCTTY"),
        (0o1_000, "O_TRUNC"),
        (0o2_000, "O_APPEND"),
        (0o4_000, "O_NONBLOCK"),
        (0o10_000, "O_DSYNC"),
        (0o40_000, "O_DIRECT"),
        (0o100_000, "O_LARGEFILE"),
        (0o200_000, "O_DIRECTORY"),
        (0o400_000, "O_NOFOLLOW"),
        (0o1_000_000, "O_NOATIME"),
        (0o2_000_000, "O_CLOEXEC"),
    ];
    let mut names = Vec::new();
    if bits & access_mode == 0 {
        names.push("O_RDONLY".to_owned());
    }
    for (flag, name) in FLAGS {
        if bits & flag == *flag {
            names.push((*name).to_owned());
            bits &= !flag;
        }
    }
    if bits != 0 {
        names.push(format!("{bits:#x}"));
    }
    names.join("|")
}
