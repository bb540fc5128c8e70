//! The rules of CONTRACT 3 and 4 that a definition must keep: the one place where they are checked.
