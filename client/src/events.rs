//! Events that `client send` makes: realistic form fields, as data, filled anew for every send.

use crate::failure::{Exit, Failure};
use capture::Timestamp;
use serde::Deserialize;

/// One event of a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The provider's name for it, such as `message.delivered`.
    pub name: String,
    /// Names and values in the order they are sent; values with placeholders.
    pub fields: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    event: Vec<Event>,
}

/// The events of a provider; `None` when this version can make none for it.
pub fn of(provider: &str) -> Option<Vec<Event>> {
    let text = match provider {
        "cloudvno" => include_str!("events/cloudvno.toml"),
        _ => return None,
    };
    // Embedded, and read by a test: it parses.
    Some(toml::from_str::<File>(text).map_or_else(|_| Vec::new(), |file| file.event))
}

/// The event with this name, or the only one whose name contains it (`delivered`, `recording`).
///
/// # Errors
///
/// With those that contain it when there are several, else with the nearest name and all of them.
pub fn find(provider: &str, name: &str) -> Result<Event, Failure> {
    let events = of(provider).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("this version makes no events of {provider}"),
        )
        .hint("it makes those of: cloudvno")
    })?;
    let wanted = name.to_ascii_lowercase().replace([' ', '_', '-'], ".");
    if let Some(event) = events.iter().find(|event| event.name == wanted) {
        return Ok(event.clone());
    }
    let names = |events: &[&Event]| {
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        names.join(", ")
    };
    let containing: Vec<&Event> = events
        .iter()
        .filter(|event| !wanted.is_empty() && event.name.contains(&wanted))
        .collect();
    if let [only] = containing[..] {
        return Ok(only.clone());
    }
    let usage = |what: String| Failure::new(Exit::Usage, what);
    if !containing.is_empty() {
        return Err(
            usage(format!("{name:?} is more than one event of {provider}"))
                .hint(format!("say which: {}", names(&containing))),
        );
    }
    let nearest = events
        .iter()
        .min_by_key(|event| strsim::damerau_levenshtein(&event.name, &wanted))
        .map_or("", |event| &event.name);
    let all: Vec<&Event> = events.iter().collect();
    Err(
        usage(format!("{provider} has no event {name:?}")).hint(format!(
            "did you mean {nearest}? There are: {}",
            names(&all)
        )),
    )
}

impl Event {
    /// The body: its fields, filled and changed by `set`, form-urlencoded.
    pub fn form(&self, set: &[(String, String)]) -> String {
        let mut fields: Vec<(String, String)> = self
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), fill(value)))
            .collect();
        for (name, value) in set {
            match fields.iter_mut().find(|(known, _)| known == name) {
                Some(field) => field.1.clone_from(value),
                None => fields.push((name.clone(), value.clone())),
            }
        }
        let pairs: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", quote(name), quote(value)))
            .collect();
        pairs.join("&")
    }
}

/// Fills the placeholders of a value.
fn fill(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((placeholder, after)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        let (kind, argument) = placeholder.split_once(':').unwrap_or((placeholder, ""));
        match kind {
            "sid" => {
                out.push_str(argument);
                out.extend(random(16).iter().map(|byte| format!("{byte:02x}")));
            }
            "phone" => out.push_str(&format!("+4930{}", digits(7))),
            "digits" => out.push_str(&digits(argument.parse().unwrap_or(1))),
            "time" => out.push_str(&Timestamp::now().rfc3339()),
            _ => out.push_str(placeholder),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn digits(n: usize) -> String {
    let bytes = random(n);
    bytes
        .iter()
        .map(|byte| char::from(b'1' + byte % 9))
        .collect()
}

fn random(n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    // Without random bytes the ids repeat, which a sample may.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

/// As Python's `quote_plus`: letters, digits and `_.-~` stay, a space is `+`.
pub fn quote(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloudvno_has_its_nine_events() {
        let names: Vec<String> = of("cloudvno")
            .unwrap()
            .into_iter()
            .map(|e| e.name)
            .collect();
        assert_eq!(
            names,
            [
                "message.delivered",
                "message.failed",
                "message.received",
                "call.answered",
                "call.completed",
                "call.failed",
                "verification.approved",
                "number.provisioned",
                "recording.available",
            ]
        );
    }

    #[test]
    fn events_are_found_by_a_piece_and_mistakes_are_named() {
        assert_eq!(
            find("cloudvno", "delivered").unwrap().name,
            "message.delivered"
        );
        assert_eq!(
            find("cloudvno", "call completed").unwrap().name,
            "call.completed"
        );
        assert_eq!(
            find("cloudvno", "recording").unwrap().name,
            "recording.available"
        );
        let two = find("cloudvno", "failed").unwrap_err();
        assert_eq!(
            two.hint.as_deref(),
            Some("say which: message.failed, call.failed")
        );
        let failure = find("cloudvno", "mesage.delivered").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure
                .hint
                .unwrap()
                .starts_with("did you mean message.delivered?")
        );
    }

    #[test]
    fn set_replaces_and_appends() {
        let event = find("cloudvno", "call.failed").unwrap();
        let set = [("Reason".into(), "a b/ü".into()), ("X".into(), "1".into())];
        let form = event.form(&set);
        assert!(form.contains("Reason=a+b%2F%C3%BC&"), "{form}");
        assert!(form.ends_with("&X=1"), "{form}");
        assert!(!form.contains('{'), "{form}");
    }
}
