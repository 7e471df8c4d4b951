//! When the sender is expected to send an event again.

use crate::record::{Attempt, Outcome, Retry, Trigger};
use std::time::Duration;

/// What the sender will do after these attempts.
///
/// `schedule` holds the sender's waits, each counted from the end of the failed arrival before
/// it: `None` when nothing is published, empty when it never retries. Only arrivals count; a
/// replay changes nothing for the sender, who never hears of it. Any answer but 2xx is a failure
/// to a sender, 3xx too.
pub(crate) fn expected(schedule: Option<&[Duration]>, attempts: &[Attempt]) -> Retry {
    let arrivals = || attempts.iter().filter(|a| a.trigger != Trigger::Replay);
    let Some(last) = arrivals().next_back() else {
        return Retry::NotDue;
    };
    // What the relay held was answered with 202 before we saw it.
    if last.outcome == Outcome::Pending
        || last.outcome.is_success()
        || last.trigger == Trigger::Held
    {
        return Retry::NotDue;
    }
    let Some(schedule) = schedule else {
        return Retry::Unknown;
    };
    if schedule.is_empty() {
        return Retry::Never;
    }
    let made = arrivals().count();
    match schedule.get(made - 1) {
        Some(wait) => Retry::At {
            at: last
                .at
                .plus(last.timing.done.unwrap_or_default())
                .plus(*wait),
            number: u32::try_from(made).unwrap_or(u32::MAX),
            of: u32::try_from(schedule.len()).unwrap_or(u32::MAX),
        },
        None => Retry::Exhausted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Id, Timestamp, Timing};
    use signature::Judgement;

    #[test]
    fn the_expectation_follows_schedule_and_arrivals() {
        use Trigger::{Held, Live, Replay, Retry as Again};
        let waits: &[Duration] = &[Duration::from_secs(5), Duration::from_secs(60)];
        let none: &[Duration] = &[];
        // Attempt k begins at second 100 k and takes 2 s.
        let at = |seconds: i64, number| Retry::At {
            at: Timestamp(seconds * 1_000_000),
            number,
            of: 2,
        };
        let ok = answered(204);
        let broken = answered(500);
        let moved = answered(301);
        let lost = Outcome::Failed {
            status: Some(502),
            cause: String::from("app-refused"),
            why: String::new(),
            may_have_run: false,
        };
        let wait = Outcome::Pending;

        type Row<'a> = (Option<&'a [Duration]>, Vec<(Trigger, &'a Outcome)>, Retry);
        #[rustfmt::skip]
        let table: Vec<Row<'_>> = vec![
            (Some(waits), vec![(Live, &wait)], Retry::NotDue),
            (Some(waits), vec![(Live, &ok)], Retry::NotDue),
            (Some(waits), vec![(Live, &broken)], at(107, 1)),
            (Some(waits), vec![(Live, &moved)], at(107, 1)),
            (Some(waits), vec![(Live, &lost)], at(107, 1)),
            (Some(waits), vec![(Live, &lost), (Again, &wait)], Retry::NotDue),
            (Some(waits), vec![(Live, &lost), (Again, &broken)], at(262, 2)),
            (Some(waits), vec![(Live, &lost), (Again, &ok)], Retry::NotDue),
            (Some(waits), vec![(Live, &lost), (Again, &broken), (Again, &broken)], Retry::Exhausted),
            (Some(waits), vec![(Live, &broken), (Replay, &ok)], at(107, 1)),
            (Some(waits), vec![(Live, &broken), (Replay, &wait)], at(107, 1)),
            (Some(waits), vec![(Live, &ok), (Replay, &broken)], Retry::NotDue),
            (Some(waits), vec![(Live, &broken), (Replay, &broken), (Again, &broken)], at(362, 2)),
            (Some(waits), vec![(Held, &broken)], Retry::NotDue),
            (Some(none), vec![(Live, &broken)], Retry::Never),
            (Some(none), vec![(Live, &ok)], Retry::NotDue),
            (None, vec![(Live, &broken)], Retry::Unknown),
            (None, vec![(Live, &wait)], Retry::NotDue),
            (None, vec![], Retry::NotDue),
        ];
        for (schedule, attempts, wanted) in table {
            let made: Vec<Attempt> = attempts
                .iter()
                .enumerate()
                .map(|(i, (trigger, outcome))| attempt(i as u32 + 1, *trigger, (*outcome).clone()))
                .collect();
            assert_eq!(
                expected(schedule, &made),
                wanted,
                "{schedule:?} {attempts:?}"
            );
        }
    }

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status, bytes: 0 }
    }

    fn attempt(n: u32, trigger: Trigger, outcome: Outcome) -> Attempt {
        Attempt {
            n,
            request: Id::new(Timestamp(0), n),
            trigger,
            at: Timestamp(i64::from(n) * 100_000_000),
            origin: String::from("http://localhost:3000"),
            signature: Judgement::none(),
            outcome,
            timing: Timing {
                done: Some(Duration::from_secs(2)),
                ..Timing::default()
            },
            note: None,
        }
    }
}
