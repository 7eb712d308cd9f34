//! Where memory comes from, and how it goes back.

use libmimalloc_sys::{mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, in milliseconds; the bindings have no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// Gives freed pages back to the system at once, so that a node that thousands of clients have left is nearly as small as before
/// they came. By default mimalloc waits, and gives back only while somebody goes on allocating, which nobody does by then.
///
/// To be called while the process has one thread.
pub(crate) fn give_back_at_once() {
    // SAFETY: mimalloc 3 knows the option under this number, any value is allowed, and no other thread is
    // there yet: setting options is not thread-safe.
    #[expect(
        unsafe_code,
        reason = "mimalloc reads its options from the environment before `main`, or by this call"
    )]
    unsafe {
        mi_option_set(PURGE_DELAY, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mimalloc's own default, in milliseconds, which no other option has: the number names the option that is meant.
    #[test]
    #[expect(unsafe_code, reason = "reads an option")]
    fn the_option_is_the_one_meant() {
        // SAFETY: reading an option changes nothing.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, 1000);
    }
}
