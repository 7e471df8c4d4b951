//! Sends an event as its provider would: signed, with its deadline, and again after its delays.

use crate::http::{Request, RequestError, Trust, Url, request};
use bytes::Bytes;
use capture::Timestamp;
use signature::{Provider, Schedule, Secret, SignError, Unsigned};
use std::time::{Duration, Instant};

/// CloudVNO and most others wait so long for an answer, where nothing else is known.
const DEADLINE: Duration = Duration::from_secs(10);

/// A provider that sends to one URL.
#[derive(Debug)]
pub struct Sender<'a> {
    /// Whose behaviour.
    pub provider: &'a Provider,
    /// Signs with it; `None` sends unsigned.
    pub secret: Option<&'a Secret>,
    /// Where to, which is also what is signed.
    pub url: Url,
    /// Which certificates are trusted.
    pub trust: Trust,
    /// Whether to try again after the provider's delays.
    pub retry: bool,
    /// Divides the delays: 60 makes minutes seconds.
    pub time_scale: f64,
}

/// What happens while an event is sent.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Try `number` of `of` is over.
    Tried {
        /// Counted from 1.
        number: usize,
        /// At most.
        of: usize,
        /// The status, or why there was none.
        answer: Result<u16, &'a RequestError>,
        /// How long it took.
        took: Duration,
    },
    /// The next try begins after so long.
    Waiting(Duration),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// With a 2xx, at this try.
    Delivered(usize),
    /// Without one, after so many tries.
    Failed(usize),
}

impl Sender<'_> {
    /// Sends a body until a 2xx comes or the provider gives up.
    ///
    /// # Errors
    ///
    /// [`SignError`] when it cannot be signed; nothing was sent then.
    pub async fn send(
        &self,
        body: &str,
        content_type: &str,
        mut progress: impl FnMut(Progress<'_>),
    ) -> Result<Sent, SignError> {
        let delays = match (self.retry, self.provider.schedule()) {
            (true, Schedule::Delays { delays, .. }) => delays.as_slice(),
            _ => &[],
        };
        let of = delays.len() + 1;
        for number in 1..=of {
            let request_to_send = self.request(body, content_type)?;
            let began = Instant::now();
            let deadline = self.provider.deadline().unwrap_or(DEADLINE);
            let answer = request(&request_to_send, &self.trust, deadline).await;
            let status = answer.as_ref().map(|response| response.status);
            let took = began.elapsed();
            progress(Progress::Tried {
                number,
                of,
                answer: status,
                took,
            });
            if matches!(status, Ok(200..=299)) {
                return Ok(Sent::Delivered(number));
            }
            if let Some(delay) = delays.get(number - 1) {
                let wait = delay.div_f64(self.time_scale);
                progress(Progress::Waiting(wait));
                tokio::time::sleep(wait).await;
            }
        }
        Ok(Sent::Failed(of))
    }

    /// The request of one try. A scheme with a timestamp signs anew for each; CloudVNO, which has
    /// none, sends the same bytes again.
    fn request(&self, body: &str, content_type: &str) -> Result<Request, SignError> {
        let mut fields = vec![
            (
                String::from("User-Agent"),
                format!("{}-Webhooks/1.0", self.provider.title()),
            ),
            (String::from("Accept"), String::from("*/*")),
            (String::from("Content-Type"), content_type.to_owned()),
        ];
        if let Some(secret) = self.secret {
            let headers = [(&b"Content-Type"[..], content_type.as_bytes())];
            let url = self.url.to_string();
            let unsigned = Unsigned {
                method: "POST",
                url: &url,
                headers: &headers,
                body: body.as_bytes(),
                id: "",
            };
            let at = Timestamp::now().unix_seconds();
            fields.extend(self.provider.sign(unsigned, secret, at)?);
        }
        Ok(Request {
            method: String::from("POST"),
            url: self.url.clone(),
            fields,
            body: Bytes::copy_from_slice(body.as_bytes()),
        })
    }
}
