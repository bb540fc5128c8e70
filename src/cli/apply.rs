//! `outhook apply`: changes the definitions to those of a YAML file.

mod diff;

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use self::diff::Diff;
use crate::catalogue::Catalogue;
use crate::cli::wait_notice;
use crate::config::Config;
use crate::definition::plan::{ApplyContext, Change, Plan, Problems, plan};
use crate::definition::rules::Policy;
use crate::definition::yaml::{DefinitionFile, InvalidFile};
use crate::definition::{Definitions, PendingDefinitions};
use crate::id::AccountId;
use crate::stats;
use crate::store::{self, StoreError, WriteError};

/// Applies webhooks, events and tables from a YAML file, and shows what changes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// YAML file with the definitions; - reads standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Changes nothing, and only shows what would change.
    #[arg(long)]
    dry_run: bool,
    /// Also deletes webhooks, events and tables that the file does not name, in the accounts that it names.
    #[arg(long)]
    prune: bool,
    /// Account of webhooks and tables that name none. Default: the account that all configured sources share.
    #[arg(long)]
    account: Option<String>,
    /// Name to record as the author of the change.
    #[arg(long, value_name = "NAME", default_value = "outhook apply")]
    by: String,
}

/// Why a file was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{} can't be read: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a file of definitions: {source}", .path.display())]
    File { path: PathBuf, source: InvalidFile },
    #[error("{} is not applied:\n{problems}", .path.display())]
    Refused { path: PathBuf, problems: Problems },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(WriteError<Problems>),
    #[error(
        "the definitions are applied, but the output with the changes can't be written: {0}; `outhook get \
         --show-secrets` shows the definitions with the new secrets"
    )]
    ChangesNotPrinted(io::Error),
    #[error("the output can't be written: {0}")]
    Output(io::Error),
}

/// # Errors
/// The file can't be read or breaks a rule, or the definitions can't be read or written.
pub async fn run(args: Args, config: &Config) -> Result<ExitCode, ApplyError> {
    let path = args.file.clone();
    let text = super::read_text(&path).map_err(|source| ApplyError::Read { path: path.clone(), source })?;
    let file = DefinitionFile::parse(&text).map_err(|source| ApplyError::File { path: path.clone(), source })?;
    let (dry_run, prune) = (args.dry_run, args.prune);
    let account = args.account.as_deref().map(AccountId::from).or_else(|| config.only_account());
    let request = Arc::new(ApplyRequest { file, args, account, policy: config.policy() });
    let kafka = config.kafka.client();
    let mut plan = apply_file(&request, Catalogue::default(), config, &kafka).await;
    if let Err(WriteError::Refused(problems)) = &plan
        && problems.may_end_with_seen_fields()
    {
        // A field that the declaration does not name exists if the stream has shown it.
        match stats::catalogue(&config.stats, &kafka).await {
            Ok(catalogue) => plan = apply_file(&request, catalogue, config, &kafka).await,
            Err(error) => eprintln!(
                "warning: the fields that the stream has shown can't be read, so only declared ones are known: {error}"
            ),
        }
    }
    let plan = plan.map_err(|error| match error {
        WriteError::Refused(problems) => ApplyError::Refused { path, problems },
        error => ApplyError::Write(error),
    })?;
    let written = io::stdout().write_all(report(&plan, dry_run, prune, io::stdout().is_terminal()).as_bytes());
    written.map_err(if dry_run || plan.is_empty() { ApplyError::Output } else { ApplyError::ChangesNotPrinted })?;
    Ok(ExitCode::SUCCESS)
}

/// File to apply, with its options.
struct ApplyRequest {
    file: DefinitionFile,
    args: Args,
    account: Option<AccountId>,
    policy: Policy,
}

/// Applies the file, or only plans the changes.
async fn apply_file(
    request: &Arc<ApplyRequest>,
    seen: Catalogue,
    config: &Config,
    kafka: &HashMap<String, String>,
) -> Result<Plan, WriteError<Problems>> {
    let request = request.clone();
    let (dry_run, brokers, config) = (request.args.dry_run, &config.kafka.brokers, &config.definitions);
    let make = move |definitions: &Definitions| request.plan(definitions, &seen);
    if dry_run {
        return make(&store::read(config, kafka).await?).map_err(WriteError::Refused);
    }
    let decide = move |draft: &PendingDefinitions<'_>| make(draft.committed()).map(|plan| (plan.records(), plan));
    wait_notice::with_write_notice(brokers, store::write(config, kafka, decide)).await
}

impl ApplyRequest {
    fn plan(&self, definitions: &Definitions, seen: &Catalogue) -> Result<Plan, Problems> {
        let terms = ApplyContext {
            account: self.account.as_ref(),
            prune: self.args.prune,
            policy: &self.policy,
            seen_fields: &|account, table| seen.names(account.as_str(), table),
            stamp: &super::stamp(&self.args.by),
            read_secret: &super::read_secret,
            random: &super::random,
        };
        plan(definitions, &self.file, &terms)
    }
}

/// Text of the changes, with the new secrets, which are shown nowhere else.
fn report(plan: &Plan, dry_run: bool, prune: bool, colour: bool) -> String {
    let mut report = if plan.is_empty() { "nothing to change\n".to_owned() } else { Diff { plan, colour }.to_string() };
    if plan.unnamed_count > 0 {
        let more =
            if prune { "the file names none of their kind, so --prune keeps them" } else { "--prune deletes them" };
        report += &format!("unchanged, because the file does not name them: {} ({more})\n", plan.unnamed_count);
    }
    if plan.is_empty() {
        return report;
    }
    let counts = ChangeCounts::of(plan);
    let ChangeCounts { created, changed, deleted } = counts;
    if dry_run {
        return report + &format!("would be applied: {created} created, {changed} changed, {deleted} deleted\n");
    }
    report += &format!("applied: {created} created, {changed} changed, {deleted} deleted\n");
    for made in plan.webhooks.iter().filter(|webhook| webhook.secret_generated) {
        if let Change::Create(webhook) = &made.webhook {
            report += &format!("secret of webhook {:?}: {}\n", webhook.name, webhook.secret.expose());
        }
    }
    report
}

#[derive(Default)]
struct ChangeCounts {
    created: usize,
    changed: usize,
    deleted: usize,
}

impl ChangeCounts {
    fn of(plan: &Plan) -> Self {
        let mut counts = Self::default();
        plan.tables.iter().for_each(|table| counts.add(table));
        for webhook in &plan.webhooks {
            counts.add(&webhook.webhook);
            webhook.events.iter().for_each(|event| counts.add(event));
        }
        counts
    }

    fn add<T>(&mut self, change: &Change<T>) {
        match change {
            Change::Keep(_) => {}
            Change::Create(_) => self.created += 1,
            Change::Update { .. } => self.changed += 1,
            Change::Delete(_) => self.deleted += 1,
        }
    }
}

#[cfg(test)]
mod tests;
