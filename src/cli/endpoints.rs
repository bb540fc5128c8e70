//! `outhook endpoints`: lists endpoints with their state and waiting calls, and orders retries now.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::text::{WRITE_EXPECT, or_none, printable, table, url_origin};
use super::{CommandFailure, print};
use crate::api::EndpointState;
use crate::config::Config;
use crate::dead_letters::UrlPrefix;
use crate::deliver::line_of;
use crate::endpoints::{EndpointStatus, GroupStatus, RetryOrder};
use crate::id::{AccountId, Line, WebhookId};
use crate::rules::Target;
use crate::{stats, store};

/// Shows which endpoints work, which fail and how many calls wait, and retries waiting calls now.
///
/// Every instance reports the state of its endpoints to stats.topic every 5 seconds. These commands read the reports.
#[derive(Debug, clap::Subcommand)]
pub enum Endpoints {
    /// Lists the endpoints of webhooks with their state over the whole group, failing endpoints first.
    List(EndpointListArgs),
    /// Sends waiting calls now, without waiting for the next probe of their endpoint or for their next attempts.
    #[command(name = "retry-now")]
    RetryNow(RetryArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outhook endpoints list --failing
  outhook endpoints list --webhook 3f0zq9 --json | jq .Waiting

Webhooks that send to the same URL share an endpoint, unless one of them has its
own CallThrottling, timeout, authentication or row order.

WAITING counts calls in the overflow log and in retry topics. --json shows the
count of each. In a partition of a retry topic, only the first 10000 waiting
calls are counted.")]
pub struct EndpointListArgs {
    #[command(flatten)]
    selector: EndpointSelectorArgs,
    /// Only endpoints that fail now.
    #[arg(long)]
    failing: bool,
    /// Prints one JSON object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true).args(["all", "account", "webhook", "endpoint"])))]
#[command(after_help = "\
Examples:
  outhook endpoints retry-now --endpoint https://crm.example.com
  outhook endpoints retry-now --all

If the breaker of an endpoint is open, each instance makes one attempt of one
call, as with any probe. The other calls keep waiting. When the endpoint
answers, all its waiting calls are sent.

An early attempt is not counted in the retry schedule, so this command never
dead-letters a call sooner.

After a failure of 10 seconds or more, this command is not needed: when the
endpoint works again, calls that failed meanwhile are sent immediately.")]
pub struct RetryArgs {
    #[command(flatten)]
    selector: EndpointSelectorArgs,
    /// All endpoints of all webhooks.
    #[arg(long, conflicts_with_all = ["account", "webhook", "endpoint"])]
    all: bool,
}

/// Options that select endpoints. All of them must match.
#[derive(Debug, clap::Args)]
pub struct EndpointSelectorArgs {
    /// Only endpoints of this account's webhooks.
    #[arg(long)]
    account: Option<AccountId>,
    /// Only endpoints of this webhook.
    #[arg(long, value_name = "ID")]
    webhook: Option<WebhookId>,
    /// Only this endpoint: scheme, host and port, and optionally the beginning of the path.
    #[arg(long, value_name = "URL")]
    endpoint: Option<UrlPrefix>,
}

/// No endpoint matches the options.
#[derive(Debug, thiserror::Error)]
#[error("no webhook has an endpoint that matches: {0}")]
struct NoEndpoint(String);

impl fmt::Display for EndpointSelectorArgs {
    /// Writes the options as on a command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, webhook, endpoint } = self;
        let account = account.as_ref().map(|account| format!("--account {}", account.as_str()));
        let webhook = webhook.map(|webhook| format!("--webhook {webhook}"));
        // The part of a URL behind the host may be secret.
        let endpoint = endpoint.as_ref().map(|_| "--endpoint as given".to_owned());
        let given: Vec<_> = [account, webhook, endpoint].into_iter().flatten().collect();
        f.write_str(if given.is_empty() { "--all" } else { "" })?;
        f.write_str(&given.join(" "))
    }
}

/// URL of a webhook.
struct EndpointUrl {
    account: AccountId,
    webhook: WebhookId,
    origin: String,
    line: Line,
}

/// JSON form of an endpoint.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EndpointJson<'a> {
    /// Scheme, host and port: the rest of a URL may be secret.
    endpoint: &'a str,
    account_id: &'a str,
    webhook_id: &'a str,
    #[serde(flatten)]
    state: EndpointState,
}

/// # Errors
/// The definitions or the reports can't be read, no endpoint matches, or the order can't be written.
pub(super) async fn run(command: Endpoints, config: &Config) -> Result<ExitCode, CommandFailure> {
    match command {
        Endpoints::List(args) => list(&args, config).await,
        Endpoints::RetryNow(args) => order_retry(&args, config).await,
    }
}

async fn list(args: &EndpointListArgs, config: &Config) -> Result<ExitCode, CommandFailure> {
    let urls = urls(&args.selector, config).await?;
    let now_ms = Timestamp::now().as_millisecond();
    let group = stats::read_endpoints(&config.stats, &config.kafka.client(), now_ms).await?;
    let mut found: Vec<_> = urls.iter().map(|url| (url, group.status(url.line, now_ms))).collect();
    found.retain(|(_, status)| !args.failing || status.failing_on > 0);
    found.sort_by_key(|(_, status)| std::cmp::Reverse((status.failing_on > 0, status.waiting_calls())));
    if args.json {
        return print(&found.into_iter().map(json_line).collect::<String>());
    }
    print(&text(&found, &group, now_ms))
}

fn json_line((url, status): (&EndpointUrl, EndpointStatus)) -> String {
    let EndpointUrl { account, webhook, origin: shown, .. } = url;
    let state = EndpointState::of(status, time);
    let json = EndpointJson { endpoint: shown, account_id: account.as_str(), webhook_id: webhook.as_str(), state };
    serde_json::to_string(&json).expect("an endpoint has only texts and numbers") + "\n"
}

async fn order_retry(args: &RetryArgs, config: &Config) -> Result<ExitCode, CommandFailure> {
    let mut lines: Vec<_> = urls(&args.selector, config).await?.iter().map(|url| url.line).collect();
    lines.sort_unstable();
    lines.dedup();
    if lines.is_empty() {
        return Err(CommandFailure::of(&NoEndpoint(args.selector.to_string()))
            .with_help("list the endpoints with `outhook endpoints list`"));
    }
    let (kafka, now_ms) = (config.kafka.client(), Timestamp::now().as_millisecond());
    let group = stats::read_endpoints(&config.stats, &kafka, now_ms).await?;
    let waiting: usize = lines.iter().map(|line| group.status(*line, now_ms).waiting_calls()).sum();
    let orders: Vec<_> = lines.iter().map(|line| RetryOrder::for_all_calls(*line, now_ms)).collect();
    stats::write_retry_orders(&config.stats, &kafka, &orders).await?;
    print(&format!(
        "{} {} tried now; {waiting} {} waiting\n",
        lines.len(),
        if lines.len() == 1 { "endpoint is" } else { "endpoints are" },
        if waiting == 1 { "call is" } else { "calls are" },
    ))
}

/// URLs that match, in the order of their webhooks.
async fn urls(which: &EndpointSelectorArgs, config: &Config) -> Result<Vec<EndpointUrl>, CommandFailure> {
    let definitions = store::read(&config.definitions, &config.kafka.client()).await?;
    let mut urls = Vec::new();
    for webhook in definitions.webhooks() {
        let is_meant = which.account.as_ref().is_none_or(|account| *account == webhook.account)
            && which.webhook.is_none_or(|id| id == webhook.id);
        // A webhook whose target can't be compiled has no calls.
        let Some(target) = is_meant.then(|| Target::of(webhook).ok()).flatten() else { continue };
        for (position, to) in target.endpoints.iter().enumerate() {
            if which.endpoint.as_ref().is_none_or(|prefix| prefix.is_prefix_of(&to.url)) {
                let shown = url_origin(&to.url).unwrap_or(&to.url).to_owned();
                let (account, line) = (webhook.account.clone(), line_of(&target, position));
                urls.push(EndpointUrl { account, webhook: webhook.id, origin: shown, line });
            }
        }
    }
    Ok(urls)
}

const TABLE_HEADER: [&str; 8] = ["STATE", "SINCE", "ENDPOINT", "WEBHOOK", "UNDER WAY", "QUEUED", "WAITING", "CAUSE"];

fn text(found: &[(&EndpointUrl, EndpointStatus)], group: &GroupStatus, now_ms: i64) -> String {
    if found.is_empty() {
        return "no endpoints\n".to_owned();
    }
    let row = |(url, status): &(&EndpointUrl, EndpointStatus)| {
        vec![
            status.state().to_owned(),
            or_none(status.fails_since_ms.and_then(time)),
            url.origin.clone(),
            url.webhook.to_string(),
            format!("{} of {}", status.under_way, status.concurrency),
            status.queued.to_string(),
            status.waiting_calls().to_string(),
            or_none(status.cause.as_ref().map(|(_, text)| printable(text))),
        ]
    };
    let mut text = table(&TABLE_HEADER, &found.iter().map(row).collect::<Vec<_>>());
    let omitted = group.omitted_endpoints(now_ms);
    if omitted > 0 {
        writeln!(text, "the instances' reports omit {omitted} endpoints with fewer calls").expect(WRITE_EXPECT);
    }
    text
}

fn time(ms: i64) -> Option<String> {
    Some(Timestamp::from_second(ms.div_euclid(1000)).ok()?.to_string())
}
