//! RFC 3339 in UTC, to the microsecond.

use crate::core::time::Wall;

const LENGTH: usize = 27;
const NANOS: u64 = 1_000_000_000;
const DAY_SECONDS: u64 = 86_400;

/// `2024-01-02T03:04:05.678901Z`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeText([u8; LENGTH]);

impl TimeText {
    pub fn at(wall: Wall) -> Self {
        TimeCache::default().at(wall)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Keeps the last text: the calendar is worked out once a second, and within one turn of the loop
/// nothing at all.
#[derive(Clone, Debug)]
pub struct TimeCache {
    second: u64,
    micros: u64,
    text: TimeText,
}

impl Default for TimeCache {
    fn default() -> Self {
        TimeCache { second: 0, micros: 0, text: TimeText(*b"1970-01-01T00:00:00.000000Z") }
    }
}

impl TimeCache {
    pub fn at(&mut self, wall: Wall) -> TimeText {
        let (second, micros) = (wall.unix_nanos() / NANOS, wall.unix_nanos() % NANOS / 1000);
        if second != self.second {
            self.second = second;
            self.write_second();
        }
        if micros != self.micros {
            self.micros = micros;
            put_digits(&mut self.text.0[20..26], micros);
        }
        self.text
    }

    fn write_second(&mut self) {
        let (year, month, day) = civil(self.second / DAY_SECONDS);
        let within = self.second % DAY_SECONDS;
        let text = &mut self.text.0;
        put_digits(&mut text[0..4], year);
        put_digits(&mut text[5..7], month);
        put_digits(&mut text[8..10], day);
        put_digits(&mut text[11..13], within / 3600);
        put_digits(&mut text[14..16], within / 60 % 60);
        put_digits(&mut text[17..19], within % 60);
    }
}

pub fn rfc3339(wall: Wall) -> String {
    String::from_utf8_lossy(TimeText::at(wall).as_bytes()).into_owned()
}

/// Reads any RFC 3339 time from 1970 on, with any fraction and offset.
pub fn parse_rfc3339(text: &str) -> Option<Wall> {
    let bytes = text.as_bytes();
    let separators = [(4, b"-"), (7, b"-"), (10, b"T"), (13, b":"), (16, b":")];
    if bytes.len() < 20 || separators.iter().any(|(at, byte)| bytes[*at].to_ascii_uppercase() != byte[0]) {
        return None;
    }
    let field = |range: std::ops::Range<usize>| digits(&bytes[range]);
    let (year, month, day) = (field(0..4)?, field(5..7)?, field(8..10)?);
    let (hour, minute, second) = (field(11..13)?, field(14..16)?, field(17..19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, zone) = fraction(&bytes[19..])?;
    let local = days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    let seconds = local.checked_add_signed(-offset_seconds(zone)?)?;
    Some(Wall::from_unix_nanos(seconds.checked_mul(NANOS)?.checked_add(nanos)?))
}

/// Nanoseconds, and what stands after the fraction.
fn fraction(rest: &[u8]) -> Option<(u64, &[u8])> {
    let Some(fraction) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kept = digits(&fraction[..length.min(9)])?;
    let scale = 10_u64.pow(9 - length.min(9) as u32);
    Some((kept * scale, &fraction[length..]))
}

fn offset_seconds(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let minutes = digits(&[*h1, *h2])? * 60 + digits(&[*m1, *m2])?;
            let seconds = i64::try_from(minutes * 60).ok()?;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn digits(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0, |number, byte| number * 10 + u64::from(byte - b'0')))
}

fn put_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Days since 1970 to year, month, day: counted in eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of `civil`, for years from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests;
