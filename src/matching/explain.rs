//! Why a definition fires or does not fire for a row change.

pub struct Verdict {}
pub struct Reason {}
