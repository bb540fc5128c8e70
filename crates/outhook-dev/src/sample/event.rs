//! The events of `webhooks.yaml` that sample changes fire.

/// An event of `webhooks.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleEvent {
    /// First example of Caspio's page: first or last name updated by a datasheet or a DataPage.
    CustomerRenamed,
    /// Second example of Caspio's page: any insert in Admins.
    AdminAdded,
    OrderPlaced,
    OrderChanged,
    OrderDeleted,
    /// Only the status, and for another webhook, so one change fires two events.
    OrderMoved,
}

impl SampleEvent {
    pub const ALL: [SampleEvent; 6] = [
        SampleEvent::CustomerRenamed,
        SampleEvent::AdminAdded,
        SampleEvent::OrderPlaced,
        SampleEvent::OrderChanged,
        SampleEvent::OrderDeleted,
        SampleEvent::OrderMoved,
    ];

    /// Webhook name, table and event type. Together they identify the event.
    pub fn identity(self) -> (&'static str, &'static str, &'static str) {
        match self {
            SampleEvent::CustomerRenamed => ("Customer directory", "MyCustomers", "table.recordUpdate"),
            SampleEvent::AdminAdded => ("Team chat", "Admins", "table.recordInsert"),
            SampleEvent::OrderPlaced => ("Bookkeeping", "Orders", "table.recordInsert"),
            SampleEvent::OrderChanged => ("Bookkeeping", "Orders", "table.recordUpdate"),
            SampleEvent::OrderDeleted => ("Bookkeeping", "Orders", "table.recordDelete"),
            SampleEvent::OrderMoved => ("Warehouse", "Orders", "table.recordUpdate"),
        }
    }
}
