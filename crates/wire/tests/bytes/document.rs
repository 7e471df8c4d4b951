//! `PROTOCOL.md` says what the code does.

use crate::{bytes_of, golden, hex, read};
use bytes::Bytes;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use wire::{
    Bind, Bound, Fields, Frame, Framing, Hello, Length, Message, Place, Preface, RequestHead,
    RequestId, ResponseHead, Scheme, Version, Welcome,
};

const DOCUMENT: &str = include_str!("../../PROTOCOL.md");

#[test]
fn the_example_decodes_to_what_it_says() {
    let blocks = examples();
    let expected = [
        vec![hello()],
        vec![Frame::Message(Message::Welcome(Welcome {
            version: 1,
            session: 70_000,
            agent: "adit-relay/0.1.0".into(),
        }))],
        vec![Frame::Message(Message::Bind(Bind {
            id: 1,
            name: "shop".into(),
            replaces: 0,
        }))],
        vec![Frame::Message(Message::Bound(Bound {
            id: 1,
            name: "shop".into(),
            url: "https://shop.example.dev".into(),
        }))],
        request(),
        answer(),
    ];
    assert_eq!(blocks.len(), expected.len());
    for (block, frames) in blocks.iter().zip(expected) {
        let bytes: Vec<u8> = block.iter().flat_map(|line| line.bytes.clone()).collect();
        let read = read(&bytes, 1);
        assert_eq!((read.error, read.is_whole), (None, true));
        assert_eq!(read.frames, frames);
        // And it is what our own programs write, to the byte.
        assert_eq!(frames.iter().flat_map(bytes_of).collect::<Vec<_>>(), bytes);
    }
}

#[test]
fn what_the_example_says_beside_its_bytes_is_true() {
    for line in examples().into_iter().flatten() {
        if let Some((_, text)) = line.says.split_once('"') {
            let text = text.trim_end_matches('"');
            assert!(line.bytes.ends_with(text.as_bytes()), "{}", line.says);
        }
        // "Hello, 123 bytes": the length is the header's last bytes.
        if let Some(len) = line.says.strip_suffix(" bytes") {
            let (_, len) = len.rsplit_once(' ').expect("name and length");
            let len: u32 = len.parse().expect("a length");
            let said = match line.bytes[..] {
                [_, one] => u32::from(one),
                [_, a, b, c, d] => u32::from_be_bytes([a & 0x3f, b, c, d]),
                _ => panic!("{}", line.says),
            };
            assert_eq!(said, len, "{}", line.says);
        }
    }
}

#[test]
fn the_proof_of_the_example_is_the_keys_over_the_exporter() {
    let value_of = |what: &str| {
        let row = DOCUMENT.lines().find_map(|line| {
            line.strip_prefix(&format!("| {what} | `"))?
                .strip_suffix("` |")
        });
        hex(row.expect("a row of the example"))
    };
    let key = Ed25519KeyPair::from_seed_unchecked(&value_of("private key")).unwrap();
    let signed = [wire::PROOF_LABEL, &value_of("exported")].concat();
    assert_eq!(signed.len(), 55);
    let Frame::Message(Message::Hello(hello)) = hello() else {
        unreachable!("hello() makes a Hello");
    };
    assert_eq!(key.public_key().as_ref(), hello.key);
    UnparsedPublicKey::new(&ED25519, hello.key)
        .verify(&signed, &hello.proof)
        .unwrap();
}

#[test]
fn the_document_names_every_frame_with_its_number() {
    for golden in golden::all() {
        let shown = format!("{:?}", golden.frame);
        let name = shown
            .trim_start_matches("Message(")
            .split(|c: char| !c.is_alphanumeric())
            .next()
            .unwrap_or_default();
        let row = format!("| `{:#04x}` | {name} |", golden.bytes()[0]);
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}

#[test]
fn the_document_has_the_labels_limits_and_codes_of_the_code() {
    let labels = [wire::ALPN, wire::PROOF_LABEL, wire::EXPORTER_LABEL];
    for label in labels.map(|label| std::str::from_utf8(label).unwrap()) {
        assert!(DOCUMENT.contains(&format!("`{label}`")), "{label}");
    }
    for (what, limit) in [
        ("frame but Data", wire::codec::MAX_PAYLOAD as u64),
        ("a Data frame", wire::codec::MAX_DATA),
        ("trailer section", wire::codec::MAX_FIELDS as u64),
        ("The largest is", wire::codec::MAX_VARINT),
    ] {
        let limit = with_commas(limit);
        let said = DOCUMENT
            .lines()
            .any(|line| line.contains(what) && line.contains(&limit));
        assert!(said, "{what}: {limit}");
    }
    let base = wire::close::HTTP2_BASE;
    let base = format!("`{base:#010x}` ({})", with_commas(base.into()));
    assert!(DOCUMENT.contains(&base), "{base}");
    for code in (0..8).map(wire::close::Close) {
        let row = format!("| {} | {} |", code.0, code.as_str());
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}

/// One line of an example, with the lines that go on with it.
struct Line {
    bytes: Vec<u8>,
    says: String,
}

/// The blocks of hexadecimal text.
fn examples() -> Vec<Vec<Line>> {
    DOCUMENT
        .split("```hex\n")
        .skip(1)
        .map(|rest| {
            let (block, _) = rest.split_once("```").expect("an end of the block");
            let mut lines: Vec<Line> = Vec::new();
            for line in block.lines() {
                match (line.split_once('#'), lines.last_mut()) {
                    (Some((bytes, says)), _) => lines.push(Line {
                        bytes: hex(bytes),
                        says: says.trim().into(),
                    }),
                    (None, Some(before)) => before.bytes.extend(hex(line)),
                    (None, None) => panic!("a block begins with a name: {line}"),
                }
            }
            lines
        })
        .collect()
}

fn hello() -> Frame {
    let bytes = |text| hex(text).try_into().expect("as many as there must be");
    let mut proof = [0; 64];
    proof.copy_from_slice(&hex(
        "5cee0245031ec2aa01a6a66738f8e72341ef072d7b67c0eea441e1e8bbfc3e12
         f943de07e1a256d75270f184e273602c523b4d6dad4226652b7e2de5c86d9708",
    ));
    Frame::Message(Message::Hello(Hello {
        versions: wire::VERSIONS,
        key: bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
        proof,
        token: "adit_example".into(),
        agent: "example/1.0".into(),
    }))
}

fn request() -> Vec<Frame> {
    vec![
        Frame::Preface(Preface {
            request: RequestId::new(1_790_000_000_000, 0x1234_5678),
            endpoint: "shop".into(),
            remote: "203.0.113.7:51234".into(),
            scheme: Scheme::Https,
            authority: "shop.example.dev".into(),
            arrived_us: 1_790_000_000_000_123,
            version: Version::Http11,
        }),
        Frame::Request(RequestHead {
            method: "POST".into(),
            target: "/webhook".into(),
            fields: fields(&[
                ("Host", "shop.example.dev"),
                ("Content-Type", "application/json"),
            ]),
            framing: framing(13, "Content-Length"),
        }),
        Frame::Data("{\"paid\":true}".into()),
        Frame::End,
    ]
}

fn answer() -> Vec<Frame> {
    vec![
        Frame::Response(ResponseHead {
            status: 200,
            reason: "OK".into(),
            fields: fields(&[("content-type", "text/plain")]),
            framing: framing(2, "content-length"),
        }),
        Frame::Data("ok".into()),
        Frame::End,
    ]
}

fn fields(pairs: &[(&'static str, &'static str)]) -> Fields {
    pairs
        .iter()
        .map(|(name, value)| (Bytes::from(*name), Bytes::from(*value)))
        .collect()
}

/// So many bytes, and the field that said so behind the first of the others.
fn framing(len: u64, name: &'static str) -> Framing {
    Framing {
        length: Length::Known(len),
        place: Some(Place {
            index: 1,
            name: name.into(),
        }),
    }
}

/// `131,072`, as the document writes numbers.
fn with_commas(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
