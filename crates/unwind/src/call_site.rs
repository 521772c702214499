//! Whether an address is where some call returns to.

use mortis_memory::{VirtAddr, VirtualMemory};

/// The longest call instruction that is looked for.
const LONGEST: usize = 7;

/// Whether the bytes before `ip` are a call instruction of x86_64, so that `ip` may be a return
/// address. False where the bytes are not in the dump.
pub fn follows_call(memory: &dyn VirtualMemory, ip: VirtAddr) -> bool {
    let mut bytes = [0; LONGEST];
    if memory.read(ip.back(LONGEST as u64), &mut bytes).is_ok() {
        return ends_in_call(&bytes);
    }
    // The page before may be missing where the call itself is not.
    let mut short = [0; 5];
    memory.read(ip.back(5), &mut short).is_ok() && ends_in_call(&short)
}

/// Whether some suffix of `bytes` is a near call (Intel SDM volume 2, CALL: `E8 rel32` and
/// `FF /2`). Prefixes before it do not matter.
fn ends_in_call(bytes: &[u8]) -> bool {
    if let [.., 0xe8, _, _, _, _] = bytes {
        return true;
    }
    (2..=LONGEST).any(|length| {
        let Some([0xff, modrm, rest @ ..]) =
            bytes.len().checked_sub(length).and_then(|start| bytes.get(start..))
        else {
            return false;
        };
        indirect_call_length(*modrm, rest.first().copied()) == Some(length)
    })
}

/// Bytes of `FF modrm …` when it is an indirect near call.
fn indirect_call_length(modrm: u8, sib: Option<u8>) -> Option<usize> {
    const NEAR_CALL: u8 = 2;
    let (mode, extension, rm) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    if extension != NEAR_CALL {
        return None;
    }
    let sib_length = usize::from(mode != 3 && rm == 4);
    let displacement = match mode {
        0 if rm == 5 => 4,
        0 if rm == 4 && sib? & 7 == 5 => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    Some(2 + sib_length + displacement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_every_form_are_seen() {
        let calls: [&[u8]; 10] = [
            &[0xe8, 1, 2, 3, 4],
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd4],
            &[0xff, 0x13],
            &[0xff, 0x14, 0xc5, 0, 0, 0, 0x81],
            &[0xff, 0x50, 0x18],
            &[0xff, 0x54, 0x24, 0x08],
            &[0xff, 0x15, 1, 2, 3, 4],
            &[0xff, 0x90, 1, 2, 3, 4],
            &[0xff, 0x94, 0x24, 1, 2, 3, 4],
        ];
        for call in calls {
            let mut bytes = vec![0x90; LONGEST];
            bytes.extend_from_slice(call);
            assert!(ends_in_call(&bytes[call.len()..]), "{call:x?}");
        }
    }

    #[test]
    fn jumps_pushes_and_nothing_are_no_calls() {
        let others: [&[u8]; 5] = [
            &[],
            &[0x90; 7],
            // jmp *%rax, push (%rax), far call
            &[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xe0],
            &[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0x30],
            &[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0x18],
        ];
        for other in others {
            assert!(!ends_in_call(other), "{other:x?}");
        }
    }
}
