//! The small binary form of header lists and retry schedules in the database.
//!
//! ```text
//! fields   := count (name-len name value-len value)*
//! schedule := count microseconds*
//! ```
//!
//! Numbers are unsigned LEB128, at most ten bytes. Names and values are the raw bytes as they
//! came. Nothing may follow the last item.

use crate::record::Fields;
use bytes::Bytes;
use std::time::Duration;

/// The bytes of a field list.
pub(crate) fn encode_fields(fields: &Fields) -> Vec<u8> {
    let mut out = Vec::with_capacity(weight(fields) + 10);
    put(&mut out, fields.len() as u64);
    for (name, value) in fields {
        for part in [name, value] {
            put(&mut out, part.len() as u64);
            out.extend_from_slice(part);
        }
    }
    out
}

/// The field list of `bytes`, or `None` when they are damaged.
pub(crate) fn decode_fields(bytes: &[u8]) -> Option<Fields> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let count = take(&mut rest)?;
    let mut fields = Fields::new();
    for _ in 0..count {
        let name = take_part(&mut rest)?;
        let value = take_part(&mut rest)?;
        fields.push((name, value));
    }
    rest.is_empty().then_some(fields)
}

/// The bytes of a retry schedule.
pub(crate) fn encode_schedule(schedule: &[Duration]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, schedule.len() as u64);
    for wait in schedule {
        put(
            &mut out,
            u64::try_from(wait.as_micros()).unwrap_or(u64::MAX),
        );
    }
    out
}

/// The schedule of `bytes`, or `None` when they are damaged.
pub(crate) fn decode_schedule(bytes: &[u8]) -> Option<Vec<Duration>> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let count = take(&mut rest)?;
    let mut schedule = Vec::new();
    for _ in 0..count {
        schedule.push(Duration::from_micros(take(&mut rest)?));
    }
    rest.is_empty().then_some(schedule)
}

/// About how many bytes a field list takes, in memory and on disk.
pub(crate) fn weight(fields: &Fields) -> usize {
    fields.iter().map(|(n, v)| n.len() + v.len() + 4).sum()
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(rest: &mut Bytes) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *rest.first()?;
        let _ = rest.split_to(1);
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_part(rest: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(take(rest)?).ok()?;
    (len <= rest.len()).then(|| rest.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_have_these_bytes() {
        let fields = vec![
            (Bytes::from_static(b"X-a"), Bytes::from_static(b"\xff")),
            (Bytes::from_static(b"x-A"), Bytes::new()),
        ];
        #[rustfmt::skip]
        let golden = [
            2,                   // count
            3, b'X', b'-', b'a', // name
            1, 0xff,             // value
            3, b'x', b'-', b'A', // name
            0,                   // value
        ];
        assert_eq!(encode_fields(&fields), golden);
        assert_eq!(decode_fields(&golden), Some(fields));
    }

    proptest! {
        #[test]
        fn fields_come_back(raw in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<u8>(), 0..300)), 0..20)) {
            let fields: Fields = raw.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
            let bytes = encode_fields(&fields);
            prop_assert_eq!(decode_fields(&bytes), Some(fields.clone()));
            prop_assert_eq!(decode_fields(&bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn schedules_come_back(raw in prop::collection::vec(any::<u64>(), 0..20)) {
            let schedule: Vec<Duration> = raw.into_iter().map(Duration::from_micros).collect();
            prop_assert_eq!(decode_schedule(&encode_schedule(&schedule)), Some(schedule));
        }

        #[test]
        fn damage_is_none_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_fields(&bytes);
            let _ = decode_schedule(&bytes);
        }
    }
}
