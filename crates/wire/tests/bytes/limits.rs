//! What is over a limit is refused when its length is read, and nothing is set aside for it.

use crate::{bytes_of, hex, read};
use bytes::{Bytes, BytesMut};
use wire::codec::{MAX_DATA, MAX_FIELDS, MAX_PAYLOAD, MAX_VARINT};
use wire::{Error, Frame, FrameDecoder};

#[test]
fn a_payload_over_the_limit_is_refused_at_its_length() {
    let kinds = (0x01..=0x07u8).chain(0x10..=0x17).chain([0x40, 0x7f]);
    for kind in kinds.filter(|kind| *kind != 0x14) {
        for len in [MAX_PAYLOAD as u64 + 1, MAX_DATA, 1 << 32, MAX_VARINT] {
            assert_refused_without_room(kind, len);
        }
    }
}

#[test]
fn a_data_frame_over_the_limit_is_refused_at_its_length() {
    for len in [MAX_DATA + 1, 1 << 32, MAX_VARINT] {
        assert_refused_without_room(0x14, len);
    }
}

#[test]
fn payloads_at_their_limits_are_read() {
    let mut bytes = header(0x17, MAX_PAYLOAD as u64);
    bytes.extend(hex("00 00 00"));
    bytes.resize(bytes.len() + MAX_PAYLOAD - 3, 0xff);
    let end = read(&bytes, 4096);
    assert_eq!((end.frames.len(), end.error, end.is_whole), (1, None, true));

    let mut bytes = header(0x14, MAX_DATA);
    bytes.push(b'x');
    let begun = read(&bytes, usize::MAX);
    assert_eq!(begun.frames, [Frame::Data("x".into())]);
    assert_eq!((begun.error, begun.is_whole), (None, false));
}

#[test]
fn more_fields_than_allowed_are_refused_at_their_count() {
    // Trailers that say how many fields they have, and end there.
    for (count, error) in [
        ("4200", Error::Short(0x15)),
        ("4201", Error::TooLong(0x15)),
        ("ffffffffffffffff", Error::TooLong(0x15)),
    ] {
        let mut bytes = vec![0x15, (count.len() / 2) as u8];
        bytes.extend(hex(count));
        assert_eq!(read(&bytes, usize::MAX).error, Some(error), "{count}");
    }
    let fields = |n| Frame::Trailers(vec![(Bytes::from_static(b"a"), Bytes::new()); n]);
    let most = fields(MAX_FIELDS);
    assert_eq!(read(&bytes_of(&most), usize::MAX).frames, [most]);
    let over = read(&bytes_of(&fields(MAX_FIELDS + 1)), usize::MAX);
    assert_eq!(over.error, Some(Error::TooLong(0x15)));
}

#[test]
fn a_value_longer_than_its_payload_is_refused() {
    for len in ["3f", "7fff", "bfffffff", "ffffffffffffffff"] {
        for before in ["04 00 07", "11 00", "13 00 40c8", "17 00 00"] {
            let mut bytes = hex(before);
            bytes.extend(hex(len));
            bytes[1] = (bytes.len() - 2) as u8;
            let error = read(&bytes, usize::MAX).error;
            assert_eq!(error, Some(Error::Short(bytes[0])), "{bytes:02x?}");
        }
    }
}

#[test]
fn a_body_is_handed_on_before_its_frame_has_come() {
    let mut decoder = FrameDecoder::default();
    let mut buf = BytesMut::from(&header(0x14, 1 << 20)[..]);
    assert_eq!(decoder.next(&mut buf), Ok(None));
    assert!(decoder.is_inside_data());
    for piece in [&b"a"[..], b"bc"] {
        buf.extend_from_slice(piece);
        let data = Frame::Data(Bytes::copy_from_slice(piece));
        assert_eq!(decoder.next(&mut buf), Ok(Some(data)));
        assert_eq!(decoder.next(&mut buf), Ok(None));
    }
    assert!(!decoder.is_between_frames(&buf));
}

fn header(kind: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((len | 0xc000_0000_0000_0000).to_be_bytes());
    bytes
}

/// Gives the decoder a header and nothing else.
fn assert_refused_without_room(kind: u8, len: u64) {
    let mut buf = BytesMut::from(&header(kind, len)[..]);
    let room = buf.capacity();
    let refused = FrameDecoder::default().next(&mut buf);
    assert_eq!(
        refused,
        Err(Error::TooLong(kind)),
        "{kind:#04x} of {len} bytes"
    );
    assert_eq!(buf.capacity(), room);
}
