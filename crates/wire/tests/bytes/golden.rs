//! Every message and frame as golden hex, with the value named beside its bytes.

use crate::{bytes_of, hex, read};
use bytes::Bytes;
use wire::{
    Abort, Bind, BindRefused, Bound, Drain, Frame, Framing, Hello, Informational, Length, Message,
    Place, Preface, Refused, RefusedReason, RequestHead, RequestId, ResponseHead, Scheme, Side,
    Version, Welcome,
};

/// A frame, and its bytes piece by piece.
pub(crate) struct Golden {
    pub(crate) frame: Frame,
    pieces: Vec<(&'static str, &'static str)>,
}

impl Golden {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|(_, text)| hex(text)).collect()
    }
}

#[test]
fn every_frame_has_its_golden_bytes() {
    for golden in all() {
        let mut written = &bytes_of(&golden.frame)[..];
        for (what, text) in &golden.pieces {
            let piece = hex(text);
            let (start, rest) = written.split_at(piece.len().min(written.len()));
            assert_eq!(start, piece, "{what} of {:?}", golden.frame);
            written = rest;
        }
        assert!(written.is_empty(), "{written:02x?} of {:?}", golden.frame);
    }
}

#[test]
fn golden_bytes_are_read_as_their_frame() {
    for golden in all() {
        let read = read(&golden.bytes(), usize::MAX);
        assert_eq!(read.frames, [golden.frame]);
        assert_eq!((read.error, read.is_whole), (None, true));
    }
}

#[test]
fn every_reason_has_its_number() {
    for (number, reason) in [
        (1, RefusedReason::TokenMissing),
        (2, RefusedReason::TokenUnknown),
        (3, RefusedReason::TokenRevoked),
        (4, RefusedReason::TokenExpired),
        (5, RefusedReason::BadProof),
        (6, RefusedReason::Version),
        (7, RefusedReason::Busy),
        (8, RefusedReason::NameTaken),
        (9, RefusedReason::NameNotAllowed),
        (10, RefusedReason::TooManyTunnels),
        (11, RefusedReason::NameInvalid),
        (12, RefusedReason::Other(12)),
        (0, RefusedReason::Other(0)),
        (255, RefusedReason::Other(255)),
    ] {
        let frame = Frame::Message(Message::Refused(Refused {
            reason,
            message: String::new(),
            retry_after_ms: 0,
        }));
        let expected = [0x03, 0x80, 0, 0, 3, number, 0, 0];
        assert_eq!(bytes_of(&frame), expected, "{reason:?}");
        assert_eq!(read(&expected, usize::MAX).frames, [frame]);
    }
}

#[test]
fn every_close_code_has_its_number_and_word() {
    use wire::close::Close;
    for (number, close, word) in [
        (0, Close::DONE, "done"),
        (1, Close::PROTOCOL, "protocol"),
        (2, Close::REFUSED, "refused"),
        (3, Close::DRAINING, "draining"),
        (4, Close::REPLACED, "replaced"),
        (5, Close::REVOKED, "revoked"),
        (6, Close::CANCELLED, "cancelled"),
        (7, Close::INTERNAL, "internal"),
        (8, Close(8), "unknown"),
    ] {
        assert_eq!((close.0, close.as_str()), (number, word));
    }
}

#[test]
fn request_ids_sort_by_time_of_arrival() {
    // 2026-09-21 14:13:20 UTC; the chance is 30 bits, its two lowest are not used.
    let id = |ms, chance| RequestId::new(ms, chance).as_str().to_owned();
    assert_eq!(id(1_790_000_000_000, 0x1234_5678), "01m3250v0028t5cy");
    assert_eq!(id(0, 0), "0000000000000000");
    assert_eq!(id(u64::MAX, u32::MAX), "zzzzzzzzzzzzzzzz");
    assert!(id(1_790_000_000_000, u32::MAX) < id(1_790_000_000_001, 0));
}

#[test]
fn a_hello_shows_neither_token_nor_key_in_a_log() {
    let shown = format!("{:?}", hello().frame);
    assert!(shown.contains("adit-client/0.1.0"), "{shown}");
    assert!(
        !shown.contains("secret") && !shown.contains("token"),
        "{shown}"
    );
}

/// One of each message and frame, and of each form that a value can take.
pub(crate) fn all() -> Vec<Golden> {
    let mut all = vec![hello()];
    all.extend(control());
    all.extend(heads());
    all.extend(bodies());
    all
}

fn golden(frame: Frame, pieces: &[(&'static str, &'static str)]) -> Golden {
    Golden {
        frame,
        pieces: pieces.to_vec(),
    }
}

fn message(message: Message, pieces: &[(&'static str, &'static str)]) -> Golden {
    golden(Frame::Message(message), pieces)
}

fn fields(pairs: &[(&'static str, &'static [u8])]) -> wire::Fields {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                Bytes::from_static(name.as_bytes()),
                Bytes::from_static(value),
            )
        })
        .collect()
}

fn hello() -> Golden {
    message(
        Message::Hello(Hello {
            versions: (1, 3),
            key: [0x4b; 32],
            proof: [0x50; 64],
            token: "adit_secret".into(),
            agent: "adit-client/0.1.0".into(),
        }),
        &[
            ("type", "01"),
            ("payload length: 128", "80000080"),
            ("lowest version", "01"),
            ("highest version", "03"),
            (
                "key",
                "4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b 4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b",
            ),
            (
                "proof",
                "50505050505050505050505050505050 50505050505050505050505050505050
                 50505050505050505050505050505050 50505050505050505050505050505050",
            ),
            ("token", "0b 616469745f736563726574"),
            ("agent", "11 616469742d636c69656e742f302e312e30"),
        ],
    )
}

fn control() -> Vec<Golden> {
    vec![
        message(
            Message::Welcome(Welcome {
                version: 1,
                session: 1_876_951_040_000_000,
                agent: "adit-relay/0.1.0".into(),
            }),
            &[
                ("type", "02"),
                ("payload length: 26", "8000001a"),
                ("version", "01"),
                ("session, in eight bytes", "c006ab13 b8000000"),
                ("agent", "10 616469742d72656c61792f302e312e30"),
            ],
        ),
        message(
            Message::Refused(Refused {
                reason: RefusedReason::Busy,
                message: "full".into(),
                retry_after_ms: 10_000,
            }),
            &[
                ("type", "03"),
                ("payload length: 8", "80000008"),
                ("reason: busy", "07"),
                ("message", "04 66756c6c"),
                ("retry after, in two bytes", "6710"),
            ],
        ),
        message(
            Message::Bind(Bind {
                id: 7,
                name: "shop".into(),
                replaces: 70_000,
            }),
            &[
                ("type", "04"),
                ("payload length: 10", "8000000a"),
                ("id", "07"),
                ("name", "04 73686f70"),
                ("goes on from session 70000", "80011170"),
            ],
        ),
        message(
            Message::Bind(Bind {
                id: u32::MAX,
                name: String::new(),
                replaces: 0,
            }),
            &[
                ("type", "04"),
                ("payload length: 10", "8000000a"),
                ("id, in eight bytes", "c0000000 ffffffff"),
                ("any name", "00"),
                ("goes on from none", "00"),
            ],
        ),
        message(
            Message::Bound(Bound {
                id: 300,
                name: "shop".into(),
                url: "https://shop.example.dev".into(),
            }),
            &[
                ("type", "05"),
                ("payload length: 32", "80000020"),
                ("id, in two bytes", "412c"),
                ("name", "04 73686f70"),
                (
                    "url",
                    "18 68747470733a2f2f 73686f702e6578616d706c652e646576",
                ),
            ],
        ),
        message(
            Message::BindRefused(BindRefused {
                id: 7,
                reason: RefusedReason::NameTaken,
                message: "taken".into(),
            }),
            &[
                ("type", "06"),
                ("payload length: 8", "80000008"),
                ("id", "07"),
                ("reason: name taken", "08"),
                ("message", "05 74616b656e"),
            ],
        ),
        message(
            Message::Drain(Drain { grace_ms: 30_000 }),
            &[
                ("type", "07"),
                ("payload length: 4", "80000004"),
                ("grace, in four bytes", "80007530"),
            ],
        ),
    ]
}

fn heads() -> Vec<Golden> {
    let preface = |scheme, version| {
        Frame::Preface(Preface {
            request: RequestId::new(1_790_000_000_000, 0x1234_5678),
            endpoint: "shop".into(),
            remote: "[::1]:9".into(),
            scheme,
            authority: "shop.example.dev:8443".into(),
            arrived_us: 1_790_000_000_000_123,
            version,
        })
    };
    let preface_bytes = |scheme, version| {
        [
            ("type", "10"),
            ("payload length: 61", "8000003d"),
            ("request id", "30316d33323530763030323874356379"),
            ("endpoint", "04 73686f70"),
            ("remote", "07 5b3a3a315d3a39"),
            ("scheme", scheme),
            (
                "authority",
                "15 73686f702e6578616d706c652e646576 3a38343433",
            ),
            ("arrived", "c0065bfeda25e07b"),
            ("version", version),
        ]
    };
    vec![
        golden(
            preface(Scheme::Http, Version::Http10),
            &preface_bytes("00", "0a"),
        ),
        golden(
            preface(Scheme::Https, Version::Http11),
            &preface_bytes("01", "0b"),
        ),
        golden(
            preface(Scheme::Https, Version::Http2),
            &preface_bytes("01", "14"),
        ),
        golden(
            Frame::Request(RequestHead {
                method: "POST".into(),
                target: "/a?b".into(),
                // Order, spelling, repeats and raw bytes are kept.
                fields: fields(&[("X-a", b"1"), ("x-A", b"\xff"), ("X-a", b"")]),
                framing: Framing {
                    length: Length::Known(5),
                    place: Some(Place {
                        index: 2,
                        name: "content-LENGTH".into(),
                    }),
                },
            }),
            &[
                ("type", "11"),
                ("payload length: 47", "8000002f"),
                ("method", "04 504f5354"),
                ("target", "04 2f613f62"),
                ("fields", "03"),
                ("first", "03 582d61 01 31"),
                ("second", "03 782d41 01 ff"),
                ("third, without a value", "03 582d61 00"),
                ("length: known, 5", "01 05"),
                ("place: behind two", "01 02"),
                ("spelled", "0e 636f6e74656e742d4c454e475448"),
            ],
        ),
        golden(
            Frame::Request(RequestHead {
                method: "GET".into(),
                target: "*".into(),
                fields: vec![],
                framing: Framing::empty(),
            }),
            &[
                ("type", "11"),
                ("payload length: 9", "80000009"),
                ("method", "03 474554"),
                ("target", "01 2a"),
                ("fields: none", "00"),
                ("length: no body", "00"),
                ("place: no such field", "00"),
            ],
        ),
        golden(
            Frame::Informational(Informational {
                status: 103,
                fields: fields(&[("link", b"</a>")]),
            }),
            &[
                ("type", "12"),
                ("payload length: 13", "8000000d"),
                ("status, in two bytes", "4067"),
                ("fields", "01"),
                ("link", "04 6c696e6b 04 3c2f613e"),
            ],
        ),
        golden(
            Frame::Response(ResponseHead {
                status: 200,
                reason: "Fine".into(),
                fields: vec![],
                framing: Framing {
                    length: Length::Unknown,
                    place: Some(Place {
                        index: 0,
                        name: "Transfer-Encoding".into(),
                    }),
                },
            }),
            &[
                ("type", "13"),
                ("payload length: 29", "8000001d"),
                ("status, in two bytes", "40c8"),
                ("reason phrase", "04 46696e65"),
                ("fields: none", "00"),
                ("length: known at the end", "02"),
                ("place: first", "01 00"),
                ("spelled", "11 5472616e73666572 2d456e636f64696e67"),
            ],
        ),
        golden(
            Frame::Response(ResponseHead {
                status: 999,
                reason: Bytes::new(),
                fields: vec![],
                framing: Framing {
                    length: Length::Known(1 << 40),
                    place: None,
                },
            }),
            &[
                ("type", "13"),
                ("payload length: 14", "8000000e"),
                ("status, in two bytes", "43e7"),
                ("no reason phrase", "00"),
                ("fields: none", "00"),
                ("length: known, 2^40", "01 c000010000000000"),
                ("place: no such field", "00"),
            ],
        ),
    ]
}

fn bodies() -> Vec<Golden> {
    let abort = |side| {
        Frame::Abort(Abort {
            side,
            cause: "app-refused".into(),
            message: "no".into(),
        })
    };
    let abort_bytes = |side| {
        [
            ("type", "17"),
            ("payload length: 16", "80000010"),
            ("side", side),
            ("cause", "0b 6170702d72656675736564"),
            ("message", "02 6e6f"),
        ]
    };
    vec![
        golden(
            Frame::Data("hello".into()),
            &[
                ("type", "14"),
                ("payload length: 5", "05"),
                ("the body", "68656c6c6f"),
            ],
        ),
        golden(
            Frame::Trailers(fields(&[("grpc-status", b"0")])),
            &[
                ("type", "15"),
                ("payload length: 15", "8000000f"),
                ("fields", "01"),
                ("grpc-status", "0b 677270632d737461747573 01 30"),
            ],
        ),
        golden(
            Frame::End,
            &[("type", "16"), ("payload length: 0", "80000000")],
        ),
        golden(abort(Side::Sender), &abort_bytes("00")),
        golden(abort(Side::App), &abort_bytes("01")),
        golden(abort(Side::Adit), &abort_bytes("02")),
    ]
}
