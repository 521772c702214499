//! BPF maps.

use super::{Request, Selection, kind_name};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::structure::Structure;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::bpf::{Map, MapFacts};
use serde::Serialize;

/// A map.
#[derive(Serialize)]
struct Row {
    map: u64,
    address: Hex,
    #[serde(rename = "type")]
    kind: Known<String>,
    flags: Known<Hex>,
    key_size: Known<u64>,
    value_size: Known<u64>,
    max_entries: Known<u64>,
    memory: Option<u64>,
    name: Known<String>,
    uid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    structure: Option<Structure>,
    /// How wide the column of kinds is.
    #[serde(skip)]
    width: usize,
    #[serde(skip)]
    in_full: bool,
}

impl Row {
    fn new(kernel: &Kernel, request: &Request, map: &Map, width: usize) -> Self {
        let facts = Known::from(map.facts.clone());
        let number = |read: fn(&MapFacts) -> u64| facts.clone().map(|facts| read(&facts));
        let structure = |style| Structure::read(kernel, "bpf_map", map.address, style).ok();
        Self {
            map: map.id,
            address: Hex(map.address.0),
            kind: number(|facts| facts.kind)
                .map(|kind| kind_name(kernel, "bpf_map_type", "BPF_MAP_TYPE_", kind)),
            flags: number(|facts| facts.flags).map(Hex),
            key_size: number(|facts| facts.key_size),
            value_size: number(|facts| facts.value_size),
            max_entries: number(|facts| facts.max_entries),
            memory: facts.value().and_then(|facts| facts.memory),
            uid: facts.value().and_then(|facts| facts.uid),
            name: map.facts.clone().and_then(|facts| facts.name).into(),
            structure: request.structures.and_then(structure),
            width,
            in_full: request.maps.in_full(),
        }
    }
}

impl Render for Row {
    fn render(&self, out: &mut String, style: Style) {
        let Self { map, kind, key_size, value_size, max_entries, width, .. } = self;
        let flags = self.flags.clone().map(|flags| format!("{:08x}", flags.0));
        out.push_str(&format!("{map:^4} {:^16x} {kind:^width$}  {flags} \n", self.address.0));
        if self.in_full {
            let memory = self.memory.map_or("(unknown)".to_owned(), |bytes| bytes.to_string());
            let uid = self.uid.map_or("(unused)".to_owned(), |uid| uid.to_string());
            let name = match self.name.value() {
                Some(name) if name.is_empty() => "(unused)".to_owned(),
                Some(name) => format!("\"{}\"", style.name(name)),
                None => "(unknown)".to_owned(),
            };
            out.push_str(&format!(
                "     KEY_SIZE: {key_size}  VALUE_SIZE: {value_size}  MAX_ENTRIES: {max_entries}  \
                 MEMLOCK: {memory}\n     NAME: {name}  UID: {uid}\n"
            ));
        }
        if let Some(structure) = &self.structure {
            out.push('\n');
            structure.render(out, style);
        }
    }
}

pub(super) fn show(
    session: &Session,
    request: &Request,
    maps: &[Map],
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    // As wide as crash makes it: it takes the prefix of kinds of programs for that of maps.
    let width = kernel
        .enumerators("bpf_map_type")
        .unwrap_or_default()
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .map_or(0, |longest| longest.saturating_sub("BPF_PROG_TYPE_".len()));
    let heading = format!("{:^4} {:^16} {:^width$} MAP_FLAGS\n", "ID", "BPF_MAP", "BPF_MAP_TYPE");
    let chosen = maps.iter().filter(|map| request.maps.selects(map.id));
    for (index, map) in chosen.enumerate() {
        if index == 0 {
            out.layout(&heading)?;
        } else if request.maps == Selection::All {
            out.layout(&format!("\n{heading}"))?;
        }
        out.emit(&Row::new(kernel, request, map, width))?;
    }
    Ok(())
}
