//! Dead letters: what will not be tried again, with its cause, in a form that can be redriven.
