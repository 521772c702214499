//! `net -s` and `net -S`: the sockets that tasks have open.

use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::known::Known;
use crate::number::is_number;
use crate::output::{Face, Output, Render, Style};
use crate::session::Session;
use crate::structure::Structure;
use crate::task_facts::FactsReader;
use crate::task_header::{Hex, TaskHeader};
use crate::typed_value::ValueStyle;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::scan;
use mortis_kernel::socket::{Endpoints, OpenSockets, SockFacts, SocketReader};
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

/// What `-s`, `-S`, `-R`, `-x` and `-d` ask for.
pub(super) struct Request {
    structures: bool,
    reference: Option<Reference>,
    style: ValueStyle,
}

/// What `-R` looks for.
enum Reference {
    /// A descriptor in decimal. Past a task's last descriptor the digits are an address.
    Descriptor { decimal: u64, hexadecimal: u64 },
    /// An address of a socket or sock, or a descriptor in hexadecimal.
    Address(u64),
    /// No number: nothing.
    Nothing,
}

impl Reference {
    fn parse(word: &str) -> Self {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let hexadecimal = u64::from_str_radix(digits, 16);
        match (is_number(word), word.parse(), hexadecimal) {
            (true, Ok(decimal), Ok(hexadecimal)) => Self::Descriptor { decimal, hexadecimal },
            (true, _, Ok(address)) => Self::Address(address),
            _ => Self::Nothing,
        }
    }

    fn matches(&self, max_fds: u64, socket: &Socket) -> bool {
        let at = |address: u64| {
            socket.sock.value() == Some(&Hex(address))
                || socket.socket == Hex(address)
                || u64::from(socket.fd) == address
        };
        match *self {
            Self::Descriptor { decimal, .. } if decimal <= max_fds => {
                u64::from(socket.fd) == decimal
            }
            Self::Descriptor { hexadecimal, .. } => at(hexadecimal),
            Self::Address(address) => at(address),
            Self::Nothing => false,
        }
    }
}

/// A socket.
#[derive(Serialize)]
struct Socket {
    fd: u32,
    socket: Hex,
    sock: Known<Hex>,
    #[serde(flatten)]
    facts: Facts,
    /// With `-S`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    structures: Vec<Structure>,
}

/// What a `struct sock` says. Members that its family does not have are left out.
#[derive(Serialize)]
struct Facts {
    family: Known<String>,
    #[serde(rename = "type")]
    kind: Known<String>,
    protocol: Known<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_port: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ethernet_protocol: Option<Hex>,
}

/// crash's names of address families, by number.
const FAMILIES: [&str; 25] = [
    "UNSPEC",
    "UNIX",
    "INET",
    "AX25",
    "IPX",
    "APPLETALK",
    "NETROM",
    "BRIDGE",
    "ATMPVC",
    "X25",
    "INET6",
    "ROSE",
    "DECnet",
    "NETBEUI",
    "SECURITY/KEY",
    "",
    "NETLINK/ROUTE",
    "PACKET",
    "ASH",
    "ECONET",
    "ATMSVC",
    "",
    "SNA",
    "IRDA",
    "PPPOX",
];

/// Names of kinds of sockets (`SOCK_*` of include/linux/net.h), by number.
const KINDS: [&str; 11] =
    ["", "STREAM", "DGRAM", "RAW", "RDM", "SEQPACKET", "", "", "", "", "PACKET"];

/// The name of `number`, or else its digits.
fn named(names: &[&str], number: u16) -> String {
    let name = names.get(usize::from(number)).filter(|name| !name.is_empty());
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

impl From<Result<SockFacts, KernelError>> for Facts {
    fn from(found: Result<SockFacts, KernelError>) -> Self {
        let known = Known::from(found);
        let mut facts = Self {
            family: known.clone().map(|sock| named(&FAMILIES, sock.family)),
            kind: known.clone().map(|sock| named(&KINDS, sock.kind)),
            protocol: known.clone().map(|sock| sock.protocol),
            state: known.value().and_then(SockFacts::state_name),
            source: None,
            destination: None,
            path: None,
            peer: None,
            port: None,
            destination_port: None,
            device_index: None,
            ethernet_protocol: None,
        };
        let Known::Value(SockFacts { endpoints: Ok(endpoints), .. }) = known else { return facts };
        match endpoints {
            Endpoints::Internet { source, destination } => {
                (facts.source, facts.destination) = (Some(source), Some(destination));
            }
            Endpoints::Unix { path, peer } => {
                facts.path = path;
                facts.peer = (!peer.is_null()).then_some(Hex(peer.0));
            }
            Endpoints::Netlink { port, destination } => {
                (facts.port, facts.destination_port) = (Some(port), Some(destination));
            }
            Endpoints::Packet { device_index, protocol } => {
                facts.device_index = Some(device_index);
                facts.ethernet_protocol = Some(Hex(protocol.into()));
            }
            Endpoints::Other => {}
        }
        facts
    }
}

/// An end of a connection, as crash spells it: all eight groups of an IPv6 address.
fn end(end: SocketAddr) -> String {
    match end.ip() {
        IpAddr::V4(ip) => format!("{ip}-{}", end.port()),
        IpAddr::V6(ip) => {
            let groups: Vec<String> = ip.segments().iter().map(|g| format!("{g:x}")).collect();
            format!("{}-{}", groups.join(":"), end.port())
        }
    }
}

impl Facts {
    fn render(&self, out: &mut String) {
        let kind = match self.kind.value() {
            Some(kind) if kind == "DGRAM" => "DGRAM ".to_owned(),
            _ => self.kind.to_string(),
        };
        out.push_str(&format!("{}:{kind} ", self.family));
        let (Some(source), Some(destination)) = (self.source, self.destination) else { return };
        let (from, to) = (end(source), end(destination));
        if source.is_ipv4() {
            out.push_str(&format!(" {from} {to}"));
        } else {
            // As wide as the source, in its middle.
            out.push_str(&format!("{from:>12} {to:^width$}", width = from.len()));
        }
    }
}

impl Socket {
    fn sock_text(&self) -> Known<String> {
        self.sock.clone().map(|sock| format!("{:x}", sock.0))
    }

    fn render_structures(&self, out: &mut String, style: Style) {
        out.push_str(&format!("FD  {:^16}  {:^16}\n", "SOCKET", "SOCK"));
        let (fd, sock) = (self.fd, self.sock_text());
        out.push_str(&format!("{fd:>2}  {:>16x}  {sock:>16}\n\n", self.socket.0));
        for structure in &self.structures {
            structure.render(out, style);
        }
    }
}

/// A task's sockets.
#[derive(Serialize)]
struct TaskSockets {
    #[serde(flatten)]
    task: TaskHeader,
    #[serde(serialize_with = "shared")]
    sockets: Arc<Found>,
    /// Whether only what `-R` names is shown.
    #[serde(skip)]
    only_reference: bool,
}

fn shared<S: serde::Serializer>(found: &Arc<Found>, serializer: S) -> Result<S::Ok, S::Error> {
    found.sockets.serialize(serializer)
}

impl Render for TaskSockets {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        out.push_str(&self.sockets.text);
        if self.only_reference {
            out.push('\n');
        }
    }
}

/// What was found in one table of open files.
struct Found {
    sockets: Vec<Socket>,
    damage: Option<KernelError>,
    /// What stands under the heading of each task that has it; empty where that is not wanted.
    text: String,
}

/// Tasks that one core looks at in a row.
const TASKS_AT_ONCE: usize = 64;

/// Tables whose sockets are kept for other tasks that share them.
const MAX_SHARED: usize = 1 << 14;

impl Request {
    pub fn parse(session: &Session, arguments: &Arguments) -> Self {
        Self {
            structures: arguments.has('S') && !arguments.has('s'),
            reference: arguments.value('R').map(Reference::parse),
            style: ValueStyle::new(session, arguments.has('x'), arguments.has('d')),
        }
    }

    pub fn run(
        &self,
        session: &Session,
        tasks: &[Task],
        out: &mut Output,
    ) -> Result<(), CommandError> {
        let kernel = &*session.kernel;
        let facts = FactsReader::new(session, tasks, out)?;
        let reader = SocketReader::new(kernel)?;
        // The threads of a process share their files.
        let tables: Mutex<HashMap<VirtAddr, Arc<Found>>> = Mutex::default();
        let (face, style) = (out.face(), out.style());
        let progress = out.progress("looking at open files");
        progress.expect(tasks.len() as u64);
        let one = |task: Task| {
            let task = facts.read(task);
            let known =
                task.open_files.as_ref().ok().and_then(|files| {
                    tables.lock().ok().and_then(|tables| tables.get(files).cloned())
                });
            let sockets = known.unwrap_or_else(|| {
                let open = match &task.open_files {
                    Ok(files) => reader.open_sockets(*files),
                    Err(error) => {
                        OpenSockets { damage: Some((**error).clone()), ..OpenSockets::default() }
                    }
                };
                let mut found = self.read(kernel, &reader, open);
                if face == Face::Text {
                    found.text = self.render(&found.sockets, style);
                }
                let found = Arc::new(found);
                if let (Ok(files), Ok(mut tables)) = (&task.open_files, tables.lock()) {
                    if tables.len() >= MAX_SHARED {
                        tables.clear();
                    }
                    tables.insert(*files, Arc::clone(&found));
                }
                found
            });
            (task.header(), sockets)
        };
        let work = |tasks: &[Task]| {
            let found: Vec<(TaskHeader, Arc<Found>)> =
                tasks.iter().map(|task| one(*task)).collect();
            (progress.advance(tasks.len() as u64), found)
        };
        let (mut begun, mut failures, mut first) = (false, 0u64, None);
        scan::in_order(tasks.chunks(TASKS_AT_ONCE), work, |(advanced, found)| {
            advanced?;
            for (task, sockets) in found {
                if let Some(damage) = &sockets.damage {
                    failures += 1;
                    first.get_or_insert_with(|| damage.clone());
                }
                if self.reference.is_some() && sockets.sockets.is_empty() {
                    continue;
                }
                if begun && self.reference.is_none() {
                    out.layout("\n")?;
                }
                begun = true;
                out.emit(&TaskSockets { task, sockets, only_reference: self.reference.is_some() })?;
            }
            Ok::<(), CommandError>(())
        })?;
        if let Some(first) = first {
            let tasks = tasks.len();
            out.warn(format!("open files of {failures} of {tasks} tasks: {first}"));
        }
        Ok(())
    }

    fn read(&self, kernel: &Kernel, reader: &SocketReader, open: OpenSockets) -> Found {
        let max_fds = open.max_fds;
        let sockets = open.sockets.into_iter().filter_map(|found| {
            let facts = found.sock.clone().and_then(|sock| reader.facts(sock));
            let mut socket = Socket {
                fd: found.fd,
                socket: Hex(found.socket.0),
                sock: Known::from(found.sock.clone()).map(|sock| Hex(sock.0)),
                facts: facts.into(),
                structures: Vec::new(),
            };
            if self.reference.as_ref().is_some_and(|wanted| !wanted.matches(max_fds, &socket)) {
                return None;
            }
            if self.structures {
                let sock = found.sock.map(|sock| ("inet_sock", sock));
                let both = [Ok(("socket", found.socket)), sock];
                socket.structures = both
                    .into_iter()
                    .filter_map(|part| {
                        let (tag, address) = part.ok()?;
                        Structure::read(kernel, tag, address, self.style).ok()
                    })
                    .collect();
            }
            Some(socket)
        });
        Found { sockets: sockets.collect(), damage: open.damage, text: String::new() }
    }

    fn render(&self, sockets: &[Socket], style: Style) -> String {
        let mut out = String::new();
        if sockets.is_empty() {
            out.push_str("No open sockets.\n");
        } else if !self.structures {
            out.push_str(
                "FD      SOCKET            SOCK       FAMILY:TYPE SOURCE-PORT DESTINATION-PORT\n",
            );
        }
        for (index, socket) in sockets.iter().enumerate() {
            if self.structures {
                if index > 0 {
                    out.push('\n');
                }
                socket.render_structures(&mut out, style);
                continue;
            }
            let (fd, sock) = (socket.fd, socket.sock_text());
            out.push_str(&format!("{fd:>2} {:>16x} {sock:>16} ", socket.socket.0));
            socket.facts.render(&mut out);
            out.push('\n');
        }
        out
    }
}
