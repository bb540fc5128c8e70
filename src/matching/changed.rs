//! Which fields of a row really changed: numbers by value, strings by text, never through a float.
