//! Which addresses may be dialled; pure.
