//! `outhook get`: prints the definitions as YAML that `apply` accepts.

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::definition::yaml::DefinitionFile;
use crate::id::AccountId;
use crate::store::{self, StoreError};

/// Prints the definitions as YAML that `apply` accepts.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prints only the webhooks and tables of this account.
    #[arg(long)]
    account: Option<String>,
    /// Prints the webhooks' secrets too.
    #[arg(long)]
    show_secrets: bool,
}

/// Why the definitions were not printed.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

/// # Errors
/// The definitions can't be read, or their text can't be written to standard output.
pub async fn run(args: Args, config: &store::Config, kafka: &HashMap<String, String>) -> Result<ExitCode, GetError> {
    let definitions = store::read(config, kafka).await?;
    let account = args.account.as_deref().map(AccountId::from);
    let file = DefinitionFile::of(&definitions, account.as_ref(), args.show_secrets);
    io::stdout().write_all(file.to_yaml().as_bytes())?;
    for event in definitions.orphans() {
        eprintln!("event {} belongs to webhook {}, which does not exist", event.id, event.webhook);
    }
    Ok(ExitCode::SUCCESS)
}
