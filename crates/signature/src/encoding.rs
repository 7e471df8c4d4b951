//! Secrets to keys, signatures to bytes and back.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::mac::{self, Hash, Key};
use crate::scheme::{Encoding, KeyForm};

impl KeyForm {
    /// The keys that a pasted secret may mean, the likely one first; none if it is not in this
    /// form. Never an empty key: anybody could sign with it.
    pub(crate) fn keys(self, secret: &str) -> Vec<Key> {
        let utf8 = || Some(secret.as_bytes().to_vec());
        let base64 = |text: &str| decode_secret(text);
        let stripped = secret.strip_prefix("whsec_");
        let keys = match self {
            KeyForm::Utf8 => vec![utf8()],
            KeyForm::Hex => vec![mac::unhex(secret.as_bytes())],
            KeyForm::Base64 => vec![base64(secret)],
            KeyForm::Whsec => vec![base64(stripped.unwrap_or(secret))],
            KeyForm::WhsecOrUtf8 => vec![stripped.map_or_else(utf8, base64)],
            KeyForm::Utf8AndBase64 => vec![utf8(), base64(secret)],
            KeyForm::Sha1 => vec![Some(Hash::Sha1.digest(&[secret]))],
        };
        keys.into_iter()
            .flatten()
            .filter(|key| !key.is_empty())
            .map(Zeroizing::new)
            .collect()
    }

    /// What the secret must be, in words.
    pub(crate) fn due(self) -> &'static str {
        match self {
            KeyForm::Hex => "hex",
            KeyForm::Base64 => "base64",
            KeyForm::Whsec | KeyForm::WhsecOrUtf8 => "base64 after whsec_",
            KeyForm::Utf8 | KeyForm::Utf8AndBase64 | KeyForm::Sha1 => "text",
        }
    }
}

impl Encoding {
    /// Strict: one byte string has one text, but for the case of hex and the padding of base64.
    pub(crate) fn decode(self, item: &[u8]) -> Option<Vec<u8>> {
        match self {
            Encoding::Hex => mac::unhex(item),
            Encoding::HexLower => {
                if item.iter().any(u8::is_ascii_uppercase) {
                    None
                } else {
                    mac::unhex(item)
                }
            }
            Encoding::Base64 => engine(&alphabet::STANDARD, false).decode(item).ok(),
            Encoding::Base64Url => engine(&alphabet::URL_SAFE, false).decode(item).ok(),
            Encoding::Base64Hex => Encoding::Hex.decode(&Encoding::Base64.decode(item)?),
        }
    }

    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Hex | Encoding::HexLower => mac::hex(bytes),
            Encoding::Base64 => engine(&alphabet::STANDARD, false).encode(bytes),
            Encoding::Base64Url => {
                let padded = engine(&alphabet::URL_SAFE, false).encode(bytes);
                padded.trim_end_matches('=').into()
            }
            Encoding::Base64Hex => Encoding::Base64.encode(mac::hex(bytes).as_bytes()),
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Encoding::Hex => "hex",
            Encoding::HexLower => "hex in small letters",
            Encoding::Base64 => "base64",
            Encoding::Base64Url => "base64url",
            Encoding::Base64Hex => "hex within base64",
        }
    }
}

/// Base64 as people paste it: padded or not.
pub(crate) fn decode_secret(text: &str) -> Option<Vec<u8>> {
    engine(&alphabet::STANDARD, true).decode(text).ok()
}

fn engine(alphabet: &alphabet::Alphabet, lenient: bool) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(lenient);
    GeneralPurpose::new(alphabet, config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_key_is_no_key() {
        assert!(KeyForm::Whsec.keys("whsec_").is_empty());
        assert!(KeyForm::Hex.keys("").is_empty());
        assert!(KeyForm::Whsec.keys("whsec_%%").is_empty());
        assert_eq!(KeyForm::Utf8AndBase64.keys("YWJj").len(), 2);
    }

    #[test]
    fn base64_has_one_text_for_one_value() {
        assert_eq!(Encoding::Base64.decode(b"YQ=="), Some(b"a".to_vec()));
        assert_eq!(Encoding::Base64.decode(b"YQ"), Some(b"a".to_vec()));
        assert_eq!(
            Encoding::Base64.decode(b"YR=="),
            None,
            "bits beyond the last byte"
        );
        assert_eq!(Encoding::Base64.decode(b"-_8="), None);
        assert_eq!(Encoding::Base64Url.decode(b"-_8"), Some(vec![0xfb, 0xff]));
    }
}
