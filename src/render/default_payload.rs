//! The default payload: eventId … data, in the order of the contract.
