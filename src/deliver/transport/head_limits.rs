//! Max sizes of response heads.

/// Max bytes of a response head on HTTP/1.1. Of a longer head only the status is read.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Max bytes before the end of a response head: one head of the maximum size, and as many bytes of interim responses
/// (RFC 9110, 15.2). An endpoint that sends interim responses without end would keep a core busy until the attempt
/// times out.
pub(super) const MAX_HEADS: usize = 2 * MAX_HEAD;

/// Max size of a response head on HTTP/2, where each header counts for 32 bytes more than its name and value (RFC
/// 9113, 10.5.1). It is larger, so that it also allows the heads that HTTP/1.1 allows.
pub(super) const MAX_HEADER_LIST: u32 = 4 * MAX_HEAD as u32;
