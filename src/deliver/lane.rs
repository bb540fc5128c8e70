//! An endpoint's bounded queue and its workers.
