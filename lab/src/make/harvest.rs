//! Taking files out of the guest's disks, without mounting them.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::guest::Run;
use super::process::{command, run};

/// Moves the truth into the product.
pub fn truth(guest: &Run) -> Result<()> {
    debugfs(&guest.truth_disk, &format!("rdump truth {}", guest.product.display()))?;
    if !guest.product.join("truth/version").exists() {
        bail!("the guest left no truth on {}", guest.truth_disk.display());
    }
    Ok(())
}

/// Moves what the capture kernel wrote into the product.
pub fn captures(guest: &Run, captures: &[&str]) -> Result<()> {
    for name in captures {
        let path = guest.product.join(name);
        let dense = guest.dir.join("dense");
        debugfs(&guest.dump_disk, &format!("dump {name} {}", dense.display()))?;
        let length = fs::metadata(&dense).map(|metadata| metadata.len()).unwrap_or(0);
        if length == 0 {
            bail!("the guest left no {name} on {}", guest.dump_disk.display());
        }
        with_holes(&dense, &path)?;
        fs::remove_file(&dense)?;
    }
    // Missing when makedumpfile cannot find the log of this kernel.
    debugfs(&guest.dump_disk, &format!("dump dmesg {}/dmesg", guest.product.display()))?;
    Ok(())
}

/// debugfs exits with success whatever happens: callers look at the result.
fn debugfs(disk: &Path, request: &str) -> Result<()> {
    run(command("debugfs").args(["-R", request]).arg(disk))
}

/// Copies a file and leaves blocks of zeros out.
pub fn with_holes(from: &Path, to: &Path) -> Result<()> {
    const BLOCK: usize = 64 << 10;
    let mut source = File::open(from)?;
    let mut target = File::create(to).with_context(|| to.display().to_string())?;
    let length = source.metadata()?.len();
    let mut block = vec![0; BLOCK];
    let mut left = length;
    while left > 0 {
        let size = BLOCK.min(usize::try_from(left).unwrap_or(BLOCK));
        source.read_exact(&mut block[..size])?;
        if block[..size].iter().all(|&byte| byte == 0) {
            target.seek(SeekFrom::Current(size as i64))?;
        } else {
            target.write_all(&block[..size])?;
        }
        left -= size as u64;
    }
    target.set_len(length)?;
    Ok(())
}
