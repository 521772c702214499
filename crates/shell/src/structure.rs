//! A structure in memory, shown whole, by commands whose subject it is.

use crate::command::CommandError;
use crate::output::{Render, Style};
use crate::task_header::Hex;
use crate::typed_value::{TypedValue, ValueStyle};
use mortis_debuginfo::types::Namespace;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::expression::{Evaluator, Place, Value};
use mortis_memory::VirtAddr;
use serde::Serialize;

/// `struct socket { … }`, as `struct socket ADDRESS` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Structure {
    /// `struct socket`.
    #[serde(rename = "type")]
    ty: String,
    address: Hex,
    value: TypedValue,
    #[serde(skip)]
    style: ValueStyle,
}

impl Structure {
    /// Reads the `struct tag` at `address`. What is missing of it says so in its place.
    ///
    /// # Errors
    /// When the kernel's types know no such structure.
    pub fn read(
        kernel: &Kernel,
        tag: &str,
        address: VirtAddr,
        style: ValueStyle,
    ) -> Result<Self, CommandError> {
        let ty = kernel
            .find_type(Namespace::Struct, tag)?
            .ok_or_else(|| KernelError::NoType(format!("struct {tag}")))?;
        let evaluator = Evaluator::new(kernel);
        let value = Value { ty, place: Place::at(address) };
        Ok(Self {
            ty: format!("struct {tag}"),
            address: Hex(address.0),
            value: TypedValue(evaluator.decode(&value, &style.limits())?),
            style,
        })
    }
}

impl Render for Structure {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{} {}\n", self.ty, self.value.0.text(&self.style.text(0))));
    }
}
