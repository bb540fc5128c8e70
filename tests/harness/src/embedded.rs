//! librdkafka's mock cluster in the test process, for machines without Java.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use rdkafka::mocking::MockCluster;

/// The mock cluster must stay in one thread, so a dedicated thread holds it until the process ends.
pub(crate) struct Embedded {
    pub bootstrap: String,
    topics: Mutex<Sender<NewTopic>>,
}

struct NewTopic {
    name: String,
    partitions: i32,
    made: Sender<Result<(), String>>,
}

impl Embedded {
    pub fn start() -> Self {
        let (ready, bootstrap) = channel();
        let (topics, new_topics) = channel::<NewTopic>();
        std::thread::spawn(move || {
            let cluster = MockCluster::new(1).expect("a mock cluster needs nothing but a port");
            let _ = ready.send(cluster.bootstrap_servers());
            for topic in new_topics {
                let made = cluster.create_topic(&topic.name, topic.partitions, 1);
                let _ = topic.made.send(made.map_err(|error| error.to_string()));
            }
        });
        let bootstrap = bootstrap.recv().expect("the mock cluster's thread has sent its address");
        Self { bootstrap, topics: Mutex::new(topics) }
    }

    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), String> {
        let (made, answer) = channel();
        let topic = NewTopic { name: name.to_owned(), partitions, made };
        self.topics.lock().expect("no sender panics").send(topic).expect("the mock cluster's thread keeps running");
        answer.recv().expect("the mock cluster's thread answers")
    }
}
