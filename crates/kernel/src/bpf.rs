//! BPF: the programs and maps in the kernel, and what programs say.

pub mod instruction;

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::xarray;
use instruction::Instruction;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// Objects by number: include/linux/idr.h.
    pub struct Idr = "idr" {
        tree: "idr_rt",
    }
}

layout! {
    /// A program: include/linux/filter.h.
    pub struct BpfProg = "bpf_prog" {
        pages: "pages",
        gpl_compatible: "gpl_compatible",
        kind: "type",
        tag: "tag",
        len: "len",
        jited_len: "jited_len",
        function: "bpf_func",
        aux: "aux",
        instructions: "insnsi",
    }
}

layout! {
    /// The rest of it: include/linux/bpf.h.
    pub struct BpfProgAux = "bpf_prog_aux" {
        used_maps: "used_maps",
        used_map_count: "used_map_cnt",
        load_time: "load_time",
        name: "name",
        user: "user",
    }
}

layout! {
    /// A map: include/linux/bpf.h.
    pub struct BpfMap = "bpf_map" {
        kind: "map_type",
        flags: "map_flags",
        key_size: "key_size",
        value_size: "value_size",
        max_entries: "max_entries",
        name: "name",
        /// In the map until 5.11, which charges the memory to a control group.
        pages: "memory.pages" | "pages",
        user: "memory.user" | "user",
    }
}

layout! {
    /// A ring buffer: kernel/bpf/ringbuf.c.
    pub struct BpfRingbufMap = "bpf_ringbuf_map" {
        map: "map",
        buffer: "rb",
    }
}

layout! {
    /// Its memory.
    pub struct BpfRingbuf = "bpf_ringbuf" {
        pages: "nr_pages",
        consumer: "consumer_pos",
    }
}

layout! {
    /// A user: include/linux/sched/user.h.
    pub struct UserStruct = "user_struct" {
        uid: "uid.val" | "uid",
    }
}

/// `MAX_USED_MAPS` of include/linux/bpf_verifier.h.
const MAX_USED_MAPS: u64 = 64;

/// `BPF_COMPLEXITY_LIMIT_INSNS`: no program is longer.
const MAX_INSTRUCTIONS: u64 = 1_000_000;

/// A program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its number.
    pub id: u64,
    /// Its `struct bpf_prog`.
    pub address: VirtAddr,
    /// What it says of itself.
    pub facts: Result<ProgramFacts>,
}

/// What a program says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Its `struct bpf_prog_aux`.
    pub aux: VirtAddr,
    /// `BPF_PROG_TYPE_*`.
    pub kind: u64,
    /// A hash of its instructions.
    pub tag: [u8; 8],
    /// How many instructions, of 8 bytes.
    pub len: u64,
    /// Bytes of machine code; 0 where there is none.
    pub jited_len: u64,
    /// Where the machine code begins.
    pub function: VirtAddr,
    /// Pages of memory.
    pub pages: Result<u64>,
    /// Nanoseconds since boot when it was loaded.
    pub load_time: Result<u64>,
    /// Whether its licence is compatible with the kernel's.
    pub gpl_compatible: Result<bool>,
    /// Its name.
    pub name: Result<String>,
    /// Whose it is.
    pub uid: Result<u64>,
    /// The `struct bpf_map`s that it uses.
    pub used_maps: Result<Vec<VirtAddr>>,
}

/// A map.
#[derive(Clone, Debug)]
pub struct Map {
    /// Its number.
    pub id: u64,
    /// Its `struct bpf_map`.
    pub address: VirtAddr,
    /// What it says of itself.
    pub facts: Result<MapFacts>,
}

/// What a map says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFacts {
    /// `BPF_MAP_TYPE_*`.
    pub kind: u64,
    /// `BPF_F_*`.
    pub flags: u64,
    /// Bytes of a key.
    pub key_size: u64,
    /// Bytes of a value.
    pub value_size: u64,
    /// How many entries it may have.
    pub max_entries: u64,
    /// Bytes of memory, counted or reckoned; `None` where nobody knows.
    pub memory: Option<u64>,
    /// Its name.
    pub name: Result<String>,
    /// Whose it is; `None` where the kernel does not note that any more.
    pub uid: Option<u64>,
}

/// Objects by their numbers.
type Objects = Vec<(u64, VirtAddr)>;

impl Kernel {
    /// The objects of the `struct idr` behind `symbol`, by number, and what hid some.
    fn idr(&self, symbol: &str, name: &'static str) -> Result<(Objects, Option<KernelError>)> {
        let tree = self.layout::<Idr>()?.tree.address(self.symbol(symbol)?)?;
        let (mut objects, mut damage) = (Vec::new(), None);
        for entry in xarray::entries(self, name, tree)? {
            match entry {
                Ok((id, entry)) => objects.extend(xarray::object(entry).map(|at| (id, at))),
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        Ok((objects, damage))
    }

    /// The BPF programs, and what hid some.
    ///
    /// # Errors
    /// When this kernel has none, or no types to read them by.
    pub fn bpf_programs(&self) -> Result<(Vec<Program>, Option<KernelError>)> {
        let (objects, damage) = self.idr("prog_idr", "BPF programs")?;
        let read = |(id, address)| Program { id, address, facts: self.bpf_program(address) };
        Ok((objects.into_iter().map(read).collect(), damage))
    }

    fn bpf_program(&self, address: VirtAddr) -> Result<ProgramFacts> {
        let layout = self.layout::<BpfProg>()?;
        let aux_layout = self.layout::<BpfProgAux>()?;
        let aux = layout.aux.pointer(self, address)?;
        let mut tag = [0; 8];
        self.read(layout.tag.address(address)?, &mut tag)?;
        let used_maps = || {
            let count = aux_layout.used_map_count.u64(self, aux)?;
            if count > MAX_USED_MAPS {
                return Err(KernelError::DamagedList {
                    list: "maps of a BPF program",
                    problem: "there are too many",
                    at: aux,
                });
            }
            let bytes = self.read_bytes(aux_layout.used_maps.pointer(self, aux)?, count * 8)?;
            let pointers = bytes.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok());
            Ok(pointers.map(|bytes| VirtAddr(u64::from_le_bytes(bytes))).collect())
        };
        Ok(ProgramFacts {
            aux,
            kind: layout.kind.u64(self, address)?,
            tag,
            len: layout.len.u64(self, address)?,
            jited_len: layout.jited_len.u64(self, address)?,
            function: layout.function.pointer(self, address)?,
            pages: layout.pages.u64(self, address),
            load_time: aux_layout.load_time.u64(self, aux),
            gpl_compatible: layout.gpl_compatible.u64(self, address).map(|bit| bit != 0),
            name: aux_layout.name.text(self, aux),
            uid: aux_layout.user.pointer(self, aux).and_then(|user| self.uid(user)),
            used_maps: used_maps(),
        })
    }

    fn uid(&self, user: VirtAddr) -> Result<u64> {
        self.layout::<UserStruct>()?.uid.u64(self, user)
    }

    /// A program's instructions, as the verifier left them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn bpf_instructions(&self, program: VirtAddr, len: u64) -> Result<Vec<Instruction>> {
        if len > MAX_INSTRUCTIONS {
            return Err(KernelError::DamagedList {
                list: "BPF instructions",
                problem: "there are too many",
                at: program,
            });
        }
        let first = self.layout::<BpfProg>()?.instructions.address(program)?;
        let bytes = self.read_bytes(first, len * 8)?;
        let raw = bytes.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok());
        Ok(raw.map(Instruction).collect())
    }

    /// The BPF maps, and what hid some.
    ///
    /// # Errors
    /// When this kernel has none, or no types to read them by.
    pub fn bpf_maps(&self) -> Result<(Vec<Map>, Option<KernelError>)> {
        let (objects, damage) = self.idr("map_idr", "BPF maps")?;
        let read = |(id, address)| Map { id, address, facts: self.bpf_map(address) };
        Ok((objects.into_iter().map(read).collect(), damage))
    }

    fn bpf_map(&self, address: VirtAddr) -> Result<MapFacts> {
        let layout = self.layout::<BpfMap>()?;
        let bytes = self.read_bytes(address, layout.size_of)?;
        let mut facts = MapFacts {
            kind: layout.kind.u64_in(&bytes)?,
            flags: layout.flags.u64_in(&bytes)?,
            key_size: layout.key_size.u64_in(&bytes)?,
            value_size: layout.value_size.u64_in(&bytes)?,
            max_entries: layout.max_entries.u64_in(&bytes)?,
            memory: layout.pages.u64_in(&bytes).ok().map(|pages| pages.saturating_mul(4096)),
            name: layout.name.text(self, address),
            uid: None,
        };
        let user = layout.user.u64_in(&bytes).ok().filter(|user| *user != 0);
        facts.uid = user.and_then(|user| self.uid(VirtAddr(user)).ok());
        if facts.memory.is_none() {
            facts.memory = self.reckoned_memory(address, &facts);
        }
        Ok(facts)
    }

    /// The memory that a map of this size needs, as kernels from 5.11 to 6.3 told user space.
    fn reckoned_memory(&self, address: VirtAddr, facts: &MapFacts) -> Option<u64> {
        let kind = self.enumerator_name("bpf_map_type", facts.kind);
        let kind = kind.as_deref().and_then(|name| name.strip_prefix("BPF_MAP_TYPE_"));
        let value_size = match kind.unwrap_or_default() {
            "PERCPU_HASH"
            | "PERCPU_ARRAY"
            | "LRU_PERCPU_HASH"
            | "PERCPU_CGROUP_STORAGE"
            | "PERCPU_CGROUP_STORAGE_DEPRECATED" => {
                let cpus = self.cpus().ok()?.possible.len() as u64;
                facts.value_size.next_multiple_of(8) * cpus
            }
            // They hold references, which are numbers to user space.
            "PROG_ARRAY" | "PERF_EVENT_ARRAY" | "CGROUP_ARRAY" | "ARRAY_OF_MAPS"
            | "HASH_OF_MAPS" => 4,
            "RINGBUF" => return self.ring_buffer_memory(address, facts).ok(),
            _ => facts.value_size,
        };
        let entry = (facts.key_size + value_size).next_multiple_of(8);
        let size = facts.max_entries.checked_mul(entry)?.checked_next_multiple_of(4096)?;
        (size > 0).then_some(size)
    }

    /// As `ringbuf_map_mem_usage()` of kernel/bpf/ringbuf.c.
    fn ring_buffer_memory(&self, address: VirtAddr, facts: &MapFacts) -> Result<u64> {
        let map = self.layout::<BpfRingbufMap>()?;
        let layout = self.layout::<BpfRingbuf>()?;
        let buffer = map.buffer.pointer(self, map.map.container(address)?)?;
        let pages = layout.pages.u64(self, buffer)?;
        let meta_pages = layout.consumer.offset()? / 4096 + 2;
        let data_pages = facts.max_entries / 4096;
        // Every page of data is mapped twice in a row.
        let pointers = (meta_pages + 2 * data_pages) * 8;
        Ok(map.size_of + pages.saturating_mul(4096).saturating_add(pointers))
    }
}
