//! Why an answer did not come from the app: the words of `Adit-Cause` and their status codes.

/// The name of the field that tells the sender why the app did not answer. Removed from whatever
/// an app or a sender sends.
pub const FIELD: &str = "Adit-Cause";

/// Why the app did not answer, or not to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nobody owns the name.
    UnknownName,
    /// The name's owner is not connected.
    ClientAway,
    /// Nothing listens at the origin.
    AppRefused,
    /// The app closed without a valid answer, or cut it.
    AppBroken,
    /// The app said nothing within the limit.
    AppTimeout,
    /// The tunnel was lost before the answer's head.
    TunnelLost,
    /// The signature is wrong and the client rejects such requests.
    BadSignature,
    /// The body is longer than allowed.
    BodyLimit,
    /// The head is longer than allowed.
    HeaderLimit,
    /// Too many at once.
    RateLimit,
    /// The sender took too long.
    SlowSender,
    /// The request is not HTTP as it should be.
    Malformed,
    /// The sender went away. Nobody reads the status.
    SenderGone,
    /// Our own fault.
    Internal,
}

impl Cause {
    const ALL: [(Cause, &'static str, u16); 14] = [
        (Cause::UnknownName, "unknown-name", 404),
        (Cause::ClientAway, "client-away", 503),
        (Cause::AppRefused, "app-refused", 502),
        (Cause::AppBroken, "app-broken", 502),
        (Cause::AppTimeout, "app-timeout", 504),
        (Cause::TunnelLost, "tunnel-lost", 502),
        (Cause::BadSignature, "bad-signature", 401),
        (Cause::BodyLimit, "body-limit", 413),
        (Cause::HeaderLimit, "header-limit", 431),
        (Cause::RateLimit, "rate-limit", 429),
        (Cause::SlowSender, "slow-sender", 408),
        (Cause::Malformed, "malformed", 400),
        (Cause::SenderGone, "sender-gone", 499),
        (Cause::Internal, "internal", 500),
    ];

    fn row(self) -> (Cause, &'static str, u16) {
        Cause::ALL
            .into_iter()
            .find(|(cause, ..)| *cause == self)
            .unwrap_or((Cause::Internal, "internal", 500))
    }

    /// The word, such as `app-refused`.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The status the sender gets.
    pub fn status(self) -> u16 {
        self.row().2
    }

    /// The cause of a word; [`Cause::Internal`] for one that is not known.
    pub fn parse(word: &str) -> Cause {
        Cause::ALL
            .into_iter()
            .find(|(_, known, _)| *known == word)
            .map_or(Cause::Internal, |(cause, ..)| cause)
    }

    /// Seconds for `Retry-After`, where the contract asks for one.
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Cause::ClientAway | Cause::TunnelLost => Some(5),
            Cause::RateLimit => Some(1),
            _ => None,
        }
    }
}
