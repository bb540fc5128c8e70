//! Writes definitions in transactions under one shared transactional id, so that a second writer is fenced.
