//! XBZRLE: a page as the difference to what it was (docs/devel/migration/xbzrle, migration/xbzrle.c).
//!
//! Runs take turns: so many bytes as they were, so many new ones, which follow. Both counts are in
//! ULEB128 of at most two bytes.

/// What does not apply to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// Makes `page`, which holds the old content, the new one.
pub(super) fn apply(delta: &[u8], page: &mut [u8]) -> Result<(), Damaged> {
    let mut delta = delta;
    let mut at = 0usize;
    let mut first = true;
    while !delta.is_empty() {
        let same = count(&mut delta)?;
        if same == 0 && !first {
            return Err(Damaged);
        }
        first = false;
        at += same;
        let new = count(&mut delta)?;
        if new == 0 {
            return Err(Damaged);
        }
        let (bytes, rest) = delta.split_at_checked(new).ok_or(Damaged)?;
        page.get_mut(at..at + new).ok_or(Damaged)?.copy_from_slice(bytes);
        delta = rest;
        at += new;
    }
    Ok(())
}

fn count(delta: &mut &[u8]) -> Result<usize, Damaged> {
    match **delta {
        [low, ref rest @ ..] if low & 0x80 == 0 => {
            *delta = rest;
            Ok(low.into())
        }
        [low, high, ref rest @ ..] if high & 0x80 == 0 => {
            *delta = rest;
            Ok(usize::from(low & 0x7f) | usize::from(high) << 7)
        }
        _ => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_take_turns() {
        let mut page = [7; 400];
        assert_eq!(apply(&[0, 2, 1, 2, 0xac, 2, 1, 9], &mut page), Ok(()));
        assert_eq!(page[..3], [1, 2, 7]);
        assert_eq!((page[301], page[302], page[303]), (7, 9, 7));
        assert_eq!(apply(&[], &mut page), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_damaged() {
        for delta in [&[0][..], &[0, 0], &[1, 2, 3], &[0x80], &[0x80, 0x80, 1], &[5, 4, 1, 2, 3, 4]]
        {
            assert_eq!(apply(delta, &mut [0; 8]), Err(Damaged), "{delta:?}");
        }
        assert_eq!(apply(&[0, 1, 9, 0, 1, 9], &mut [0; 8]), Err(Damaged));
    }
}
