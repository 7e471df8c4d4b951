use std::fmt;

/// The first label of a public host: `[a-z0-9-]`, 1 to 63 characters, no hyphen at either end,
/// no `xn--` prefix (RFC 1035, 2.3.1; RFC 5890, 2.3.1 for the reserved prefix).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointName(Box<str>);

impl EndpointName {
    /// # Errors
    ///
    /// [`NameError`] for anything that is not such a label.
    pub fn parse(text: &str) -> Result<EndpointName, NameError> {
        let fits = (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.starts_with("xn--");
        if fits {
            Ok(EndpointName(text.into()))
        } else {
            Err(NameError)
        }
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot be a public name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 63 letters a-z, digits and hyphens, none of them at either end")]
pub struct NameError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_dns_labels() {
        for good in ["a", "brave-otter", "x1", &"a".repeat(63)] {
            assert_eq!(EndpointName::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a_b",
            "xn--a",
            "ä",
            "a b",
            &"a".repeat(64),
        ] {
            assert_eq!(EndpointName::parse(bad), Err(NameError), "{bad}");
        }
    }
}
