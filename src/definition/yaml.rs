//! Definitions as people keep them in git, and the difference between such a file and the state.
