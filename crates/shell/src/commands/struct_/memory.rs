//! Which memory the address of a structure is in, and its bytes as they are.

use super::request::Request;
use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::commands::rd;
use crate::output::Output;
use crate::session::Session;
use mortis_debuginfo::types::{find_member, size_of};
use mortis_kernel::Kernel;
use mortis_kernel::expression::Evaluator;
use mortis_kernel::user_memory::UserMemory;
use mortis_memory::{ReadError, Unavailable, VirtAddr, VirtualMemory};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The memory that `-u` and `-f` choose.
pub(super) enum ChosenMemory<'k> {
    Kernel(&'k Kernel),
    User(UserMemory<'k>),
    /// The bytes of the dump file, whatever its format.
    File(FileBytes),
}

/// The dump file's bytes by their offsets.
pub(super) struct FileBytes(File);

impl VirtualMemory for FileBytes {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.0
            .read_exact_at(buf, address.0)
            .map_err(|_| ReadError::new(address, Unavailable::Truncated))
    }
}

impl<'k> ChosenMemory<'k> {
    pub fn new(
        session: &Session,
        kernel: &'k Kernel,
        arguments: &Arguments,
    ) -> Result<Self, CommandError> {
        if arguments.has('u') {
            return Ok(ChosenMemory::User(UserMemory::of(kernel, session.context()?)?));
        }
        if arguments.has('f') {
            let path = &session.files.dump;
            let failed = |error| CommandError::Message(format!("{}: {error}", path.display()));
            return Ok(ChosenMemory::File(FileBytes(File::open(path).map_err(failed)?)));
        }
        Ok(ChosenMemory::Kernel(kernel))
    }

    pub fn as_dyn(&self) -> &dyn VirtualMemory {
        match self {
            ChosenMemory::Kernel(kernel) => *kernel,
            ChosenMemory::User(memory) => memory,
            ChosenMemory::File(file) => file,
        }
    }
}

/// Shows the words of a structure, or of one of its members.
pub(super) fn raw(
    evaluator: &Evaluator,
    request: &Request,
    address: VirtAddr,
    out: &mut Output,
) -> Result<(), CommandError> {
    let (address, bytes) = match request.members.as_slice() {
        [] => (address, request.ty.size),
        [path] => {
            let found = find_member(evaluator.types(), request.ty.id, path)
                .map_err(|error| CommandError::message(error.to_string()))?;
            (address.offset(found.offset()), size_of(evaluator.types(), found.ty)?)
        }
        _ => return Err(CommandError::message("only one structure member allowed with -r")),
    };
    rd::words(evaluator.kernel(), evaluator.memory(), address, bytes.div_ceil(8), out)
}
