//! Times as signatures carry them, in seconds since the Unix epoch. No clock here.

/// The second of a timestamp such as `2026-02-01T10:00:00.123456789+02:00`; the fraction is
/// dropped. Source: RFC 3339, section 5.6.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| digits(bytes.get(from..to)?);
    let at = |place: usize, wanted: &[u8]| bytes.get(place).is_some_and(|b| wanted.contains(b));
    if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
        return None;
    }
    let seconds = seconds(
        number(0, 4)?,
        number(5, 7)?,
        number(8, 10)?,
        [number(11, 13)?, number(14, 16)?, number(17, 19)?],
    )?;
    let mut rest = &bytes[19..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let end = fraction.iter().position(|b| !b.is_ascii_digit())?;
        if end == 0 {
            return None;
        }
        rest = &fraction[end..];
    }
    let offset = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    Some(seconds - offset)
}

/// The second of a timestamp such as `Sun, 06 Nov 1994 08:49:37 GMT`. Source: RFC 9110, 5.6.7.
pub(crate) fn parse_http_date(text: &str) -> Option<i64> {
    let (_, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let day = digits(parts.next()?.as_bytes())?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year = digits(parts.next()?.as_bytes())?;
    let mut clock = parts.next()?.split(':').map(|part| digits(part.as_bytes()));
    let time = [clock.next()??, clock.next()??, clock.next()??];
    if clock.next().is_some() || parts.next() != Some("GMT") || parts.next().is_some() {
        return None;
    }
    seconds(year, i64::try_from(month).ok()? + 1, day, time)
}

/// As `2026-02-01T10:00:00Z`.
pub(crate) fn format_rfc3339(at: i64) -> String {
    let ([year, month, day], [hour, minute, second], _) = civil(at);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// As `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn format_http_date(at: i64) -> String {
    let ([year, month, day], [hour, minute, second], weekday) = civil(at);
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0) % 12];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn digits(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 4 {
        return None;
    }
    bytes.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

fn seconds(year: i64, month: i64, day: i64, [hour, minute, second]: [i64; 3]) -> Option<i64> {
    let sane = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from civil: years start in March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn civil(at: i64) -> ([i64; 3], [i64; 3], &'static str) {
    let days = at.div_euclid(86_400);
    let clock = at.rem_euclid(86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        [usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (
        [year, month, day],
        [clock / 3600, clock / 60 % 60, clock % 60],
        weekday,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_offset_and_fraction() {
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            parse_rfc3339("2026-02-01T12:30:00.123456789+02:30"),
            Some(1_769_940_000)
        );
        assert_eq!(
            parse_rfc3339("2000-02-29T00:00:00-08:00"),
            Some(951_811_200)
        );
        for wrong in [
            "",
            "2026-02-01",
            "2026-13-01T00:00:00Z",
            "2026-02-01T00:00:00",
            "é026-02-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
        assert_eq!(
            parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49 GMT"), None);
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for at in [
            0,
            951_782_399,
            951_782_400,
            1_769_940_000,
            4_291_747_200,
            -86_401,
        ] {
            assert_eq!(parse_rfc3339(&format_rfc3339(at)), Some(at));
            assert_eq!(parse_http_date(&format_http_date(at)), Some(at));
        }
    }
}
