//! Text set in columns as crash sets it: in the middle, where a blank too many goes to the right
//! of headings and to the left of numbers.

/// `text` in the middle of `width` columns; an odd blank goes behind it.
pub fn centered(text: &str, width: usize) -> String {
    let extra = width.saturating_sub(text.chars().count());
    let left = extra / 2;
    format!("{:left$}{text}{:right$}", "", "", right = extra - left)
}

/// `text` in the middle of `width` columns; an odd blank goes in front of it.
pub fn centered_right(text: &str, width: usize) -> String {
    let extra = width.saturating_sub(text.chars().count());
    let right = extra / 2;
    format!("{:left$}{text}{:right$}", "", "", left = extra - right)
}

/// Columns that an address takes.
pub const ADDRESS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_blank_goes_where_it_is_told() {
        assert_eq!(centered("ACTION", 16), "     ACTION     ");
        assert_eq!(centered("(unused)", 9), "(unused) ");
        assert_eq!(centered_right("7", 4), "  7 ");
        assert_eq!(centered_right("too wide", 4), "too wide");
    }
}
