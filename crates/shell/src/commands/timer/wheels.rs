//! `timer`: the timers of the timer wheels.

use super::{Damage, function_name};
use crate::columns::{ADDRESS, centered, centered_right};
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::timers::Timer;
use serde::Serialize;

/// A timer.
#[derive(Serialize)]
struct TimerReport {
    timer_list: Hex,
    expires: u64,
    /// Jiffies until it is to run.
    time_to_expire: i64,
    function: Hex,
    symbol: Option<String>,
}

impl TimerReport {
    fn new(kernel: &Kernel, timer: &Timer, jiffies: u64) -> Self {
        Self {
            timer_list: Hex(timer.address.0),
            expires: timer.expires,
            time_to_expire: timer.expires.wrapping_sub(jiffies).cast_signed(),
            function: Hex(timer.function.0),
            symbol: function_name(kernel, timer.function),
        }
    }
}

/// A wheel with its timers, the next to run first.
#[derive(Serialize)]
struct WheelReport {
    cpu: u32,
    base: Option<&'static str>,
    address: Hex,
    jiffies: u64,
    timers: Vec<TimerReport>,
    /// Whether another CPU's stands in front of it.
    #[serde(skip)]
    begins_cpu: bool,
}

impl WheelReport {
    /// Columns of EXPIRES and of TTE.
    fn widths(&self) -> (usize, usize) {
        // Before 4.8 the greatest time set the width; since then the present one.
        let latest = self.timers.iter().map(|timer| timer.expires).max();
        let widest = if self.base.is_some() { self.jiffies } else { latest.unwrap_or(0) };
        let farthest = self.timers.iter().map(|timer| timer.time_to_expire.unsigned_abs()).max();
        let expires = widest.to_string().len().max("JIFFIES".len());
        // One more for a sign.
        let time_to_expire = (farthest.unwrap_or(0).to_string().len() + 1).max("TTE".len());
        (expires, time_to_expire)
    }

    fn heading(&self, expires: usize, time_to_expire: usize) -> String {
        let Self { cpu, address: Hex(address), .. } = self;
        let gap = if self.begins_cpu { "\n" } else { "" };
        match self.base {
            Some(base) => format!(
                "{gap}TIMER_BASES[{cpu}][{base}]: {address:x}\n  {:<expires$}     \
                 {:<time_to_expire$}     TIMER_LIST     FUNCTION\n",
                "EXPIRES", "TTE"
            ),
            None => format!(
                "TVEC_BASES[{cpu}]: {address:x}\n{}\n{:>expires$}\n{}  {}  {}  {}\n",
                centered_right("JIFFIES", expires),
                self.jiffies,
                centered_right("EXPIRES", expires),
                centered_right("TTE", time_to_expire),
                centered("TIMER_LIST", ADDRESS),
                centered("FUNCTION", ADDRESS),
            ),
        }
    }
}

impl Render for WheelReport {
    fn render(&self, out: &mut String, style: Style) {
        let (expires, time_to_expire) = self.widths();
        out.push_str(&self.heading(expires, time_to_expire));
        let indent = if self.base.is_some() { "  " } else { "" };
        for timer in &self.timers {
            let symbol = style.name(timer.symbol.as_deref().unwrap_or_default());
            out.push_str(&format!(
                "{indent}{:>expires$}  {:>time_to_expire$}  {:>16x}  {:>16x}  <{symbol}>\n",
                timer.expires, timer.time_to_expire, timer.timer_list.0, timer.function.0,
            ));
        }
        if self.timers.is_empty() && self.base.is_some() {
            out.push_str("  (none)\n");
        }
    }
}

pub(super) fn run(kernel: &Kernel, cpus: &[u32], out: &mut Output) -> Result<Damage, CommandError> {
    let jiffies = kernel.jiffies()?;
    let mut damage = None;
    for (position, &cpu) in cpus.iter().enumerate() {
        for (index, wheel) in kernel.timer_wheels(cpu)?.into_iter().enumerate() {
            if position == 0 && index == 0 && wheel.name.is_some() {
                let width = jiffies.to_string().len().max("JIFFIES".len());
                out.layout(&format!("{:<width$}\n{jiffies:>width$}\n\n", "JIFFIES"))?;
            }
            let (mut timers, wrong) = kernel.timers(&wheel);
            damage = damage.or(wrong);
            timers.sort_by_key(|timer| timer.expires);
            let timers = timers.iter().map(|timer| TimerReport::new(kernel, timer, jiffies));
            out.emit(&WheelReport {
                cpu,
                base: wheel.name,
                address: Hex(wheel.address.0),
                jiffies,
                timers: timers.collect(),
                begins_cpu: index == 0 && position > 0,
            })?;
        }
    }
    Ok(damage)
}
