//! Sockets: those that a task has open, and what they are bound and connected to.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

layout! {
    /// The open files that tasks share: include/linux/fdtable.h.
    pub struct FilesStruct = "files_struct" {
        table: "fdt",
    }
}

layout! {
    /// Open files by descriptor: include/linux/fdtable.h.
    pub struct FdTable = "fdtable" {
        max_fds: "max_fds",
        files: "fd",
        open: "open_fds",
    }
}

layout! {
    /// An open file: include/linux/fs.h.
    pub struct SocketFile = "file" {
        operations: "f_op",
        /// The `struct socket` of a socket's file.
        private_data: "private_data",
    }
}

layout! {
    /// What user space sees of a socket: include/linux/net.h.
    pub struct SocketStruct = "socket" {
        state: "state",
        sock: "sk",
    }
}

layout! {
    /// What a protocol sees of a socket: include/net/sock.h.
    pub struct Sock = "sock" {
        family: "__sk_common.skc_family",
        state: "__sk_common.skc_state",
        daddr: "__sk_common.skc_daddr",
        rcv_saddr: "__sk_common.skc_rcv_saddr",
        dport: "__sk_common.skc_dport",
        /// The local port, in the machine's byte order.
        num: "__sk_common.skc_num",
        daddr6: "__sk_common.skc_v6_daddr",
        rcv_saddr6: "__sk_common.skc_v6_rcv_saddr",
        kind: "sk_type",
        protocol: "sk_protocol",
    }
}

layout! {
    /// A socket of the Internet protocols: include/net/inet_sock.h.
    pub struct InetSock = "inet_sock" {
        sport: "inet_sport",
    }
}

layout! {
    /// A Unix socket: include/net/af_unix.h.
    pub struct UnixSock = "unix_sock" {
        address: "addr",
        peer: "peer",
    }
}

layout! {
    /// A Unix socket's name: include/net/af_unix.h.
    pub struct UnixAddress = "unix_address" {
        len: "len",
        name: "name",
    }
}

layout! {
    /// A netlink socket: net/netlink/af_netlink.h.
    pub struct NetlinkSock = "netlink_sock" {
        port: "portid",
        destination: "dst_portid",
    }
}

layout! {
    /// A packet socket: net/packet/internal.h.
    pub struct PacketSock = "packet_sock" {
        device_index: "ifindex",
        protocol: "num",
    }
}

/// Address families (include/linux/socket.h) that have more to tell.
pub mod family {
    #![allow(missing_docs)]
    pub const UNIX: u16 = 1;
    pub const INET: u16 = 2;
    pub const INET6: u16 = 10;
    pub const NETLINK: u16 = 16;
    pub const PACKET: u16 = 17;
}

/// `IPPROTO_TCP`.
const TCP: u64 = 6;

/// `SOCK_STREAM` and `SOCK_SEQPACKET` Unix sockets have connections.
const STREAM: u16 = 1;

/// What a socket is bound and connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// IPv4 and IPv6: the local and the remote end.
    Internet {
        /// Where packets come in.
        source: SocketAddr,
        /// Where they go.
        destination: SocketAddr,
    },
    /// A Unix socket.
    Unix {
        /// The path; `@` stands for the NUL that a name outside the file system begins with.
        path: Option<String>,
        /// The `struct sock` at the other end, or null.
        peer: VirtAddr,
    },
    /// A netlink socket: its port and that at the other end.
    Netlink {
        /// Mostly the process's id.
        port: u32,
        /// 0 is the kernel.
        destination: u32,
    },
    /// A packet socket.
    Packet {
        /// The device's number; 0 for all.
        device_index: u32,
        /// `ETH_P_*`.
        protocol: u16,
    },
    /// Another family.
    Other,
}

/// What a `struct sock` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SockFacts {
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub kind: u16,
    /// `IPPROTO_*`, `NETLINK_*`.
    pub protocol: u64,
    /// `TCP_*` of include/net/tcp_states.h, which other families use as well.
    pub state: u8,
    /// What it is bound and connected to; an error where the page is not there.
    pub endpoints: Result<Endpoints>,
}

impl SockFacts {
    /// The state's name, as the kernel's tables of sockets have it, for those with connections.
    pub fn state_name(&self) -> Option<&'static str> {
        const NAMES: [&str; 13] = [
            "ESTABLISHED",
            "SYN_SENT",
            "SYN_RECV",
            "FIN_WAIT1",
            "FIN_WAIT2",
            "TIME_WAIT",
            "CLOSE",
            "CLOSE_WAIT",
            "LAST_ACK",
            "LISTEN",
            "CLOSING",
            "NEW_SYN_RECV",
            "BOUND_INACTIVE",
        ];
        let connects = match self.family {
            family::INET | family::INET6 => self.protocol == TCP,
            family::UNIX => self.kind >= STREAM,
            _ => false,
        };
        let index = usize::from(self.state).checked_sub(1)?;
        NAMES.get(index).copied().filter(|_| connects)
    }
}

/// A socket that a task has open.
#[derive(Clone, Debug)]
pub struct OpenSocket {
    /// The descriptor.
    pub fd: u32,
    /// The `struct socket`.
    pub socket: VirtAddr,
    /// The `struct sock`.
    pub sock: Result<VirtAddr>,
}

/// The sockets among open files, and what kept some files from being looked at.
#[derive(Clone, Debug, Default)]
pub struct OpenSockets {
    /// By descriptor.
    pub sockets: Vec<OpenSocket>,
    /// How many descriptors there is room for.
    pub max_fds: u64,
    /// The first failure.
    pub damage: Option<KernelError>,
}

/// More descriptors than a process may have (`sysctl_nr_open` is at most 2^30; nobody gets near).
const MAX_FDS: u64 = 1 << 22;

/// Reads sockets; made once for many tasks.
pub struct SocketReader<'k> {
    kernel: &'k Kernel,
    files: Arc<FilesStruct>,
    table: Arc<FdTable>,
    file: Arc<SocketFile>,
    socket: Arc<SocketStruct>,
    sock: Arc<Sock>,
    inet: Option<Arc<InetSock>>,
    /// What makes a file a socket.
    operations: VirtAddr,
}

impl<'k> SocketReader<'k> {
    /// A reader of `kernel`'s sockets.
    ///
    /// # Errors
    /// When types or symbols do not tell what a socket is.
    pub fn new(kernel: &'k Kernel) -> Result<Self> {
        Ok(Self {
            kernel,
            files: kernel.layout()?,
            table: kernel.layout()?,
            file: kernel.layout()?,
            socket: kernel.layout()?,
            sock: kernel.layout()?,
            inet: kernel.layout().ok(),
            operations: kernel.symbol("socket_file_ops")?,
        })
    }

    /// The sockets among the files at `files`, a `struct files_struct` or null.
    pub fn open_sockets(&self, files: VirtAddr) -> OpenSockets {
        let mut open = OpenSockets::default();
        if !files.is_null()
            && let Err(error) = self.read_table(files, &mut open)
        {
            open.damage.get_or_insert(error);
        }
        open
    }

    fn read_table(&self, files: VirtAddr, open: &mut OpenSockets) -> Result<()> {
        let kernel = self.kernel;
        let table = self.files.table.pointer(kernel, files)?;
        let bytes = kernel.read_bytes(table, self.table.size_of)?;
        let max_fds = self.table.max_fds.u64_in(&bytes)?;
        let array = VirtAddr(self.table.files.u64_in(&bytes)?);
        let bitmap = VirtAddr(self.table.open.u64_in(&bytes)?);
        if max_fds > MAX_FDS {
            return Err(KernelError::DamagedList {
                list: "open files",
                problem: "there are too many",
                at: table,
            });
        }
        open.max_fds = max_fds;
        let bits = kernel.read_bytes(bitmap, max_fds.div_ceil(64) * 8)?;
        for (word, bits) in bits.chunks_exact(8).enumerate() {
            let mut bits = bits.try_into().map_or(0, u64::from_le_bytes);
            if bits == 0 {
                continue;
            }
            let first = word as u64 * 64;
            let mut pointers = [0; 64 * 8];
            let len = 8 * (64 - bits.leading_zeros() as usize);
            let pointers = pointers.get_mut(..len).unwrap_or_default();
            if let Err(error) = kernel.read(array.offset(first * 8), pointers) {
                open.damage.get_or_insert(error.into());
                continue;
            }
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                let file = pointers
                    .get(bit as usize * 8..bit as usize * 8 + 8)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map_or(0, u64::from_le_bytes);
                if file == 0 {
                    continue;
                }
                match self.socket_of(VirtAddr(file)) {
                    Ok(None) => {}
                    Ok(Some(socket)) => open.sockets.push(OpenSocket {
                        fd: first as u32 + bit,
                        socket,
                        sock: self.socket.sock.pointer(kernel, socket),
                    }),
                    Err(error) => {
                        open.damage.get_or_insert(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The `struct socket` behind a file, if it is a socket's.
    fn socket_of(&self, file: VirtAddr) -> Result<Option<VirtAddr>> {
        if self.file.operations.pointer(self.kernel, file)? != self.operations {
            return Ok(None);
        }
        self.file.private_data.pointer(self.kernel, file).map(Some)
    }

    /// What the `struct sock` at `sock` says.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn facts(&self, sock: VirtAddr) -> Result<SockFacts> {
        let layout = &*self.sock;
        let bytes = self.kernel.read_bytes(sock, layout.size_of)?;
        let family = layout.family.u64_in(&bytes)? as u16;
        let kind = layout.kind.u64_in(&bytes)? as u16;
        Ok(SockFacts {
            family,
            kind,
            protocol: layout.protocol.u64_in(&bytes).unwrap_or(0),
            state: layout.state.u64_in(&bytes)? as u8,
            endpoints: self.endpoints(family, sock, &bytes),
        })
    }

    fn endpoints(&self, family: u16, sock: VirtAddr, bytes: &[u8]) -> Result<Endpoints> {
        let (kernel, layout) = (self.kernel, &*self.sock);
        match family {
            family::INET | family::INET6 => {
                let inet = self
                    .inet
                    .as_ref()
                    .ok_or_else(|| KernelError::NoType("struct inet_sock".to_owned()))?;
                // Ports on the wire have the larger byte first.
                let sport = (inet.sport.u64(kernel, sock)? as u16).swap_bytes();
                let dport = (layout.dport.u64_in(bytes)? as u16).swap_bytes();
                let ends = if family == family::INET {
                    let ip =
                        |value: u64| IpAddr::from(Ipv4Addr::from((value as u32).to_le_bytes()));
                    [ip(layout.rcv_saddr.u64_in(bytes)?), ip(layout.daddr.u64_in(bytes)?)]
                } else {
                    let ip = |field: &crate::layout::Field| -> Result<IpAddr> {
                        let start = usize::try_from(field.offset()?).unwrap_or(usize::MAX);
                        let found = bytes.get(start..).and_then(<[u8]>::first_chunk::<16>);
                        let found = found.ok_or_else(|| KernelError::NoMember {
                            structure: "sock".to_owned(),
                            member: "skc_v6_daddr".to_owned(),
                        })?;
                        Ok(Ipv6Addr::from(*found).into())
                    };
                    [ip(&layout.rcv_saddr6)?, ip(&layout.daddr6)?]
                };
                Ok(Endpoints::Internet {
                    source: SocketAddr::new(ends[0], sport),
                    destination: SocketAddr::new(ends[1], dport),
                })
            }
            family::UNIX => {
                let layout = kernel.layout::<UnixSock>()?;
                let address = layout.address.pointer(kernel, sock)?;
                let peer = layout.peer.pointer(kernel, sock)?;
                let path = match address.is_null() {
                    true => None,
                    false => Some(self.unix_path(address)?),
                };
                Ok(Endpoints::Unix { path, peer })
            }
            family::NETLINK => {
                let layout = kernel.layout::<NetlinkSock>()?;
                Ok(Endpoints::Netlink {
                    port: layout.port.u64(kernel, sock)? as u32,
                    destination: layout.destination.u64(kernel, sock)? as u32,
                })
            }
            family::PACKET => {
                let layout = kernel.layout::<PacketSock>()?;
                Ok(Endpoints::Packet {
                    device_index: layout.device_index.u64(kernel, sock)? as u32,
                    protocol: (layout.protocol.u64(kernel, sock)? as u16).swap_bytes(),
                })
            }
            _ => Ok(Endpoints::Other),
        }
    }

    /// The name in the `struct unix_address` at `address`.
    fn unix_path(&self, address: VirtAddr) -> Result<String> {
        /// `sizeof(struct sockaddr_un)`.
        const MAX_LEN: u64 = 110;
        let layout = self.kernel.layout::<UnixAddress>()?;
        // Behind the family, which takes two bytes.
        let len = layout.len.u64(self.kernel, address)?.min(MAX_LEN).saturating_sub(2);
        let name = layout.name.address(address)?.offset(2);
        let mut bytes = self.kernel.read_bytes(name, len)?;
        if let Some(first @ 0) = bytes.first_mut() {
            *first = b'@';
        } else {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            bytes.truncate(end);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
