//! A bounded fuzz run on a stable compiler: `mortis-fuzz TARGET|all [--seconds N] [--seed S]`, or
//! `mortis-fuzz TARGET FILE…` to run inputs again.
//!
//! A panic, an input that takes longer than [`HANG`], or a process above [`MEMORY`] ends the run
//! with exit status 1 and the input in `fuzz/artifacts/`. The same seed gives the same inputs.

use mortis_dump_synthetic::Random;
use mortis_fuzz::mutation::mutate;
use mortis_fuzz::{TARGETS, Target};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const HANG: Duration = Duration::from_secs(10);
const MEMORY: u64 = 256 << 20;

/// The input at hand and since when, for the watchdog.
static CURRENT: Mutex<Option<(Instant, &'static str, Vec<u8>)>> = Mutex::new(None);

struct Arguments {
    targets: Vec<Target>,
    seconds: u64,
    seed: u64,
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    let Some(arguments) = arguments() else {
        eprintln!(
            "usage: mortis-fuzz TARGET|all [--seconds N] [--seed S] [FILE...]\ntargets: {}",
            names.join(" ")
        );
        return ExitCode::from(2);
    };
    std::thread::spawn(watch);
    let passed = arguments.targets.iter().all(|target| match arguments.files.is_empty() {
        true => run(target, arguments.seconds, arguments.seed),
        false => again(target, &arguments.files),
    });
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments() -> Option<Arguments> {
    let mut given = std::env::args().skip(1);
    let name = given.next()?;
    let targets: Vec<Target> =
        TARGETS.iter().filter(|target| name == "all" || name == target.name).copied().collect();
    let mut arguments = Arguments { targets, seconds: 30, seed: 1, files: Vec::new() };
    while let Some(argument) = given.next() {
        match &*argument {
            "--seconds" => arguments.seconds = given.next()?.parse().ok()?,
            "--seed" => arguments.seed = given.next()?.parse().ok()?,
            file => arguments.files.push(file.into()),
        }
    }
    (!arguments.targets.is_empty()).then_some(arguments)
}

/// Mutates the target's seeds until the time is over.
fn run(target: &Target, seconds: u64, seed: u64) -> bool {
    let seeds = (target.seeds)();
    let mut random = Random::new(seed);
    let start = Instant::now();
    let mut inputs = 0u64;
    if !seeds.iter().all(|input| holds(target, input.clone())) {
        return false;
    }
    while start.elapsed() < Duration::from_secs(seconds) {
        if !holds(target, mutate(&mut random, &seeds)) {
            return false;
        }
        inputs += 1;
        if inputs.is_multiple_of(256) && peak_memory().is_some_and(|bytes| bytes > MEMORY) {
            eprintln!("{}: above {MEMORY} bytes of memory within 256 inputs", target.name);
            return false;
        }
    }
    let peak = peak_memory().unwrap_or(0) >> 20;
    println!("{}: {inputs} inputs in {seconds} s, peak memory {peak} MiB", target.name);
    true
}

/// Runs inputs from files.
fn again(target: &Target, files: &[PathBuf]) -> bool {
    files.iter().all(|file| match std::fs::read(file) {
        Ok(input) => holds(target, input),
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            false
        }
    })
}

fn holds(target: &Target, input: Vec<u8>) -> bool {
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) =
        Some((Instant::now(), target.name, input.clone()));
    let survived = catch_unwind(|| (target.fuzz)(&input)).is_ok();
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if !survived {
        keep(target.name, "panics", &input);
    }
    survived
}

/// Ends the process when one input takes too long.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, name, input)) = &*current
            && since.elapsed() > HANG
        {
            keep(name, "hangs", input);
            std::process::exit(1);
        }
    }
}

fn keep(name: &str, what: &str, input: &[u8]) {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    let file = folder.join(format!("{name}-{hash:016x}"));
    match std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input)) {
        Ok(()) => eprintln!("{name} {what}: {}", file.display()),
        Err(error) => eprintln!("{name} {what}; its input cannot be kept: {error}"),
    }
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
