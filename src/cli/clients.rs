//! `outhook clients`: who may use the API.

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::config::Config;
use crate::definition::Draft;
use crate::definition::edit::{self, Problem, Terms};
use crate::id::{AccountId, ClientId};
use crate::store::{self, StoreError, WriteError};

/// Says who may use the API, and for which account.
#[derive(Debug, clap::Subcommand)]
pub enum Clients {
    /// Makes a client and prints its id and its secret, which is shown only now.
    Create {
        /// Who it is, for people: what it makes is stamped with this name.
        #[arg(long)]
        name: String,
        /// The account whose webhooks it sees. Without this option it is the one that all configured sources share.
        #[arg(long)]
        account: Option<String>,
        /// Answers lists as {"Result":[…]} with secrets, which some existing clients read.
        #[arg(long)]
        legacy: bool,
    },
    /// Prints all clients: id, account, kind, when it was made, name.
    List,
    /// Takes a client away; its tokens are worth nothing within a second.
    Revoke { id: ClientId },
}

/// Why a command about clients failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    #[error("the configured sources have several accounts: say with --account which one the client is for")]
    NoAccount,
    #[error("--{option} is {problem}")]
    Argument { option: &'static str, problem: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}; `outhook clients list` names those that there are")]
    Refused(Problem),
    #[error(transparent)]
    Write(WriteError<Problem>),
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

impl From<WriteError<Problem>> for ClientsError {
    fn from(error: WriteError<Problem>) -> Self {
        match error {
            WriteError::Refused(problem) => Self::Refused(problem),
            unwritten => Self::Write(unwritten),
        }
    }
}

/// # Errors
/// An argument can't be used, there is no such client, or the definitions can't be read or written.
pub async fn run(command: Clients, config: &Config) -> Result<ExitCode, ClientsError> {
    let kafka = config.kafka.client();
    let told = match command {
        Clients::Create { name, account, legacy } => {
            let account = account.map(AccountId::from).or_else(|| config.only_account());
            let account = account.ok_or(ClientsError::NoAccount)?;
            for (option, text) in [("name", name.as_str()), ("account", account.as_str())] {
                if text.trim().is_empty() || text.chars().count() > 255 {
                    return Err(ClientsError::Argument { option, problem: "empty, or longer than 255 characters" });
                }
            }
            let policy = config.policy();
            let made = store::write(&config.definitions, &kafka, move |draft: &Draft<'_>| {
                let stamp = super::stamp("outhook clients");
                let terms = Terms { account: &account, policy: &policy, stamp: &stamp, random: &super::random };
                Ok::<_, Problem>(edit::create_client(draft, &name, legacy, &terms))
            });
            let (client, secret) = made.await?;
            format!("account       {}\nclient_id     {}\nclient_secret {secret}\n", client.account, client.id)
        }
        Clients::List => {
            let definitions = store::read(&config.definitions, &kafka).await?;
            let line = |client: &crate::definition::Client| {
                let kind = if client.legacy { "legacy" } else { "normal" };
                format!("{}  {}  {kind}  {}  {}\n", client.id, client.account, client.created.at, client.name)
            };
            definitions.clients().map(line).collect()
        }
        Clients::Revoke { id } => {
            let client = store::write(&config.definitions, &kafka, move |draft| edit::revoke_client(draft, id)).await?;
            format!("revoked {} ({})\n", client.id, client.name)
        }
    };
    io::stdout().write_all(told.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
