//! Memory with little or nothing around it: LiME and AVML images, and raw memory of which the
//! caller says where it lies.
//!
//! An image is a row of blocks, each a range of physical memory and its bytes, which LiME stores as
//! they are ([`image`]) and AVML compresses ([`snappy_frames`]). Neither says anything of the
//! machine: registers and all else are what the kernel left in its memory. Raw memory has not even
//! ranges ([`layout`]).

mod image;
mod layout;
mod snappy_frames;

pub(crate) use image::open;
pub(crate) use layout::open as open_layout;
pub use layout::{Layout, LayoutError, LayoutPiece};
