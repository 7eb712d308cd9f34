//! Actors, by kind.

use std::time::Duration;

use caside_actors::observed::KindReport;

use super::{Family, Value, word};

/// All families of actors.
pub(super) fn families(reports: &[KindReport]) -> Vec<Family> {
    let each = |mut family: Family, value: fn(&KindReport) -> Value| {
        for report in reports {
            family.add([("actor", word(report.actor))], value(report));
        }
        family
    };
    let mut stopped = Family::counter("caside_actors_stopped_total", "actors that ended, by reason");
    let mut handling = Family::histogram(
        "caside_actor_handling_seconds",
        "how long handling a message took, by its kind",
    );
    for report in reports {
        let actor = word(report.actor);
        for (reason, count) in [("ended", report.ended), ("failed", report.failed)] {
            stopped.add([("actor", actor.clone()), ("reason", word(reason))], count);
        }
        for (message, took) in &report.works {
            handling.add([("actor", actor.clone()), ("message", word(message))], *took);
        }
    }
    vec![
        each(Family::gauge("caside_actors", "actors that run"), |r| r.alive.into()),
        each(
            Family::counter("caside_actors_started_total", "actors that were started"),
            |r| r.started.into(),
        ),
        stopped,
        each(
            Family::counter("caside_actor_messages_total", "messages handled"),
            |r| r.handled().into(),
        ),
        each(
            Family::counter("caside_actor_refused_total", "messages refused at a mailbox's bound"),
            |r| r.refused.into(),
        ),
        each(
            Family::counter("caside_actor_failures_total", "actors that ended by a failure"),
            |r| r.failed.into(),
        ),
        each(
            Family::counter("caside_actor_wait_seconds_total", "time that messages waited"),
            |r| Duration::from_micros(r.waits.sum_us).into(),
        ),
        each(
            Family::counter("caside_actor_work_seconds_total", "time that handling took"),
            |r| Duration::from_micros(r.worked_us()).into(),
        ),
        each(
            Family::gauge(
                "caside_actor_mailbox_messages",
                "messages that wait, in all mailboxes of the kind",
            ),
            |r| r.waiting.into(),
        ),
        each(
            Family::gauge(
                "caside_actor_mailbox_deepest",
                "messages that wait in the fullest of them",
            ),
            |r| r.deepest.into(),
        ),
        each(
            Family::gauge(
                "caside_actor_mailbox_high_water",
                "most messages that ever waited in one of them",
            ),
            |r| r.high_water.into(),
        ),
        each(
            Family::histogram(
                "caside_actor_queue_seconds",
                "how long a message waited before it was handled",
            ),
            |r| r.waits.into(),
        ),
        handling,
    ]
}
