//! `outhook clients`: creates, lists and revokes API clients.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::process::ExitCode;

use super::text::printable;
use crate::cli::wait_notice;
use crate::config::Config;
use crate::definition::PendingDefinitions;
use crate::definition::edit::{self, EditError, RequestContext};
use crate::id::{AccountId, ClientId};
use crate::store::{self, StoreError, WriteError};

/// Creates, lists and revokes API clients, each for one account.
#[derive(Debug, clap::Subcommand)]
pub enum Clients {
    /// Creates a client and prints its id and secret. The secret is shown only once.
    Create {
        /// Name of the client. It is recorded as the author of the client's changes.
        #[arg(long)]
        name: String,
        /// Account whose webhooks the client sees. Default: the account that all configured sources share.
        #[arg(long)]
        account: Option<String>,
        /// Returns lists as {"Result":[…]} with secrets, which some existing clients expect.
        #[arg(long)]
        legacy: bool,
    },
    /// Lists all clients: id, account, kind, time of creation, name.
    List,
    /// Revokes a client. Its tokens become invalid within a second.
    Revoke { id: ClientId },
}

/// Why a command about clients failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    #[error("the configured sources have several accounts: choose one for the client with --account")]
    NoAccount,
    #[error("--{option} is {problem}")]
    Argument { option: &'static str, problem: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}; `outhook clients list` shows the existing clients")]
    Refused(EditError),
    #[error(transparent)]
    Write(WriteError<EditError>),
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
    #[error("standard output is closed or /dev/null, so the client's secret would be lost: no client was created")]
    OutputDiscarded,
    #[error(
        "the client's secret can't be written to the output: {0}; the client was revoked, because its secret is lost"
    )]
    RevokedAfterOutputError(io::Error),
    #[error(
        "the secret of client {id} can't be written to the output: {output}; the client could not be revoked: \
         {reason}; revoke it with `outhook clients revoke {id}`"
    )]
    RevokeFailed { id: ClientId, output: io::Error, reason: WriteError<EditError> },
}

impl From<WriteError<EditError>> for ClientsError {
    fn from(error: WriteError<EditError>) -> Self {
        match error {
            WriteError::Refused(problem) => Self::Refused(problem),
            unwritten => Self::Write(unwritten),
        }
    }
}

/// # Errors
/// An argument is invalid, the client does not exist, or the definitions can't be read or written.
pub async fn run(command: Clients, config: &Config) -> Result<ExitCode, ClientsError> {
    let kafka = config.kafka.client();
    let output = match command {
        Clients::Create { name, account, legacy } => {
            create(name, account, legacy, config).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Clients::List => {
            let definitions = store::read(&config.definitions, &kafka).await?;
            let line = |client: &crate::definition::Client| {
                let kind = if client.legacy { "legacy" } else { "normal" };
                let (account, name) = (printable(client.account.as_str()), printable(&client.name));
                format!("{}  {account}  {kind}  {}  {name}\n", client.id, client.created.at)
            };
            definitions.clients().map(line).collect()
        }
        Clients::Revoke { id } => {
            let revoke = store::write(&config.definitions, &kafka, move |draft| edit::revoke_client(draft, id));
            let client = wait_notice::with_write_notice(&config.kafka.brokers, revoke).await?;
            format!("revoked {} ({})\n", client.id, printable(&client.name))
        }
    };
    io::stdout().write_all(output.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Creates a client and prints its secret. Revokes the client if the secret can't be printed.
async fn create(name: String, account: Option<String>, legacy: bool, config: &Config) -> Result<(), ClientsError> {
    let account = account.map(AccountId::from).or_else(|| config.only_account());
    let account = account.ok_or(ClientsError::NoAccount)?;
    for (option, text) in [("name", name.as_str()), ("account", account.as_str())] {
        if text.trim().is_empty() || text.chars().count() > 255 {
            return Err(ClientsError::Argument { option, problem: "empty, or longer than 255 characters" });
        }
    }
    if is_stdout_discarded() {
        return Err(ClientsError::OutputDiscarded);
    }
    let (kafka, policy) = (config.kafka.client(), config.policy());
    let made = store::write(&config.definitions, &kafka, move |draft: &PendingDefinitions<'_>| {
        let stamp = super::stamp("outhook clients");
        let terms = RequestContext {
            account: &account,
            policy: &policy,
            stamp: &stamp,
            seen_fields: &|_, _| None,
            random: &super::random,
        };
        Ok::<_, EditError>(edit::create_client(draft, &name, legacy, &terms))
    });
    let (client, secret) = wait_notice::with_write_notice(&config.kafka.brokers, made).await?;
    let account = printable(client.account.as_str());
    let credentials = format!("account       {account}\nclient_id     {}\nclient_secret {secret}\n", client.id);
    let mut stdout = io::stdout();
    let Err(output) = stdout.write_all(credentials.as_bytes()).and_then(|()| stdout.flush()) else { return Ok(()) };
    let id = client.id;
    match store::write(&config.definitions, &kafka, move |draft| edit::revoke_client(draft, id)).await {
        Ok(_) => Err(ClientsError::RevokedAfterOutputError(output)),
        Err(reason) => Err(ClientsError::RevokeFailed { id, output, reason }),
    }
}

/// Whether standard output is the null device, which a program also finds in place of a closed output.
fn is_stdout_discarded() -> bool {
    let device = |path| fs::metadata(path).ok().filter(|found| found.file_type().is_char_device());
    matches!((device("/dev/fd/1"), device("/dev/null")), (Some(out), Some(null)) if out.rdev() == null.rdev())
}
