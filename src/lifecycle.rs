//! When an instance is ready, and when it is asked to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Whether all conditions hold that were registered. Cheap to clone; every clone sees the same.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<Arc<ConditionState>>>>,
}

#[derive(Debug)]
struct ConditionState {
    name: String,
    holds: AtomicBool,
}

/// One thing that has to be so before an instance is ready. It does not hold until it is set.
#[derive(Clone)]
pub struct Condition(Arc<ConditionState>);

impl Readiness {
    /// Adds a condition; `name` says what holds, such as `definitions caught up`.
    pub fn condition(&self, name: &'static str) -> Condition {
        Condition(self.add(name.to_owned()))
    }

    /// Adds a condition that is there only while it does not hold: until the returned value is dropped.
    pub fn lacks(&self, name: String) -> UnmetCondition {
        UnmetCondition { readiness: self.clone(), named: self.add(name) }
    }

    /// The names of conditions that do not hold; none means ready.
    pub fn missing(&self) -> Vec<String> {
        let conditions = self.lock();
        let missing = conditions.iter().filter(|named| !named.holds.load(Ordering::Acquire));
        missing.map(|named| named.name.clone()).collect()
    }

    fn add(&self, name: String) -> Arc<ConditionState> {
        let named = Arc::new(ConditionState { name, holds: AtomicBool::new(false) });
        self.lock().push(named.clone());
        named
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ConditionState>>> {
        // Each change of the list is one call: it is whole whatever panicked beside it.
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition that does not hold at present.
#[derive(Debug)]
pub struct UnmetCondition {
    readiness: Readiness,
    named: Arc<ConditionState>,
}

impl Drop for UnmetCondition {
    fn drop(&mut self) {
        self.readiness.lock().retain(|named| !Arc::ptr_eq(named, &self.named));
    }
}

impl Condition {
    pub fn set(&self, holds: bool) {
        self.0.holds.store(holds, Ordering::Release);
    }
}

/// Asks everybody who watches to stop. Dropping it asks as well.
#[derive(Default)]
pub struct Stop(watch::Sender<bool>);

/// Sees when stopping is asked for.
#[derive(Clone)]
pub struct Stopping(watch::Receiver<bool>);

/// A stop and what watches it.
pub fn stop() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Stopping(receiver))
}

impl Stop {
    pub fn now(&self) {
        self.0.send_replace(true);
    }

    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once nobody is left who watches.
    pub async fn obeyed(&self) {
        self.0.closed().await;
    }

    /// Returns once stopping has been asked for, to those who share the stop itself.
    pub async fn asked(&self) {
        Stopping(self.0.subscribe()).asked().await;
    }
}

impl Stopping {
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once stopping has been asked for.
    pub async fn asked(&mut self) {
        // An error says that the sender is gone, and nobody is left who could want us to go on.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Ends the process when any of its threads or tasks panics. One part that is dead would leave the others with
/// work that never settles, behind a health check that is fine; a process that is gone is started again, and as
/// after any kill nothing is lost.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        tracing::error!("a part of the program has panicked, so all of it ends: {panic}");
        std::process::abort();
    }));
}

/// SIGTERM, SIGINT and SIGHUP, each of which asks for the same: a terminal that is closed is no reason to leave work open.
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals over from their default, which is to end the process. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// The operating system refuses the handlers.
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

/// Raises the limit of files that the process may have open as far as that may be without more rights. Returns the limit;
/// None where there is none.
#[cfg(unix)]
pub fn raise_open_files() -> Option<usize> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
        // Some systems allow less than they say: then it stays as it is.
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    usize::try_from(limit.current?).ok()
}

/// The same where files are not limited so.
#[cfg(not(unix))]
pub fn raise_open_files() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_condition_holds() {
        let readiness = Readiness::default();
        let definitions = readiness.condition("definitions caught up");
        let partitions = readiness.condition("partitions assigned");
        assert_eq!(readiness.missing(), ["definitions caught up", "partitions assigned"]);
        definitions.set(true);
        assert_eq!(readiness.clone().missing(), ["partitions assigned"]);
        partitions.set(true);
        assert!(readiness.missing().is_empty());
        partitions.set(false);
        assert_eq!(readiness.missing(), ["partitions assigned"]);
    }

    #[test]
    fn what_is_lacking_is_named_as_long_as_it_is() {
        let readiness = Readiness::default();
        let lack = readiness.lacks("records readable at orders/3 offset 42".to_owned());
        assert_eq!(readiness.missing(), ["records readable at orders/3 offset 42"]);
        drop(lack);
        assert!(readiness.missing().is_empty());
    }

    #[tokio::test]
    async fn everybody_sees_a_stop_even_who_comes_late() {
        let (stop, mut stopping) = stop();
        let mut late = stopping.clone();
        stop.now();
        stopping.asked().await;
        late.asked().await;
        drop(stop);
        late.clone().asked().await;
    }
}
