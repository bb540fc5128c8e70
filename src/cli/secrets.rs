//! `outhook secrets`: manages the encryption of secrets in the definitions topic.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::config::Config;
use crate::definition::{LogRecord, PendingDefinitions};
use crate::store::{self, WriteError};

/// Manages the encryption of secrets in the definitions topic.
#[derive(Debug, clap::Subcommand)]
pub enum Secrets {
    /// Writes all records with secrets again, sealed with the first key of definitions.secret_keys.
    ///
    /// To change the key: add the new key before the others on all instances, run this command, then remove the old
    /// keys.
    Reseal,
}

/// Why secrets were not sealed again.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error(transparent)]
    Write(#[from] WriteError<Infallible>),
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

/// # Errors
/// The definitions can't be read or written.
pub async fn run(command: Secrets, config: &Config) -> Result<ExitCode, SecretsError> {
    let Secrets::Reseal = command;
    let reseal = |draft: &PendingDefinitions<'_>| {
        let definitions = draft.committed();
        let webhooks = definitions.webhooks().map(LogRecord::webhook);
        let records: Vec<LogRecord> = webhooks.chain(definitions.token_key().map(LogRecord::token_key)).collect();
        let written = records.len();
        Ok::<_, Infallible>((records, written))
    };
    let kafka = config.kafka.client();
    let write = store::write(&config.definitions, &kafka, reseal);
    let written = crate::cli::wait_notice::with_write_notice(&config.kafka.brokers, write).await?;
    let how = if config.definitions.secret_keys.is_empty() {
        "not sealed, because definitions.secret_keys has no key"
    } else {
        "sealed with the first key"
    };
    io::stdout().write_all(format!("{written} records written, their secrets {how}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
