//! The embedded broker: librdkafka's mock cluster, in this process, which any Kafka client can talk to.
//!
//! It keeps 5 MB or 100,000 records a partition and forgets the oldest beyond that, and it forgets all when
//! the process ends.

use std::io;
use std::net::SocketAddr;

use rdkafka::ClientConfig;
use rdkafka::bindings::{rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms};
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer as _};
use tokio::net::{TcpListener, TcpStream};

/// Where row changes go.
pub(super) const CHANGES: &str = "changes";
pub(super) const CHANGES_PARTITIONS: i32 = 8;

/// The running cluster: one broker.
pub(super) struct Broker {
    /// The client that owns the cluster; it is used for nothing else.
    host: BaseProducer,
}

impl Broker {
    /// Starts it on a free port of the loopback interface, for as long as the process lives: clients that are
    /// still closing would take its end for an outage. The port can't be chosen: librdkafka binds port 0.
    ///
    /// # Errors
    /// librdkafka can't open its listener.
    pub(super) fn start() -> Result<&'static Self, KafkaError> {
        let host: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create()?;
        let broker = Box::leak(Box::new(Self { host }));
        broker.let_groups_start_at_once();
        Ok(broker)
    }

    /// Its address, as `bootstrap.servers` takes it.
    pub(super) fn address(&self) -> String {
        self.cluster().bootstrap_servers()
    }

    /// Topics can only be made here: the mock cluster has no admin API.
    ///
    /// # Errors
    /// The topic exists already.
    pub(super) fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        self.cluster().create_topic(name, partitions, 1)
    }

    fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.host.client().mock_cluster().expect("the client was made with test.mock.num.brokers")
    }

    /// Without this the first member of a group waits three seconds for others.
    #[expect(unsafe_code, reason = "rdkafka's MockCluster has no method for this setting")]
    fn let_groups_start_at_once(&self) {
        // SAFETY: the client is alive, and with it its mock cluster; the setter takes the cluster's own lock.
        unsafe {
            let cluster = rd_kafka_handle_mock_cluster(self.host.client().native_ptr());
            rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}

/// A fixed port to start from: passes connections on to the broker. Clients ask there for the cluster's
/// metadata and then go to the broker's own port, so that this sees little traffic.
pub(super) struct Door {
    listener: TcpListener,
    broker: String,
}

impl Door {
    pub(super) fn new(listener: TcpListener, broker: String) -> Self {
        Self { listener, broker }
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Passes connections on until it is dropped.
    pub(super) async fn serve(self) {
        loop {
            // A client that is gone again before it is served is no concern of ours.
            let Ok((mut client, _)) = self.listener.accept().await else { continue };
            let broker = self.broker.clone();
            tokio::spawn(async move {
                let mut broker = TcpStream::connect(broker).await?;
                tokio::io::copy_bidirectional(&mut client, &mut broker).await
            });
        }
    }
}
