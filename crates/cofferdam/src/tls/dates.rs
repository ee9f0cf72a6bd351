//! When a certificate ends, read from its DER; everything else in it is passed over.

use std::time::{Duration, SystemTime};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of its validity; none when the bytes are no certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let (_, certificate, _) = element(certificate)?;
    let (tag, mut rest, _) = element(certificate)?;
    if tag != SEQUENCE {
        return None;
    }
    if rest.first() == Some(&VERSION) {
        (_, _, rest) = element(rest)?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (tag, validity, _) = element(rest)?;
    if tag != SEQUENCE {
        return None;
    }
    let (_, _, end) = element(validity)?;
    let (tag, text, _) = element(end)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// Tag, content and what follows of the first element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || count > rest.len() {
            return None;
        }
        let (bytes, after) = rest.split_at(count);
        rest = after;
        bytes
            .iter()
            .fold(0, |sum, byte| (sum << 8) | usize::from(*byte))
    };
    (length <= rest.len()).then(|| {
        let (content, after) = rest.split_at(length);
        (tag, content, after)
    })
}

/// `YYMMDDHHMMSSZ`, where 50 and above means the last century, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &str) -> Option<SystemTime> {
    let text = match tag {
        UTC_TIME => {
            let year: u8 = text.get(..2)?.parse().ok()?;
            format!("{}{text}", if year < 50 { "20" } else { "19" })
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i8>().ok();
    let date = jiff::civil::Date::new(text.get(..4)?.parse().ok()?, number(4, 6)?, number(6, 8)?);
    let clock = jiff::civil::Time::new(number(8, 10)?, number(10, 12)?, number(12, 14)?, 0);
    let moment = jiff::civil::DateTime::from_parts(date.ok()?, clock.ok()?);
    let zoned = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    let seconds = u64::try_from(zoned.timestamp().as_second()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}
