//! What tests on the lab's dumps share: opening them, and reading what the guests said.

#![allow(dead_code, missing_docs, reason = "each test program uses a part of it")]

use mortis_shell::KernelOptions;
use mortis_shell::open::open;
use mortis_shell::output::Face;
use mortis_shell::run::capture;
use mortis_shell::session::{Session, Settings};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A guest with a dump of each of the captures that tests are written for.
pub struct Guest {
    pub kernel: String,
    pub case: String,
    pub dump: PathBuf,
}

impl Guest {
    /// Every guest of the lab that wrote its tasks down, by its filtered dump.
    pub fn all() -> Vec<Guest> {
        let guests: Vec<Guest> = products()
            .into_iter()
            .filter(|product| product.capture == whole_kernel(&product.kernel))
            .map(|product| Guest { kernel: product.kernel, case: product.case, dump: product.path })
            .filter(|guest| guest.has_truth("task/status"))
            .collect();
        assert!(!guests.is_empty(), "the lab has made no dump: run `cargo xtask lab`");
        guests
    }

    pub fn of(kernel: &str, case: &str, capture: &str) -> Guest {
        Guest {
            kernel: kernel.to_owned(),
            case: case.to_owned(),
            dump: mortis_lab::dump(kernel, case, capture),
        }
    }

    /// A guest's filtered dump that holds every page of the kernel.
    pub fn filtered(kernel: &str, case: &str) -> Guest {
        Guest::of(kernel, case, whole_kernel(kernel))
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.kernel, self.case)
    }

    pub fn has_truth(&self, name: &str) -> bool {
        mortis_lab::truth_names(&self.kernel, &self.case).iter().any(|have| have == name)
    }

    pub fn truth(&self, name: &str) -> String {
        mortis_lab::truth(&self.kernel, &self.case, name)
    }

    /// A file that the guest wrote for every task or process, by its id.
    pub fn truth_by_task(&self, name: &str) -> BTreeMap<u32, String> {
        let text = self.truth(name);
        let parts = text.split("== ").skip(1);
        let by_task = parts.filter_map(|part| {
            let (head, rest) = part.split_once('\n').unwrap_or((part, ""));
            // The group's id, the task's id and its name.
            let id = head.split(' ').nth(1)?.parse().ok()?;
            Some((id, rest.to_owned()))
        });
        by_task.collect()
    }

    pub fn session(&self) -> Session {
        session(std::slice::from_ref(&self.dump))
    }
}

/// The kernels that tests over all guests are written for. The lab has others, which tests name.
const KERNELS: [&str; 2] = ["6.12", "7.x"];

/// Every dump there is of these kernels, as a capture kernel wrote it.
pub fn products() -> Vec<mortis_lab::Product> {
    let mut products = mortis_lab::available();
    products.retain(|product| {
        KERNELS.contains(&product.kernel.as_str())
            && mortis_lab::table::capture(&product.capture).is_some()
    });
    products
}

/// The capture that leaves out what it should and no page of the kernel: makedumpfile 1.7.8's
/// `-d 31` takes some of 7.x's slabs and modules for pages of users, and which changes with the boot.
fn whole_kernel(kernel: &str) -> &'static str {
    if kernel == "7.x" { "c23" } else { "c31" }
}

pub fn session(files: &[PathBuf]) -> Session {
    session_with(files, KernelOptions::default())
}

pub fn session_with(files: &[PathBuf], options: KernelOptions) -> Session {
    open(files, options, Settings::default()).unwrap_or_else(|error| panic!("{files:?}: {error}"))
}

/// A command's text.
pub fn text(session: &mut Session, line: &str) -> String {
    capture(session, line, Face::Text).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// A command's error.
pub fn failure(session: &mut Session, line: &str) -> String {
    capture(session, line, Face::Text).expect_err(line)
}

/// A command's items.
pub fn items(session: &mut Session, line: &str) -> Vec<Value> {
    let text = capture(session, line, Face::Json).unwrap_or_else(|error| panic!("{line}: {error}"));
    let answer: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"));
    answer["items"].as_array().cloned().unwrap_or_default()
}

/// A member's text.
pub fn string<'a>(item: &'a Value, member: &str) -> &'a str {
    item[member].as_str().unwrap_or_else(|| panic!("{member} of {item}"))
}

/// A member's number.
pub fn number(item: &Value, member: &str) -> u64 {
    item[member].as_u64().unwrap_or_else(|| panic!("{member} of {item}"))
}

/// Whether a member could not be read because its page was left out of the dump.
pub fn is_excluded(item: &Value, member: &str) -> bool {
    item[member]["unavailable"] == "excluded"
}
