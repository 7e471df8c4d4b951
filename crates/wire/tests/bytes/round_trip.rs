//! What is written is read again, whatever it says and however it comes.

use crate::{Read, bytes_of, golden, hex, read};
use bytes::Bytes;
use proptest::prelude::*;
use wire::codec::MAX_VARINT;
use wire::{
    Abort, Bind, BindRefused, Bound, Drain, Fields, Frame, Framing, Hello, Informational, Length,
    Message, Place, Preface, Refused, RefusedReason, RequestHead, RequestId, ResponseHead, Scheme,
    Side, Version, Welcome,
};

#[test]
fn one_byte_at_a_time_gives_the_same_frames() {
    let mut bytes = Vec::new();
    let mut frames = Vec::new();
    for golden in golden::all() {
        bytes.extend(golden.bytes());
        frames.push(golden.frame);
    }
    for at_once in [1, 2, 3, 7, 64, usize::MAX] {
        let expected = Read {
            frames: frames.clone(),
            error: None,
            is_whole: true,
        };
        assert_eq!(read(&bytes, at_once), expected, "{at_once} at once");
    }
}

#[test]
fn a_number_too_large_to_travel_is_written_as_the_largest() {
    for too_large in [MAX_VARINT + 1, MAX_VARINT + 2, u64::MAX] {
        let head = |n| {
            Frame::Response(ResponseHead {
                status: 200,
                reason: Bytes::new(),
                fields: vec![],
                framing: Framing {
                    length: Length::Known(n),
                    place: None,
                },
            })
        };
        // Wrapped around, the length of a body would become a small one.
        assert_eq!(bytes_of(&head(too_large)), bytes_of(&head(MAX_VARINT)));
        let drain = |grace_ms| Frame::Message(Message::Drain(Drain { grace_ms }));
        assert_eq!(bytes_of(&drain(too_large)), bytes_of(&drain(MAX_VARINT)));
    }
}

#[test]
fn numbers_may_be_written_longer_than_they_must() {
    let bind = Frame::Message(Message::Bind(Bind {
        id: 7,
        name: "a".into(),
        replaces: 0,
    }));
    for bytes in [
        "04 04 07 0161 00",
        "04 4004 07 0161 00",
        "04 c000000000000004 07 0161 00",
        "04 0a 80000007 80000001 61 00",
        "04 12 c000000000000007 c000000000000001 61 00",
    ] {
        let read = read(&hex(bytes), 1);
        assert_eq!(read.frames, std::slice::from_ref(&bind), "{bytes}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        frames in prop::collection::vec(frame(), 1..6),
        at_once in 1..40usize,
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
        let mut expected: Vec<Frame> = Vec::new();
        for frame in frames {
            match (expected.last_mut(), frame) {
                (_, Frame::Data(body)) if body.is_empty() => {}
                (Some(Frame::Data(body)), Frame::Data(more)) => {
                    *body = [&body[..], &more[..]].concat().into();
                }
                (_, frame) => expected.push(frame),
            }
        }
        let whole = Read { frames: expected, error: None, is_whole: true };
        prop_assert_eq!(&read(&bytes, usize::MAX), &whole);
        prop_assert_eq!(&read(&bytes, at_once), &whole);
    }
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        message().prop_map(Frame::Message),
        preface().prop_map(Frame::Preface),
        (raw(), raw(), fields(), framing()).prop_map(|(method, target, fields, framing)| {
            Frame::Request(RequestHead {
                method,
                target,
                fields,
                framing,
            })
        }),
        (100..200u16, fields())
            .prop_map(|(status, fields)| Frame::Informational(Informational { status, fields })),
        (200..1000u16, raw(), fields(), framing()).prop_map(|(status, reason, fields, framing)| {
            Frame::Response(ResponseHead {
                status,
                reason,
                fields,
                framing,
            })
        }),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|body| Frame::Data(body.into())),
        fields().prop_map(Frame::Trailers),
        Just(Frame::End),
        (side(), text(), text()).prop_map(|(side, cause, message)| {
            Frame::Abort(Abort {
                side,
                cause,
                message,
            })
        }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (
            any::<(u8, u8)>(),
            any::<([u8; 32], [u8; 32], [u8; 32])>(),
            text(),
            text()
        )
            .prop_map(|(versions, (key, r, s), token, agent)| {
                let mut proof = [0; 64];
                proof[..32].copy_from_slice(&r);
                proof[32..].copy_from_slice(&s);
                Message::Hello(Hello {
                    versions,
                    key,
                    proof,
                    token,
                    agent,
                })
            }),
        (any::<u8>(), number(), text()).prop_map(|(version, session, agent)| {
            Message::Welcome(Welcome {
                version,
                session,
                agent,
            })
        }),
        (reason(), text(), number()).prop_map(|(reason, message, retry_after_ms)| {
            Message::Refused(Refused {
                reason,
                message,
                retry_after_ms,
            })
        }),
        (any::<u32>(), text(), 0..=MAX_VARINT)
            .prop_map(|(id, name, replaces)| { Message::Bind(Bind { id, name, replaces }) }),
        (any::<u32>(), text(), text()).prop_map(|(id, name, url)| Message::Bound(Bound {
            id,
            name,
            url
        })),
        (any::<u32>(), reason(), text()).prop_map(|(id, reason, message)| {
            Message::BindRefused(BindRefused {
                id,
                reason,
                message,
            })
        }),
        number().prop_map(|grace_ms| Message::Drain(Drain { grace_ms })),
    ]
}

fn preface() -> impl Strategy<Value = Preface> {
    (
        any::<(u64, u32)>(),
        text(),
        text(),
        prop_oneof![Just(Scheme::Http), Just(Scheme::Https)],
        text(),
        number(),
        prop_oneof![
            Just(Version::Http10),
            Just(Version::Http11),
            Just(Version::Http2)
        ],
    )
        .prop_map(
            |((ms, chance), endpoint, remote, scheme, authority, arrived_us, version)| Preface {
                request: RequestId::new(ms, chance),
                endpoint,
                remote,
                scheme,
                authority,
                arrived_us,
                version,
            },
        )
}

fn framing() -> impl Strategy<Value = Framing> {
    let length = prop_oneof![
        Just(Length::Empty),
        number().prop_map(Length::Known),
        Just(Length::Unknown),
    ];
    let name = prop_oneof![
        Just("Content-Length"),
        Just("content-length"),
        Just("Transfer-Encoding"),
        Just("tRANSFER-eNCODING"),
    ];
    let place = (0..1000usize, name).prop_map(|(index, name)| Place {
        index,
        name: name.into(),
    });
    (length, prop::option::of(place)).prop_map(|(length, place)| Framing { length, place })
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Sender), Just(Side::App), Just(Side::Adit)]
}

fn reason() -> impl Strategy<Value = RefusedReason> {
    prop_oneof![
        Just(RefusedReason::TokenMissing),
        Just(RefusedReason::NameInvalid),
        (12..=u8::MAX).prop_map(RefusedReason::Other),
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    prop::collection::vec((raw(), raw()), 0..8)
}

fn raw() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter)
}

/// Of every length that a varint can have.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..0x40u64,
        0x40..0x4000u64,
        0x4000..0x4000_0000u64,
        0x4000_0000..=MAX_VARINT,
        Just(MAX_VARINT),
    ]
}
