//! Bytes that are not the protocol, or not any more.

use crate::{bytes_of, golden, hex, read};
use proptest::prelude::*;
use wire::{Error, Frame};

/// Where the payload begins: every golden frame but Data writes its length in four bytes.
const HEADER: usize = 5;

#[test]
fn any_damage_is_an_error_and_never_a_panic() {
    for golden in golden::all() {
        let bytes = golden.bytes();
        let intact = read(&bytes, usize::MAX);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = read(&damaged, usize::MAX);
            // A bit inside a text may make another text. It never makes the same frame, and what
            // is read is always something that can be written.
            assert_ne!(read, intact, "bit {bit} of {:?}", golden.frame);
            for frame in read.frames {
                let again = crate::read(&bytes_of(&frame), usize::MAX);
                assert_eq!(again.frames, [frame]);
            }
        }
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_not_whole() {
    for golden in golden::all() {
        let bytes = golden.bytes();
        for end in 1..bytes.len() {
            let read = read(&bytes[..end], usize::MAX);
            assert_eq!(read.error, None, "{end} bytes of {:?}", golden.frame);
            assert!(!read.is_whole, "{end} bytes of {:?}", golden.frame);
            // Only a body is handed on before its frame has ended.
            assert!(
                read.frames.iter().all(|f| matches!(f, Frame::Data(_))),
                "{end} bytes of {:?}",
                golden.frame
            );
        }
    }
}

#[test]
fn a_payload_that_ends_inside_a_value_is_an_error() {
    for golden in golden::all() {
        let bytes = golden.bytes();
        if matches!(golden.frame, Frame::Data(_)) {
            continue;
        }
        for len in 0..bytes.len() - HEADER {
            let mut cut = bytes[..HEADER + len].to_vec();
            cut[1..HEADER].copy_from_slice(&(len as u32 | 0x8000_0000).to_be_bytes());
            let read = read(&cut, usize::MAX);
            assert_eq!(read.frames, [], "{len} bytes of {:?}", golden.frame);
            assert_eq!(read.error, Some(Error::Short(bytes[0])));
        }
    }
}

#[test]
fn newer_values_behind_the_known_ones_are_skipped() {
    for golden in golden::all() {
        if matches!(golden.frame, Frame::Data(_)) {
            continue;
        }
        let mut newer = golden.bytes();
        newer.extend(b"\xffsomething that a later version says");
        let len = (newer.len() - HEADER) as u32;
        newer[1..HEADER].copy_from_slice(&(len | 0x8000_0000).to_be_bytes());
        newer.extend(bytes_of(&Frame::End));
        let read = read(&newer, 1);
        assert_eq!(read.frames, [golden.frame, Frame::End]);
        assert_eq!((read.error, read.is_whole), (None, true));
    }
}

#[test]
fn unknown_ignorable_frames_are_skipped() {
    for kind in (0u8..=255).filter(|kind| kind & wire::codec::IGNORABLE != 0) {
        for payload in [0usize, 1, 300] {
            let mut bytes = vec![kind];
            bytes.extend((payload as u32 | 0x8000_0000).to_be_bytes());
            // Bytes that would be End if they were read as a frame.
            bytes.extend(
                std::iter::repeat_n([0x16, 0x00], payload)
                    .flatten()
                    .take(payload),
            );
            bytes.extend(bytes_of(&Frame::Data("x".into())));
            for at_once in [1, 6, usize::MAX] {
                let read = read(&bytes, at_once);
                assert_eq!(read.frames, [Frame::Data("x".into())], "{kind:#04x}");
                assert_eq!((read.error, read.is_whole), (None, true));
            }
        }
    }
}

#[test]
fn a_stream_that_ends_inside_a_skipped_frame_is_not_whole() {
    let bytes = hex("7f 03 0000");
    for end in 1..bytes.len() {
        assert!(!read(&bytes[..end], 1).is_whole, "{end}");
    }
}

#[test]
fn unknown_frames_that_are_not_ignorable_are_errors() {
    let known = [0x01..=0x07u8, 0x10..=0x17];
    for kind in (0u8..=255).filter(|kind| kind & wire::codec::IGNORABLE == 0) {
        let read = read(&[kind, 0x00], usize::MAX);
        match known.iter().any(|range| range.contains(&kind)) {
            true => assert_ne!(read.error, Some(Error::Unknown(kind))),
            false => {
                assert_eq!(read.error, Some(Error::Unknown(kind)));
                assert_eq!(read.frames, []);
            }
        }
    }
}

#[test]
fn values_that_cannot_be_are_errors() {
    let preface = |id: &str, scheme: &str, version: &str| {
        format!("10 18 {id} 00 00 {scheme} 00 00 {version}00 00")
    };
    let id = "30316d33323530763030323874356379";
    for (bytes, kind, what) in [
        ("04 07 c000000100000000".into(), 0x04, "id"),
        ("05 07 c000000100000000".into(), 0x05, "id"),
        ("04 03 07 01 ff".into(), 0x04, "name"),
        ("02 04 01 00 01 ff".into(), 0x02, "agent"),
        ("03 04 01 01 ff 00".into(), 0x03, "message"),
        (preface(id, "02", "0b"), 0x10, "scheme"),
        (preface(id, "01", "00"), 0x10, "version"),
        // u and a capital letter are not in the alphabet.
        (
            preface("75316d33323530763030323874356379", "01", "0b"),
            0x10,
            "request id",
        ),
        (
            preface("30314d33323530763030323874356379", "01", "0b"),
            0x10,
            "request id",
        ),
        ("11 05 00 00 00 03 00".into(), 0x11, "length"),
        ("11 05 00 00 00 00 02".into(), 0x11, "place"),
        // Any other name would bring a field past the checks of the fields.
        ("11 0b 00 00 00 00 01 00 04 486f7374".into(), 0x11, "place"),
        ("12 03 4063 00".into(), 0x12, "status"),
        ("12 03 40c8 00".into(), 0x12, "status"),
        ("12 05 80010064 00".into(), 0x12, "status"),
        ("13 06 40c7 00 00 00 00".into(), 0x13, "status"),
        ("13 06 43e8 00 00 00 00".into(), 0x13, "status"),
        ("13 08 800100c8 00 00 00 00".into(), 0x13, "status"),
        ("17 03 03 00 00".into(), 0x17, "side"),
        ("17 04 00 01 ff 00".into(), 0x17, "cause"),
    ] {
        let bytes: String = bytes;
        let mut bytes = hex(&bytes);
        bytes[1] = (bytes.len() - 2) as u8;
        let read = read(&bytes, usize::MAX);
        assert_eq!(read.error, Some(Error::Value(kind, what)), "{bytes:02x?}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_read_the_same_in_any_pieces(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        at_once in 1..20usize,
    ) {
        prop_assert_eq!(read(&bytes, usize::MAX), read(&bytes, at_once));
    }

    #[test]
    fn random_payloads_never_panic_and_what_is_read_can_be_written(
        kind in prop_oneof![0x01..=0x07u8, 0x10..=0x17u8],
        payload in prop::collection::vec(prop_oneof![0..6u8, any::<u8>()], 0..300),
    ) {
        let mut bytes = vec![kind];
        bytes.extend((payload.len() as u32 | 0x8000_0000).to_be_bytes());
        bytes.extend(payload);
        let read = read(&bytes, usize::MAX);
        prop_assert!(read.error.is_some() || read.is_whole);
        for frame in read.frames {
            let again = crate::read(&bytes_of(&frame), usize::MAX);
            prop_assert_eq!(again.frames, [frame]);
        }
    }
}
