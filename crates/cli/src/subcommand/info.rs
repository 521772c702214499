//! `mortis info`.

use super::{Call, JSON, LAYOUT, SNAPSHOT, Subcommand, switch};
use anyhow::{Result, bail};
use mortis_shell::convert::find_vmcoreinfo;
use mortis_shell::dump_info::DumpInfo;
use mortis_shell::open::open_dump;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) const SUBCOMMAND: Subcommand = Subcommand {
    name: "info",
    usage: "[OPTIONS] FILE...",
    summary: "say what dumps are and hold, without opening the kernel in them",
    about: "Format, compression, dump level, the kernel's release and build-id, registers, notes, and\n\
            which memory is there. Needs no vmlinux, and tells what there is to tell of damaged files.\n\
            Files of one dump are shown as one, other files one after the other.\n\
            Exit status: 0 success, 2 a file is no dump or cannot be opened.",
    flags: &[
        JSON,
        switch(
            "search",
            "look for VMCOREINFO in memory where it is no note (reads all of the dump)",
        ),
        SNAPSHOT,
        LAYOUT,
    ],
    run,
};

fn run(call: &Call) -> Result<ExitCode> {
    let files = call.files();
    if files.is_empty() && !call.is_set("layout") {
        bail!("no file was given\nTry 'mortis info --help'.");
    }
    let mut infos = Vec::new();
    let mut failed = false;
    // Files that are not one dump are several.
    let together = if call.is_set("layout") {
        Some(info(call, &files)?)
    } else {
        (files.len() > 1).then(|| info(call, &files)).and_then(Result::ok)
    };
    match together {
        Some(info) => infos.push(info),
        None => {
            for file in &files {
                let file = std::slice::from_ref(file);
                infos.push(info(call, file).unwrap_or_else(|problem| {
                    failed = true;
                    DumpInfo::of_unopened(file, problem.to_string())
                }));
            }
        }
    }
    call.answer("info", if failed { crate::UNUSABLE } else { 0 }, |output| {
        for (index, info) in infos.iter().enumerate() {
            if index > 0 {
                output.layout("\n")?;
            }
            output.emit(info)?;
        }
        Ok(())
    })
}

fn info(call: &Call, files: &[PathBuf]) -> Result<DumpInfo> {
    let input = call.input(files.to_owned())?;
    let dump = open_dump(&input, files).map_err(|failure| match &failure.advice {
        Some(advice) => anyhow::anyhow!("{failure}: {advice}"),
        None => failure.into(),
    })?;
    let wanted = call.is_set("search") && dump.vmcoreinfo().is_none();
    let found = wanted.then(|| find_vmcoreinfo(&dump, &call.interrupt));
    Ok(DumpInfo::of(&dump, found))
}
