//! `timer -r`: the high resolution timers.

use super::{Damage, function_name};
use crate::columns::{ADDRESS, centered, centered_right};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::hrtimers::HighResolutionTimer;
use serde::Serialize;

/// A timer. Times are nanoseconds of its clock.
#[derive(Serialize)]
struct TimerReport {
    hrtimer: Hex,
    softexpires: Known<Option<i64>>,
    expires: Known<i64>,
    time_to_expire: Known<i64>,
    function: Known<Hex>,
    symbol: Option<String>,
}

impl TimerReport {
    fn new(kernel: &Kernel, timer: HighResolutionTimer, now: &Known<i64>) -> Self {
        let expires = Known::from(timer.expires);
        let time_to_expire = match (&expires, now) {
            (Known::Value(expires), Known::Value(now)) => Known::Value(expires.wrapping_sub(*now)),
            (Known::Unavailable(why), _) | (_, Known::Unavailable(why)) => Known::Unavailable(why),
            _ => Known::Unavailable("unknown"),
        };
        let symbol = timer.function.as_ref().ok().and_then(|&at| function_name(kernel, at));
        Self {
            hrtimer: Hex(timer.address.0),
            softexpires: timer.softexpires.into(),
            expires,
            time_to_expire,
            function: Known::from(timer.function).map(|function| Hex(function.0)),
            symbol,
        }
    }

    /// Whether nothing of it could be read.
    fn is_gone(&self) -> bool {
        self.expires.value().is_none() && self.function.value().is_none()
    }
}

/// A clock of a CPU with its timers, the next to run first.
#[derive(Serialize)]
struct ClockReport {
    cpu: u32,
    hrtimer_cpu_base: Hex,
    clock: u64,
    hrtimer_clock_base: Hex,
    /// The function that reads the clock, or else what the kernel calls the clock.
    name: Option<String>,
    /// What the clock showed when the kernel last kept time.
    current: Known<i64>,
    timers: Vec<TimerReport>,
    #[serde(skip)]
    begins_cpu: bool,
    #[serde(skip)]
    begins_output: bool,
}

impl Render for ClockReport {
    fn render(&self, out: &mut String, style: Style) {
        if !self.begins_output {
            out.push('\n');
        }
        if self.begins_cpu {
            let base = self.hrtimer_cpu_base.0;
            out.push_str(&format!("CPU: {}  HRTIMER_CPU_BASE: {base:x}\n", self.cpu));
        }
        let base = self.hrtimer_clock_base.0;
        out.push_str(&format!("  CLOCK: {}  HRTIMER_CLOCK_BASE: {base:x}", self.clock));
        match &self.name {
            Some(name) => out.push_str(&format!("  [{name}]\n")),
            None => out.push('\n'),
        }
        let Some(last) = self.timers.last() else {
            out.push_str("  (empty)\n");
            return;
        };
        // Columns are as wide as the last timer needs.
        let expires = last.expires.to_string().len().max("EXPIRES".len());
        let time_to_expire = last.time_to_expire.to_string().len();
        let soft = match &last.softexpires {
            Known::Value(None) => None,
            Known::Value(Some(time)) | Known::Guessed(Some(time), _) => {
                Some(time.to_string().len())
            }
            _ => Some(0),
        };
        let soft = soft.map(|width| width.max("SOFTEXPIRES".len()));
        let current = self.current.to_string();
        let first = soft.unwrap_or(expires);
        out.push_str(&format!("  {}\n", centered_right("CURRENT", first)));
        out.push_str(&format!("  {}\n  ", centered_right(&current, first)));
        if let Some(soft) = soft {
            out.push_str(&format!("{}  ", centered_right("SOFTEXPIRES", soft)));
        }
        out.push_str(&format!(
            "{}  {}  {}  {}\n",
            centered_right("EXPIRES", expires),
            centered_right("TTE", time_to_expire),
            centered("HRTIMER", ADDRESS),
            centered("FUNCTION", ADDRESS),
        ));
        for timer in &self.timers {
            if timer.is_gone() {
                out.push_str("  (destroyed timer)\n");
                continue;
            }
            out.push_str("  ");
            if let Some(soft) = soft {
                let time = timer.softexpires.clone().map(Option::unwrap_or_default);
                out.push_str(&format!("{}  ", centered_right(&time.to_string(), soft)));
            }
            let at = centered_right(&timer.expires.to_string(), expires);
            let left = &timer.time_to_expire;
            out.push_str(&format!("{at}  {left:>time_to_expire$}  {:x}  ", timer.hrtimer.0));
            if let Some(function) = timer.function.value() {
                let symbol = style.name(timer.symbol.as_deref().unwrap_or_default());
                out.push_str(&format!("{:x}  <{symbol}>", function.0));
            }
            out.push('\n');
        }
    }
}

pub(super) fn run(kernel: &Kernel, cpus: &[u32], out: &mut Output) -> Result<Damage, CommandError> {
    let monotonic = Known::from(kernel.clocks().map(|clocks| clocks.monotonic));
    let monotonic = monotonic.map(|now| i64::try_from(now).unwrap_or(i64::MAX));
    let mut damage = None;
    let mut begins_output = true;
    for &cpu in cpus {
        let cpu_base = kernel.hrtimer_cpu_base(cpu)?;
        for clock in kernel.hrtimer_clocks(cpu_base)? {
            out.check()?;
            let current = match (&monotonic, &clock.offset) {
                (Known::Value(now), Ok(offset)) => Known::Value(now.wrapping_add(*offset)),
                _ => Known::Unavailable("unknown"),
            };
            let (timers, wrong) = kernel.hrtimers(&clock);
            damage = damage.or(wrong);
            let timers = timers.into_iter().map(|timer| TimerReport::new(kernel, timer, &current));
            let timers = timers.collect();
            let get_time = match clock.get_time.is_null() {
                true => clock.name,
                false => function_name(kernel, clock.get_time),
            };
            out.emit(&ClockReport {
                cpu,
                hrtimer_cpu_base: Hex(cpu_base.0),
                clock: clock.index,
                hrtimer_clock_base: Hex(clock.address.0),
                name: get_time,
                current,
                timers,
                begins_cpu: clock.index == 0,
                begins_output,
            })?;
            begins_output = false;
        }
    }
    Ok(damage)
}
