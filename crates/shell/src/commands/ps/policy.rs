//! Scheduling policies: include/uapi/linux/sched.h.

use crate::command::CommandError;

/// The policies in their order; 4 (ISO) was reserved and never came.
const NAMES: [&str; 8] = ["NORMAL", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE", "EXT"];

/// The policy's name.
pub fn name(policy: u64) -> &'static str {
    usize::try_from(policy).ok().and_then(|at| NAMES.get(at)).copied().unwrap_or("UNKNOWN")
}

/// One bit for each policy of a list of names and numbers: `FIFO,rr,5`.
///
/// # Errors
/// A word that names no policy.
pub fn parse(list: &str) -> Result<u64, CommandError> {
    list.split(',').try_fold(0, |mask, word| {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
        let number = digits.unwrap_or(word).parse::<usize>().ok();
        number
            .filter(|&number| number < NAMES.len())
            .or_else(|| NAMES.iter().position(|name| word.eq_ignore_ascii_case(name)))
            .map(|policy| mask | 1 << policy)
            .ok_or_else(|| CommandError::Message(format!("{word}: invalid scheduling policy")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_and_numbers() {
        assert_eq!(parse("FIFO,rr,0").expect("policies"), 0b111);
        assert_eq!(parse("0x6").expect("a policy"), 1 << 6);
        assert_eq!(parse("HIGH").expect_err("none").to_string(), "HIGH: invalid scheduling policy");
        assert_eq!(name(3), "BATCH");
        assert_eq!(name(99), "UNKNOWN");
    }
}
