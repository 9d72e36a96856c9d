//! How much memory the allocator holds back, decided before the first thread starts.
//!
//! glibc gives every busy thread an arena of its own, up to eight for each processor, and memory freed by one
//! thread stays in its arena: after a start of `weir up` that is a third of the whole process. The number of arenas
//! can be set by the environment only, which is read once, at the start of a process; setting it in the running
//! program would need unsafe code. So the program starts itself once more, in the same process.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The allocator's variable, see mallopt(3). A value that the user gave stands.
const ARENAS: &str = "MALLOC_ARENA_MAX";
/// Two threads allocate side by side; measured: one saves 8 MiB more, the default costs 32 MiB more.
const MOST_ARENAS: &str = "2";

/// Replaces this process by the same program, with the same words and few arenas, unless their number is set.
///
/// Returns when there is nothing to do, or when it cannot be done: the program then runs as it is, with more memory.
pub(crate) fn keep_small(program: &Path) {
    if std::env::var_os(ARENAS).is_some() {
        return;
    }
    let _not_replaced = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(ARENAS, MOST_ARENAS)
        .exec();
}
