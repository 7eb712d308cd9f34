//! The scripts that Redis runs for us, each as a whole. They get names as keys and arguments, never as text.

use redis::Script;

/// All of them, read once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) renew: Script,
    pub(super) claim: Script,
    pub(super) lookup: Script,
    pub(super) release: Script,
    pub(super) hand_over: Script,
    pub(super) keep: Script,
    pub(super) assert: Script,
    pub(super) bury: Script,
    pub(super) leave: Script,
}

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(
            include_str!("lua/prelude.lua"),
            include_str!(concat!("lua/", $file))
        ))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            renew: script!("renew.lua"),
            claim: script!("claim.lua"),
            lookup: script!("lookup.lua"),
            release: script!("release.lua"),
            hand_over: script!("hand_over.lua"),
            keep: script!("keep.lua"),
            assert: script!("assert.lua"),
            bury: script!("bury.lua"),
            leave: script!("leave.lua"),
        }
    }
}
