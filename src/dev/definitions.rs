//! The sample's webhooks, and the events in them by name: what the generator and the oracle speak of.

/// The file that is applied at the start; `RECEIVER` stands for the receiver's host and port.
const WEBHOOKS: &str = include_str!("webhooks.yaml");

/// The webhooks with the receiver's address, ready to be applied.
pub(super) fn webhooks(receiver: std::net::SocketAddr) -> String {
    WEBHOOKS.replace("RECEIVER", &receiver.to_string())
}

/// An event of `webhooks.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SampleEvent {
    /// The seed page's first example: first or last name updated by a datasheet or a DataPage.
    CustomerRenamed,
    /// The seed page's second example: anything inserted in Admins.
    AdminAdded,
    OrderPlaced,
    OrderChanged,
    OrderDeleted,
    /// Only the status, and to another webhook: one change then fires two events.
    OrderMoved,
}

impl SampleEvent {
    pub(super) const ALL: [SampleEvent; 6] = [
        SampleEvent::CustomerRenamed,
        SampleEvent::AdminAdded,
        SampleEvent::OrderPlaced,
        SampleEvent::OrderChanged,
        SampleEvent::OrderDeleted,
        SampleEvent::OrderMoved,
    ];

    /// The name of its webhook, its table, and its event type, which together no other event has.
    pub(super) fn place(self) -> (&'static str, &'static str, &'static str) {
        match self {
            SampleEvent::CustomerRenamed => ("Customer directory", "MyCustomers", "table.recordUpdate"),
            SampleEvent::AdminAdded => ("Team chat", "Admins", "table.recordInsert"),
            SampleEvent::OrderPlaced => ("Bookkeeping", "Orders", "table.recordInsert"),
            SampleEvent::OrderChanged => ("Bookkeeping", "Orders", "table.recordUpdate"),
            SampleEvent::OrderDeleted => ("Bookkeeping", "Orders", "table.recordDelete"),
            SampleEvent::OrderMoved => ("Warehouse", "Orders", "table.recordUpdate"),
        }
    }

    pub(super) fn table(self) -> &'static str {
        self.place().1
    }
}
