//! Sizes of files and stretches of memory, for people.

/// `24.6 MB`: one digit behind the point, in units of 1024.
pub fn byte_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let (mut scaled, mut unit) = (bytes as f64 / 1024.0, 0);
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let number = format!("{scaled:.1}");
    format!("{} {}", number.strip_suffix(".0").unwrap_or(&number), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::byte_size;

    #[test]
    fn one_digit_and_a_unit() {
        let sizes = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KB"),
            (640 << 20, "640 MB"),
            ((1 << 20) - 1, "1 MB"),
            (25_798_092, "24.6 MB"),
            (u64::MAX, "16 EB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(byte_size(bytes), text);
        }
    }
}
