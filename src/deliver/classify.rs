//! What an answer or an error means: delivered, retry, or stop; pure.
