//! What all records begin with.

/// What all records begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number of its kind.
    pub id: u64,
    /// `TRACE_FLAG_*`.
    pub flags: u8,
    /// How often preemption was disabled, and in the upper half how often migration.
    pub preempt_count: u8,
    /// The task.
    pub pid: u32,
}

impl Header {
    /// The header of a record; `None` where it is too short for one.
    pub fn of(record: &[u8]) -> Option<Self> {
        let [t0, t1, flags, preempt_count, p0, p1, p2, p3] = *record.first_chunk::<8>()?;
        Some(Self {
            id: u64::from(u16::from_le_bytes([t0, t1])),
            flags,
            preempt_count,
            pid: u32::from_le_bytes([p0, p1, p2, p3]),
        })
    }

    /// The five letters that the kernel shows (`trace_print_lat_fmt()`): interrupts, rescheduling,
    /// kind of context, and the counts of preemption and of migration.
    pub fn letters(&self) -> String {
        const IRQS_OFF: u8 = 0x01;
        const LAZY: u8 = 0x02;
        const NEED_RESCHED: u8 = 0x04;
        const HARDIRQ: u8 = 0x08;
        const SOFTIRQ: u8 = 0x10;
        const PREEMPT: u8 = 0x20;
        const NMI: u8 = 0x40;
        const BH_OFF: u8 = 0x80;
        let has = |flag| self.flags & flag != 0;
        let irqs = match (has(IRQS_OFF), has(BH_OFF)) {
            (true, true) => 'D',
            (true, false) => 'd',
            (false, true) => 'b',
            (false, false) => '.',
        };
        let resched = match (has(NEED_RESCHED), has(LAZY), has(PREEMPT)) {
            (true, true, true) => 'B',
            (true, false, true) => 'N',
            (false, true, true) => 'L',
            (true, true, false) => 'b',
            (true, false, false) => 'n',
            (false, true, false) => 'l',
            (false, false, true) => 'p',
            (false, false, false) => '.',
        };
        let context = match (has(NMI), has(HARDIRQ), has(SOFTIRQ)) {
            (true, true, _) => 'Z',
            (true, false, _) => 'z',
            (false, true, true) => 'H',
            (false, true, false) => 'h',
            (false, false, true) => 's',
            (false, false, false) => '.',
        };
        let count = |count: u8| match count {
            0 => ".".to_owned(),
            count => format!("{count:x}"),
        };
        let (migrate, preempt) = (self.preempt_count >> 4, self.preempt_count & 0xf);
        format!("{irqs}{resched}{context}{}{}", count(preempt), count(migrate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_the_kernels() {
        let letters =
            |flags, preempt_count| Header { id: 0, flags, preempt_count, pid: 1 }.letters();
        assert_eq!(letters(0, 0), ".....");
        assert_eq!(letters(0x11, 3), "d.s3.");
        assert_eq!(letters(0xad, 0x12), "DNh21");
        assert_eq!(letters(0x01 | 0x04 | 0x20 | 0x08 | 0x10, 2), "dNH2.");
    }
}
