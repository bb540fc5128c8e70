//! When the next attempt is due, or that none follows; pure.
