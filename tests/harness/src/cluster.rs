//! Real Apache Kafka (KRaft), started by the tests on free ports, with its data in a temporary directory.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tempfile::TempDir;

use crate::jars::kafka_jars;
use crate::late::heard_late;
use crate::process::Process;
use crate::{Broker, eventually, free_port};

/// Any cluster id in KRaft's form: base64 of 16 bytes.
const CLUSTER_ID: &str = "b3V0aG9vay10ZXN0cy0wMQ";

/// User with all permissions on a broker with an authorizer; also its password.
const ADMIN: &str = "admin";
/// Start of a JAAS setting for SASL/PLAIN, for clients and brokers.
const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

/// A cluster of one or more brokers. Each broker is also a controller.
pub struct Cluster {
    jars: PathBuf,
    nodes: Vec<Node>,
    /// The last field, so it is removed after the brokers have ended.
    directory: TempDir,
}

struct Node {
    port: u16,
    properties: PathBuf,
    process: Option<Process>,
}

impl Cluster {
    /// Starts brokers and waits until all of them are in the cluster. One broker takes about 7 s on 2 cores.
    ///
    /// # Errors
    /// Java, Maven or the jars are missing, or Kafka does not start. The text contains its output.
    pub fn start(brokers: usize) -> Result<Cluster, String> {
        Self::start_with(brokers, |_| String::new())
    }

    /// Starts one broker that writes the marker of a transaction only some time after it has acknowledged the commit.
    ///
    /// # Errors
    /// The same as [`Cluster::start`].
    pub fn with_late_markers(late: Range<Duration>) -> Result<Cluster, String> {
        // Brokers send markers over the inter-broker listener, which carries nothing else in this cluster.
        let own = free_port();
        let advertised = heard_late(own, late);
        Self::start_with(1, |port| {
            format!(
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BROKERS:PLAINTEXT
inter.broker.listener.name=BROKERS
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{{controller}},BROKERS://127.0.0.1:{own}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},BROKERS://127.0.0.1:{advertised}
"
            )
        })
    }

    /// Starts one broker with an authorizer. The harness's own clients need no ACLs. At the returned address, clients
    /// need a password, and ACLs for their requests. [`Cluster::acls`] adds ACLs.
    ///
    /// # Errors
    /// The same as [`Cluster::start`].
    pub fn with_authorizer((user, password): (&str, &str)) -> Result<(Cluster, String), String> {
        let clients = format!("127.0.0.1:{}", free_port());
        let cluster = Self::start_with(1, |port| {
            format!(
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:SASL_PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{{controller}},CLIENTS://{clients}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CLIENTS://{clients}
sasl.enabled.mechanisms=PLAIN
listener.name.clients.plain.sasl.jaas.config={PLAIN} user_{user}=\"{password}\" user_{ADMIN}=\"{ADMIN}\";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{ADMIN}
"
            )
        })?;
        Ok((cluster, clients))
    }

    /// Runs commands of `kafka-acls.sh` in a shell, as a user with permission to add and remove ACLs.
    ///
    /// # Panics
    /// A command fails.
    #[track_caller]
    pub fn acls(&self, commands: &str) {
        let tool = self.directory.path().join("kafka-acls.sh");
        let settings = self.directory.path().join("admin.properties");
        let java = java(&self.jars);
        let words = [java.get_program()].into_iter().chain(java.get_args()).map(|word| word.to_string_lossy());
        let java = words.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let text = format!("{java} org.apache.kafka.tools.AclCommand --command-config {} \"$@\"\n", settings.display());
        let login = format!("{PLAIN} username=\"{ADMIN}\" password=\"{ADMIN}\";");
        let login = format!("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={login}\n");
        fs::write(&settings, login).expect("the settings can be written");
        fs::write(&tool, text).expect("the tool can be written");
        let script = format!(
            "kafka_acls() {{ sh {} \"$@\"; }}\n{}",
            tool.display(),
            commands.replace(" --command-config admin.properties", "").replace("kafka-acls.sh", "kafka_acls")
        );
        let ended = Command::new("sh").args(["-e", "-c", &script]).output().expect("every Unix has sh");
        let said = [ended.stdout, ended.stderr].concat();
        assert!(ended.status.success(), "{commands}\n{}", String::from_utf8_lossy(&said));
    }

    /// `further` returns additional properties of a node by its port. Later lines replace earlier ones.
    fn start_with(brokers: usize, further: impl Fn(u16) -> String) -> Result<Cluster, String> {
        let jars = kafka_jars()?;
        let directory = tempfile::Builder::new()
            .prefix("outhook-kafka-")
            .tempdir()
            .map_err(|error| format!("can't create a temporary directory for Kafka's data: {error}"))?;
        let ports: Vec<_> = (0..brokers).map(|_| (free_port(), free_port())).collect();
        let voters: Vec<_> =
            ports.iter().zip(1..).map(|((_, controller), id)| format!("{id}@127.0.0.1:{controller}")).collect();
        let mut nodes = Vec::new();
        for (&(port, controller), id) in ports.iter().zip(1..) {
            let data = directory.path().join(id.to_string());
            let properties = directory.path().join(format!("{id}.properties"));
            let further = further(port).replace("{controller}", &controller.to_string());
            let text = properties_of_node(id, port, controller, &voters.join(","), &data) + &further;
            fs::write(&properties, text).map_err(|error| format!("can't write {}: {error}", properties.display()))?;
            nodes.push(Node { port, properties, process: None });
        }
        let mut cluster = Cluster { jars, nodes, directory };
        for node in 0..brokers {
            cluster.format(node)?;
            cluster.launch(node);
        }
        cluster.await_brokers(brokers)?;
        Ok(cluster)
    }

    /// The addresses of all brokers, running or stopped.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        addresses.join(",")
    }

    /// A [`Broker`] for this cluster.
    pub fn broker(&self) -> Broker {
        Broker::at(self.bootstrap(), self.nodes.len() as i32)
    }

    /// A [`Broker`] for a [`Site`](crate::Site), which borrows it for the lifetime of the test process.
    pub fn site_broker(&self) -> &'static Broker {
        Box::leak(Box::new(self.broker()))
    }

    /// The first log segment of a partition on a broker.
    pub fn log_file(&self, node: usize, topic: &str, partition: i32) -> PathBuf {
        let folder = self.directory.path().join((node + 1).to_string());
        folder.join(format!("{topic}-{partition}")).join("00000000000000000000.log")
    }

    /// Stops a broker with SIGTERM (it hands its partitions over) or SIGKILL.
    pub fn stop(&mut self, node: usize, signal: &str) {
        let process = self.nodes[node].process.take().expect("only a running broker is stopped");
        process.signal(signal);
        process.wait(Duration::from_secs(60));
    }

    /// Sends a signal to a running broker. After `STOP` it accepts connections but answers nothing until `CONT`.
    pub fn signal(&self, node: usize, signal: &str) {
        self.nodes[node].process.as_ref().expect("only a running broker is sent a signal").signal(signal);
    }

    /// Starts a stopped broker again with its data, and waits until all started brokers are in the cluster.
    ///
    /// # Errors
    /// The broker does not start. The text contains its output.
    pub fn restart(&mut self, node: usize) -> Result<(), String> {
        self.launch(node);
        self.await_brokers(self.nodes.iter().filter(|node| node.process.is_some()).count())
    }

    /// Starts all stopped brokers at the same time: no broker joins the cluster until a majority of the controllers
    /// runs.
    ///
    /// # Errors
    /// The same as [`Cluster::restart`].
    pub fn restart_all(&mut self) -> Result<(), String> {
        (0..self.nodes.len()).for_each(|node| {
            if self.nodes[node].process.is_none() {
                self.launch(node);
            }
        });
        self.await_brokers(self.nodes.len())
    }

    fn format(&self, node: usize) -> Result<(), String> {
        let output = java(&self.jars)
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(&self.nodes[node].properties)
            .output()
            .map_err(|error| format!("can't start java: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("can't format Kafka's storage:\n{}", String::from_utf8_lossy(&output.stderr)))
    }

    fn launch(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let mut command = java(&self.jars);
        command.arg("kafka.Kafka").arg(&node.properties);
        node.process = Some(Process::spawn(&mut command, self.directory.path()));
    }

    fn await_brokers(&mut self, count: usize) -> Result<(), String> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .create()
            .map_err(|error| format!("can't create a Kafka client: {error}"))?;
        eventually("Kafka is running", Duration::from_secs(120), || {
            for node in &mut self.nodes {
                if let Some(process) = &mut node.process
                    && !process.is_running()
                {
                    return Some(Err(format!("Kafka ended immediately:\n{}{}", process.stdout(), process.stderr())));
                }
            }
            let metadata = client.fetch_metadata(None, Duration::from_secs(2)).ok()?;
            (metadata.brokers().len() == count).then_some(Ok(()))
        })
    }
}

/// Java with options for a fast start and low memory: tests write thousands of records, not millions.
fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"]);
    command.arg(jars.join("*"));
    command
}

/// Members of groups with the protocol "consumer" expire after 6 s, the same as the tests set for "classic".
fn properties_of_node(id: usize, port: u16, controller: u16, voters: &str, data: &Path) -> String {
    let brokers = voters.split(',').count();
    let replicas = brokers.min(3);
    let in_sync = if replicas == 3 { 2 } else { 1 };
    format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=2000
group.consumer.heartbeat.interval.ms=2000
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
",
        data = data.display()
    )
}
