//! The embedded broker: librdkafka's mock cluster in this process. Clients based on librdkafka can use it.
//!
//! A partition keeps 5 MB or 100,000 records, and drops the oldest beyond that. All records are lost when the process
//! ends.

use std::io;
use std::net::SocketAddr;

use rdkafka::ClientConfig;
use rdkafka::bindings::{rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms};
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer as _};
use tokio::net::{TcpListener, TcpStream};

/// Topic of the row changes.
pub const CHANGES: &str = "changes";
pub const CHANGES_PARTITIONS: i32 = 8;

/// The running cluster of one broker.
pub struct Broker {
    /// The client that owns the cluster. It has no other use.
    host: BaseProducer,
}

impl Broker {
    /// Starts the broker on a free port of the loopback interface. It runs until the process ends: clients that are
    /// still closing would report its end as an outage. The port can't be chosen: librdkafka binds port 0.
    ///
    /// # Errors
    /// librdkafka can't open its listener.
    pub fn start() -> Result<&'static Self, KafkaError> {
        let host: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create()?;
        let broker = Box::leak(Box::new(Self { host }));
        broker.let_groups_start_at_once();
        Ok(broker)
    }

    /// Address for `bootstrap.servers`.
    pub fn address(&self) -> String {
        self.cluster().bootstrap_servers()
    }

    /// Creates a topic. The mock cluster has no admin API, so clients can't create topics.
    ///
    /// # Errors
    /// The topic exists already.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        self.cluster().create_topic(name, partitions, 1)
    }

    fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.host.client().mock_cluster().expect("the client was made with test.mock.num.brokers")
    }

    /// Sets the initial rebalance delay to 0. By default the first member of a group waits three seconds for others.
    #[expect(unsafe_code, reason = "rdkafka's MockCluster has no method for this setting")]
    fn let_groups_start_at_once(&self) {
        // SAFETY: the client and its mock cluster are alive, and the setter takes the cluster's lock.
        unsafe {
            let cluster = rd_kafka_handle_mock_cluster(self.host.client().native_ptr());
            rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}

/// Proxy on a fixed bootstrap port that forwards connections to the broker. Clients fetch the cluster's metadata
/// through it and then connect to the broker's port, so it carries little traffic.
pub struct Door {
    listener: TcpListener,
    broker: String,
}

impl Door {
    pub fn new(listener: TcpListener, broker: String) -> Self {
        Self { listener, broker }
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Forwards connections until the future is dropped.
    pub async fn serve(self) {
        loop {
            // A failed accept is ignored: the client has disconnected already.
            let Ok((mut client, _)) = self.listener.accept().await else { continue };
            let broker = self.broker.clone();
            tokio::spawn(async move {
                let mut broker = TcpStream::connect(broker).await?;
                tokio::io::copy_bidirectional(&mut client, &mut broker).await
            });
        }
    }
}
