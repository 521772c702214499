//! spike
use crate::arguments::Arguments;
use crate::command::{Command, CommandError};
use crate::output::{Output, Text};
use crate::session::Session;
use crate::known::Known;
/// spike
pub const COMMAND: Command = Command { name: "spike", aliases: &[], summary: "", synopsis: "", options: &[], help: "", run };
fn run(s: &mut Session, _a: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let k = &s.kernel;
    let t = std::time::Instant::now();
    k.symbols()?; eprintln!("symbols {:?}", t.elapsed());
    k.types()?; eprintln!("types {:?}", t.elapsed());
    k.task_struct()?; eprintln!("task_struct {:?}", t.elapsed());
    let cpus = k.cpus()?; eprintln!("cpus {cpus:?} {:?}", t.elapsed());
    let l = k.tasks(); eprintln!("tasks {} {:?}", l.tasks.len(), t.elapsed());
    for p in &l.problems { eprintln!("problem {p}"); }
    for t in &l.tasks { out.emit(&Text{text: format!("{:>6} {:x} {} {} {}\n", t.pid, t.address.0, Known::from(t.cpu(k)), Known::from(t.state(k)), Known::from(t.comm(k)))})?; }
    eprintln!("panic cpu {:?} task {:?} regs {:x?}", k.panic_cpu(), k.panic_task(), k.cpu_registers(k.panic_cpu().unwrap_or(0)));
    let (m, p) = k.modules(); for m in m { eprintln!("{m:x?}"); } eprintln!("{p:?}");
    let t = std::time::Instant::now();
    eprintln!("{:?} {:?}", k.symbolize(mortis_memory::VirtAddr(k.cpu_registers(0).map_or(0, |r| r.0.rip))), t.elapsed());
    let end = k.log(&mut |r| { let _ = out.emit(&Text{text: format!("{:?} {}\n", r.ts_nsec, r.text)}); true })?;
    eprintln!("{end:?} {:?}", t.elapsed());
    Ok(())
}
