//! Key material, and the only place where it is used and compared.
//!
//! Every comparison with something secret goes through [`same`], in constant time for texts of one
//! length. Unequal lengths are a mismatch, not an error: the length of a MAC is no secret.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret as the user pasted it: prefixes such as `whsec_` are still on it.
///
/// Zeroed when dropped. `Debug` prints `Secret(…)`; there is no `Display` and no `Serialize`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the pasted text, blanks and all: whether they belong to it is for `explain` to find.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// Whether there is nothing but blanks. Such a secret verifies nothing: anybody could sign
    /// with it.
    pub fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// Key bytes, made from a [`Secret`].
pub(crate) type Key = Zeroizing<Vec<u8>>;

/// The hash under a MAC or a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Bytes of its output.
    pub(crate) fn len(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    /// Its name as people write it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Hash::Sha1 => "SHA-1",
            Hash::Sha256 => "SHA-256",
            Hash::Sha384 => "SHA-384",
            Hash::Sha512 => "SHA-512",
        }
    }

    /// The HMAC of the parts, one after another.
    pub(crate) fn hmac<P: AsRef<[u8]>>(self, key: &[u8], parts: &[P]) -> Vec<u8> {
        match self {
            Hash::Sha1 => hmac_with::<Hmac<Sha1>, P>(key, parts),
            Hash::Sha256 => hmac_with::<Hmac<Sha256>, P>(key, parts),
            Hash::Sha384 => hmac_with::<Hmac<Sha384>, P>(key, parts),
            Hash::Sha512 => hmac_with::<Hmac<Sha512>, P>(key, parts),
        }
    }

    /// The plain digest of the parts, one after another.
    pub(crate) fn digest<P: AsRef<[u8]>>(self, parts: &[P]) -> Vec<u8> {
        match self {
            Hash::Sha1 => digest_with::<Sha1, P>(parts),
            Hash::Sha256 => digest_with::<Sha256, P>(parts),
            Hash::Sha384 => digest_with::<Sha384, P>(parts),
            Hash::Sha512 => digest_with::<Sha512, P>(parts),
        }
    }
}

/// Whether two byte strings are equal, without telling by the time taken where they differ.
pub(crate) fn same(ours: &[u8], theirs: &[u8]) -> bool {
    ours.ct_eq(theirs).into()
}

/// Lower case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// The bytes of a hex text in either case; `None` if it is none.
pub(crate) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|&[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok())
        .collect()
}

fn hmac_with<M: Mac + KeyInit, P: AsRef<[u8]>>(key: &[u8], parts: &[P]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("an HMAC takes keys of any length");
    for part in parts {
        mac.update(part.as_ref());
    }
    mac.finalize().into_bytes().to_vec()
}

fn digest_with<D: Digest, P: AsRef<[u8]>>(parts: &[P]) -> Vec<u8> {
    let mut digest = D::new();
    for part in parts {
        digest.update(part.as_ref());
    }
    digest.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_agrees_with_the_published_example() {
        // RFC 4231, test case 2.
        let mac = Hash::Sha256.hmac(b"Jefe", &[b"what do ya want ".as_slice(), b"for nothing?"]);
        assert_eq!(
            hex(&mac),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_secret_hides_in_debug() {
        let shown = format!("{:?}", Secret::new("whsec_topsecret".into()));
        assert_eq!(shown, "Secret(…)");
    }

    #[test]
    fn hex_is_read_in_either_case_and_only_whole() {
        assert_eq!(unhex(b"0aFf"), Some(vec![0x0a, 0xff]));
        assert_eq!(unhex(b"0aF"), None);
        assert_eq!(unhex(b"0g"), None);
        assert_eq!(unhex("é".as_bytes()), None);
    }
}
