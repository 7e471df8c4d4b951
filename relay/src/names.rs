//! Names for those who ask for none: an adjective and an animal, within what their token allows.

use wire::EndpointName;

const ADJECTIVES: [&str; 64] = [
    "amber", "bold", "brave", "brisk", "bright", "calm", "candid", "clever", "copper", "crisp",
    "daring", "deep", "eager", "early", "fair", "fancy", "fleet", "fond", "frank", "fresh",
    "gentle", "glad", "golden", "grand", "happy", "hardy", "honest", "humble", "jolly", "keen",
    "kind", "lively", "lucky", "lunar", "mellow", "merry", "mild", "neat", "nimble", "noble",
    "plain", "polite", "proud", "quick", "quiet", "rapid", "ready", "robust", "royal", "silent",
    "silver", "smart", "solid", "steady", "sunny", "swift", "tidy", "tough", "vivid", "warm",
    "wise", "witty", "young", "zesty",
];

const ANIMALS: [&str; 64] = [
    "badger", "bear", "beaver", "bison", "camel", "cat", "cobra", "condor", "crab", "crane",
    "crow", "deer", "dingo", "dove", "eagle", "falcon", "ferret", "finch", "fox", "gecko", "goat",
    "goose", "hare", "hawk", "heron", "horse", "ibex", "ibis", "jackal", "jay", "koala", "lark",
    "lemur", "lion", "llama", "lynx", "magpie", "marten", "mole", "moose", "mouse", "newt",
    "ocelot", "orca", "otter", "owl", "panda", "parrot", "pony", "puma", "quail", "rabbit",
    "raven", "robin", "salmon", "seal", "shrew", "stork", "swan", "tapir", "tiger", "toad", "wolf",
    "wren",
];

/// A name that `pattern` allows: the pattern itself, or with a random name for its first `*`.
/// `None` where that is no name.
pub fn random_within(pattern: &str, round: u32) -> Option<EndpointName> {
    let Some((before, after)) = pattern.split_once('*') else {
        return EndpointName::parse(pattern).ok();
    };
    let after = after.replace('*', "");
    let hyphen = |joined: bool| if joined { "-" } else { "" };
    let text = format!(
        "{before}{}{}{}{after}",
        hyphen(!before.is_empty() && !before.ends_with('-')),
        random(round),
        hyphen(!after.is_empty() && !after.starts_with('-')),
    );
    EndpointName::parse(&text).ok()
}

/// A random name: one of 4,096 in the first rounds, with three digits in the later ones.
pub fn random(round: u32) -> EndpointName {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = round.to_le_bytes();
    }
    let adjective = ADJECTIVES[usize::from(bytes[0]) % ADJECTIVES.len()];
    let animal = ANIMALS[usize::from(bytes[1]) % ANIMALS.len()];
    let digits = match round {
        0..5 => String::new(),
        _ => format!("-{}", 100 + u16::from_le_bytes([bytes[2], bytes[3]]) % 900),
    };
    // Letters, digits and inner hyphens, far below 63: always a name.
    EndpointName::parse(&format!("{adjective}-{animal}{digits}"))
        .expect("adjective-animal is a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_within_its_pattern() {
        let name = |pattern| random_within(pattern, 0).map(|name| name.to_string());
        assert_eq!(name("shop"), Some("shop".into()));
        for (pattern, begin, end) in [
            ("*", "", ""),
            ("bob-*", "bob-", ""),
            ("bob*", "bob-", ""),
            ("*-dev", "", "-dev"),
            ("a*b*c", "a-", "-bc"),
        ] {
            let name = name(pattern).expect(pattern);
            assert!(
                name.starts_with(begin) && name.ends_with(end),
                "{pattern} {name}"
            );
        }
        assert_eq!(name("-*"), None);
    }
}
