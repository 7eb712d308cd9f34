//! Bounded, observed mailboxes. ractor's own have no bound, so every send counts, and a sender at the bound is refused.
//! Each message bears when it was put in and the span it was put in under: what a trace and a histogram need.

use std::fmt;
use std::sync::Arc;

use ractor::{ActorCell, ActorRef, Message};
use tokio::time::Instant;
use tracing::Span;

use crate::observed::{Asked, Counters, Kind, Label, Observable, Observed, Seen, Vitals};

/// A message on its way, with what telemetry wants to know of it.
pub(crate) struct Traced<M> {
    context: Span,
    enqueued_at: Instant,
    /// `None` of a question for the actor's state, which counts nowhere.
    gauge: Option<Arc<Gauge>>,
    message: M,
}

impl<M> fmt::Debug for Traced<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced").finish_non_exhaustive()
    }
}

impl<M: Send + 'static> Message for Traced<M> {}

impl<M: Named> Traced<M> {
    /// Handles the message under the sender's span and counts the wait and the work.
    pub(crate) fn handle<R>(self, work: impl FnOnce(M) -> R) -> R {
        let Self {
            context,
            enqueued_at,
            gauge,
            message,
        } = self;
        let Some(gauge) = gauge else {
            return work(message);
        };
        let started = Instant::now();
        gauge.vitals.taken(started);
        let (counters, name) = (&gauge.counters, message.name());
        counters.waited(enqueued_at, started);
        let span = span(&context, counters.actor(), name);
        let result = span.in_scope(|| work(message));
        gauge.vitals.done();
        counters.worked(name, started);
        result
    }
}

/// The span of handling a message: only of one that was sent under a span that somebody records.
pub(crate) fn span(context: &Span, actor: &'static str, message: &'static str) -> Span {
    if context.is_disabled() {
        return Span::none();
    }
    tracing::debug_span!(
        parent: context,
        "actor.handle",
        caside.actor.kind = actor,
        caside.message.name = message
    )
}

/// Names a message in traces and counters.
pub(crate) trait Named {
    /// A stable word.
    fn name(&self) -> &'static str;
}

/// A message to an actor that can be asked for its state.
pub(crate) trait Inspected: Named + Send + Sized + 'static {
    /// The question.
    fn inspect(asked: Asked) -> Self;
}

/// The mailbox takes no more messages now, or its actor is gone; the message comes back.
#[derive(Debug, thiserror::Error)]
#[error("the mailbox is full, or its actor is gone")]
pub(crate) struct Overloaded<M>(pub(crate) M);

/// How full one mailbox is.
#[derive(Debug)]
struct Gauge {
    vitals: Vitals,
    counters: Arc<Counters>,
}

impl Observable for Gauge {
    fn vitals(&self) -> &Vitals {
        &self.vitals
    }
}

/// A way into one actor's mailbox; cheap to clone.
pub(crate) struct Mailbox<M: Send + 'static> {
    actor: ActorRef<Traced<M>>,
    gauge: Arc<Gauge>,
}

impl<M: Send + 'static> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            actor: self.actor.clone(),
            gauge: self.gauge.clone(),
        }
    }
}

impl<M: Send + 'static> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("actor", &self.actor.get_id())
            .finish_non_exhaustive()
    }
}

impl<M: Send + 'static> Mailbox<M> {
    /// The mailbox of `actor`, which holds `bound` messages at most. One per actor: clones share the count.
    pub(crate) fn new(actor: ActorRef<Traced<M>>, bound: usize, counters: Arc<Counters>) -> Self {
        Self {
            actor,
            gauge: Arc::new(Gauge {
                vitals: Vitals::new(bound),
                counters,
            }),
        }
    }

    /// Lists the actor for operators.
    pub(crate) fn list(&self, observed: &Observed, kind: Kind, label: Label) -> Seen
    where
        M: Inspected,
    {
        let ask = |cell: &ActorCell, asked: Asked| {
            let question = Traced {
                context: Span::none(),
                enqueued_at: Instant::now(),
                gauge: None,
                message: M::inspect(asked),
            };
            if ActorRef::from(cell.clone()).cast(question).is_err() {
                tracing::debug!(actor = %cell.get_id(), "an actor that was asked for its state is gone");
            }
        };
        observed.list(kind, label, self.cell(), self.gauge.clone(), Some(ask))
    }

    /// How the actor does with its messages.
    pub(crate) fn vitals(&self) -> &Vitals {
        &self.gauge.vitals
    }

    /// Puts a message in.
    ///
    /// # Errors
    /// [`Overloaded`] when as many wait as may, or the actor is gone.
    pub(crate) fn send(&self, message: M) -> Result<(), Overloaded<M>> {
        if self.gauge.vitals.is_full() {
            self.gauge.vitals.refused();
            self.gauge.counters.refused();
            return Err(Overloaded(message));
        }
        self.put(message, Span::current()).map_err(Overloaded)
    }

    /// As [`Mailbox::send`], but no part of the sender's trace: for what goes to each of very many.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn send_apart(&self, message: M) -> Result<(), Overloaded<M>> {
        if self.gauge.vitals.is_full() {
            self.gauge.vitals.refused();
            self.gauge.counters.refused();
            return Err(Overloaded(message));
        }
        self.put(message, Span::none()).map_err(Overloaded)
    }

    /// Puts a message in beyond the bound: for what must not be lost and is bounded where it comes from, such as one
    /// end of a session. `false` when the actor is gone.
    pub(crate) fn post(&self, message: M) -> bool {
        self.put(message, Span::current()).is_ok()
    }

    fn put(&self, message: M, context: Span) -> Result<(), M> {
        self.gauge.vitals.arrived();
        let traced = Traced {
            context,
            enqueued_at: Instant::now(),
            gauge: Some(self.gauge.clone()),
            message,
        };
        self.actor.cast(traced).map_err(|e| {
            self.gauge.vitals.returned();
            match e {
                ractor::MessagingErr::SendErr(traced) => traced.message,
                ractor::MessagingErr::ChannelClosed | ractor::MessagingErr::InvalidActorType => {
                    unreachable!("a typed cast gives its message back")
                }
            }
        })
    }

    /// Promises a message: `otherwise` is posted if whoever is to keep the promise ends without doing so.
    pub(crate) fn promise(&self, otherwise: M) -> Promise<M> {
        Promise {
            mailbox: self.clone(),
            otherwise: Some(otherwise),
        }
    }

    /// Messages that wait.
    pub(crate) fn depth(&self) -> usize {
        usize::try_from(self.gauge.vitals.depth()).unwrap_or(usize::MAX)
    }

    /// The actor, for supervision.
    pub(crate) fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    /// Whether both lead to the same actor.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.actor.get_id() == other.actor.get_id()
    }
}

/// A message that is sure to come, from a task that may fail.
pub(crate) struct Promise<M: Send + 'static> {
    mailbox: Mailbox<M>,
    otherwise: Option<M>,
}

impl<M: Send + 'static> Promise<M> {
    /// Posts the message. One for an actor that is gone is dropped.
    pub(crate) fn keep(mut self, message: M) {
        self.otherwise = None;
        self.mailbox.post(message);
    }
}

impl<M: Send + 'static> Drop for Promise<M> {
    fn drop(&mut self) {
        if let Some(otherwise) = self.otherwise.take() {
            self.mailbox.post(otherwise);
        }
    }
}
