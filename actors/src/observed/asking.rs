//! Asking an actor for its state. One question at a time goes to each, whoever asks, so that those that are stuck do not
//! gather questions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ractor::ActorCell;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{Ask, locked};

/// An answer, shared by all who wait for it.
type Answer = Option<Arc<Value>>;

/// A question for an actor's state. Dropped without an answer, it was not answered.
#[derive(Debug)]
pub(crate) struct Asked {
    full: bool,
    answer: watch::Sender<Answer>,
}

impl Asked {
    /// A question, and where its answer comes.
    #[cfg(test)]
    pub(crate) fn for_test(full: bool) -> (Self, watch::Receiver<Answer>) {
        let (answer, waiting) = watch::channel(None);
        (Self { full, answer }, waiting)
    }

    /// Whether all is asked for, not only what fits a list.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Answers.
    pub(crate) fn answer(self, state: Value) {
        // Nobody may wait any more; the next who asks is answered anew.
        self.answer.send_replace(Some(Arc::new(state)));
    }
}

/// Questions that are under way, by actor and whether all is asked for.
#[derive(Default)]
pub(super) struct Asking(Mutex<HashMap<(u64, bool), watch::Receiver<Answer>>>);

impl Asking {
    /// Asks an actor, or waits along with whoever asked before; `None` when it does not answer until then.
    pub(super) async fn ask(&self, cell: &ActorCell, ask: Ask, full: bool, until: Instant) -> Answer {
        let key = (cell.get_id().pid(), full);
        let mut waiting = self.wait_for(key, || {
            let (answer, waiting) = watch::channel(None);
            ask(cell, Asked { full, answer });
            waiting
        });
        let answered = timeout_at(until, waiting.wait_for(Option::is_some)).await;
        let answer = answered.ok().and_then(Result::ok).and_then(|state| state.clone());
        self.settle(key);
        answer
    }

    fn wait_for(&self, key: (u64, bool), begin: impl FnOnce() -> watch::Receiver<Answer>) -> watch::Receiver<Answer> {
        let mut under_way = locked(&self.0);
        if let Some(waiting) = under_way.get(&key)
            && !is_over(waiting)
        {
            return waiting.clone();
        }
        let waiting = begin();
        under_way.insert(key, waiting.clone());
        waiting
    }

    /// Forgets a question that was answered, or whose actor ended.
    fn settle(&self, key: (u64, bool)) {
        let mut under_way = locked(&self.0);
        if under_way.get(&key).is_some_and(is_over) {
            under_way.remove(&key);
        }
    }

    /// Forgets an actor that ended.
    pub(super) fn forget(&self, actor: u64) {
        let mut under_way = locked(&self.0);
        if !under_way.is_empty() {
            under_way.remove(&(actor, false));
            under_way.remove(&(actor, true));
        }
    }
}

fn is_over(waiting: &watch::Receiver<Answer>) -> bool {
    waiting.borrow().is_some() || waiting.has_changed().is_err()
}
