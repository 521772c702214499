//! Dates as crash writes them, in UTC: a dump does not say where it was made.

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const DAY: i64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;
/// Days from 1 March of year 0 to 1 January 1970.
const EPOCH: i64 = 719_468;

/// `Mon Nov 23 19:03:11 UTC 2026` of seconds since 1970.
pub fn utc(seconds: i64) -> String {
    let day = seconds.div_euclid(DAY);
    let time = seconds.rem_euclid(DAY);
    let (year, month, date) = civil(day);
    format!(
        "{} {} {date:>2} {:02}:{:02}:{:02} UTC {year}",
        WEEKDAYS[day.rem_euclid(7) as usize],
        MONTHS[month],
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// Year, month from 0 and day of the month of a day since 1970. Years are counted from March on,
/// so that the leap day is the last of its year.
fn civil(day: i64) -> (i64, usize, i64) {
    let shifted = day.saturating_add(EPOCH);
    let era = shifted.div_euclid(ERA);
    let of_era = shifted.rem_euclid(ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    (year_of_era + era * 400 + i64::from(month < 2), month as usize, date)
}

/// `[N days, ]HH:MM:SS` of a number of seconds.
pub fn duration(seconds: u64) -> String {
    let days = seconds / DAY as u64;
    let rest = seconds % DAY as u64;
    let time = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 { time } else { format!("{days} days, {time}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_date_prints_them() {
        assert_eq!(utc(0), "Thu Jan  1 00:00:00 UTC 1970");
        assert_eq!(utc(951_782_399), "Mon Feb 28 23:59:59 UTC 2000");
        assert_eq!(utc(951_782_400), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(utc(1_795_460_591), "Mon Nov 23 19:03:11 UTC 2026");
        assert_eq!(utc(-1), "Wed Dec 31 23:59:59 UTC 1969");
        assert!(utc(i64::MAX).contains("UTC"));
        assert!(utc(i64::MIN).contains("UTC"));
    }

    #[test]
    fn durations_as_crash_prints_them() {
        assert_eq!(duration(14), "00:00:14");
        assert_eq!(duration(2 * 86_400 + 3_661), "2 days, 01:01:01");
    }
}
