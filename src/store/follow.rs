//! Reads the definitions topic to its end, then follows it into the index.
