//! The protocol's bytes: as golden hex, as round trips, damaged, over their limits, and as
//! `PROTOCOL.md` shows them.

mod damage;
mod document;
mod golden;
mod limits;
mod round_trip;

use bytes::BytesMut;
use wire::{Error, Frame, FrameDecoder};

/// What a reader makes of a stream's bytes.
#[derive(Debug, PartialEq)]
struct Read {
    /// Every frame. Pieces of a body that stand together are one.
    frames: Vec<Frame>,
    /// Why it stopped reading.
    error: Option<Error>,
    /// Whether the stream may end here.
    is_whole: bool,
}

/// Reads `bytes` as they come, so many at a time.
fn read(bytes: &[u8], at_once: usize) -> Read {
    let mut decoder = FrameDecoder::default();
    let mut buf = BytesMut::new();
    let mut frames: Vec<Frame> = Vec::new();
    for piece in bytes.chunks(at_once.max(1)) {
        buf.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buf) {
                Ok(None) => break,
                Ok(Some(frame)) => match (frames.last_mut(), frame) {
                    (Some(Frame::Data(body)), Frame::Data(more)) => {
                        *body = [&body[..], &more[..]].concat().into();
                    }
                    (_, frame) => frames.push(frame),
                },
                Err(error) => {
                    return Read {
                        frames,
                        error: Some(error),
                        is_whole: false,
                    };
                }
            }
        }
    }
    Read {
        frames,
        error: None,
        is_whole: decoder.is_between_frames(&buf),
    }
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out.to_vec()
}

/// The bytes of hexadecimal text; blanks count for nothing.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a hexadecimal digit"))
        .collect();
    assert_eq!(digits.len() % 2, 0, "half a byte in {text:?}");
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}
