//! Readiness of an instance, and the signals that stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Readiness: whether all registered conditions hold. Cheap to clone; all clones share the same state.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<Arc<ConditionState>>>>,
}

#[derive(Debug)]
struct ConditionState {
    name: String,
    is_met: AtomicBool,
}

/// A condition of readiness. It does not hold until it is set.
#[derive(Clone)]
pub struct Condition(Arc<ConditionState>);

impl Readiness {
    /// Adds a condition. `name` describes the state in which it holds, such as `definitions caught up`.
    pub fn condition(&self, name: &'static str) -> Condition {
        Condition(self.add(name.to_owned()))
    }

    /// Adds an unmet condition. It is removed when the returned value is dropped.
    pub fn add_unmet(&self, name: String) -> UnmetCondition {
        UnmetCondition { readiness: self.clone(), state: self.add(name) }
    }

    /// The names of conditions that do not hold. The instance is ready if there are none.
    pub fn unmet_conditions(&self) -> Vec<String> {
        let conditions = self.lock();
        let missing = conditions.iter().filter(|named| !named.is_met.load(Ordering::Acquire));
        missing.map(|named| named.name.clone()).collect()
    }

    fn add(&self, name: String) -> Arc<ConditionState> {
        let named = Arc::new(ConditionState { name, is_met: AtomicBool::new(false) });
        self.lock().push(named.clone());
        named
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Vec<Arc<ConditionState>>> {
        // Each change of the list is one call, so the list is consistent even if another thread panicked.
        self.conditions.lock()
    }
}

/// A condition that does not hold while this value exists.
#[derive(Debug)]
pub struct UnmetCondition {
    readiness: Readiness,
    state: Arc<ConditionState>,
}

impl Drop for UnmetCondition {
    fn drop(&mut self) {
        self.readiness.lock().retain(|named| !Arc::ptr_eq(named, &self.state));
    }
}

impl Condition {
    pub fn set(&self, holds: bool) {
        self.0.is_met.store(holds, Ordering::Release);
    }
}

/// Aborts the process when any of its threads or tasks panics. Otherwise the remaining parts would have work that
/// never settles, while the health check passes. An aborted process is restarted, and as after any kill nothing is
/// lost.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        tracing::error!("a part of the program has panicked, so the process aborts: {panic}");
        std::process::abort();
    }));
}

/// Receiver of SIGTERM, SIGINT and SIGHUP. All of them request the same stop: a closed terminal should not leave work
/// unsettled.
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    /// Replaces the default action of the signals, which ends the process. Must be called within a tokio runtime.
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

/// Raises the process's limit of open files as far as possible without more privileges. Returns the limit, or None if
/// there is no limit.
#[cfg(unix)]
pub fn raise_open_files() -> Option<usize> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
        // Some systems allow less than they report. Then the limit stays unchanged.
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    usize::try_from(limit.current?).ok()
}

/// Does nothing on systems without this limit.
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
        assert_eq!(readiness.unmet_conditions(), ["definitions caught up", "partitions assigned"]);
        definitions.set(true);
        assert_eq!(readiness.clone().unmet_conditions(), ["partitions assigned"]);
        partitions.set(true);
        assert!(readiness.unmet_conditions().is_empty());
        partitions.set(false);
        assert_eq!(readiness.unmet_conditions(), ["partitions assigned"]);
    }

    #[test]
    fn lack_is_listed_until_it_is_dropped() {
        let readiness = Readiness::default();
        let lack = readiness.add_unmet("records readable at orders/3 offset 42".to_owned());
        assert_eq!(readiness.unmet_conditions(), ["records readable at orders/3 offset 42"]);
        drop(lack);
        assert!(readiness.unmet_conditions().is_empty());
    }
}
