//! `outhook endpoints`: which work, which fail, and what waits for them; and the order to try them now.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::text::{WRITES, endpoint, or_none, printable, table};
use super::{CommandFailure, print};
use crate::config::Config;
use crate::dead_letters::UrlPrefix;
use crate::deliver::line_of;
use crate::endpoints::{EndpointStatus, Group, RetryOrder};
use crate::id::{AccountId, Line, WebhookId};
use crate::rules::Target;
use crate::{stats, store};

/// Says which endpoints work, which fail, and what waits for them, and has them tried now.
///
/// Every instance reports how its endpoints stand to stats.topic every 5 seconds; these commands read the reports there.
#[derive(Debug, clap::Subcommand)]
pub enum Endpoints {
    /// Prints how the endpoints of all webhooks stand over the whole group: those that fail first.
    List(EndpointListArgs),
    /// Sends the calls that wait for an endpoint now, without waiting for its next probe or for their next attempts.
    #[command(name = "retry-now")]
    RetryNow(RetryArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outhook endpoints list --failing
  outhook endpoints list --webhook 3f0zq9 --json | jq .Waiting

Webhooks that send to the same URL share an endpoint, unless one has a CallThrottling, a timeout, an authentication or a
row order of its own. Waiting are calls in the overflow log and in retry topics, of which --json tells each. Of what waits
in a partition of a retry topic the first 10000 are counted.")]
pub struct EndpointListArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Only those that fail now.
    #[arg(long)]
    failing: bool,
    /// Prints a JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true).args(["all", "account", "webhook", "endpoint"])))]
#[command(after_help = "\
Examples:
  outhook endpoints retry-now --endpoint https://crm.example.com
  outhook endpoints retry-now --all

An endpoint whose breaker is open gets one attempt of one call from each instance, as with any probe, and the rest goes on
waiting. Once it answers, all that waits for it is sent. An attempt before its time is not counted as one of the call's
schedule, so an order makes no call end sooner.

An endpoint that failed for 10 seconds or more needs no order when it works again: what failed meanwhile is sent then, and
does not wait for its own next attempt.")]
pub struct RetryArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Those of all webhooks.
    #[arg(long, conflicts_with_all = ["account", "webhook", "endpoint"])]
    all: bool,
}

/// Which endpoints are meant: those that all of it is true of.
#[derive(Debug, clap::Args)]
pub struct WhichArgs {
    /// Only of this account's webhooks.
    #[arg(long)]
    account: Option<AccountId>,
    /// Only of this webhook.
    #[arg(long, value_name = "ID")]
    webhook: Option<WebhookId>,
    /// Only this endpoint: scheme, host and port, and as much of the path as is given.
    #[arg(long, value_name = "URL")]
    endpoint: Option<UrlPrefix>,
}

/// There is nothing to try.
#[derive(Debug, thiserror::Error)]
#[error("no webhook sends to such an endpoint: {0}")]
struct NoEndpoint(String);

impl fmt::Display for WhichArgs {
    /// As it is given on a command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, webhook, endpoint } = self;
        let account = account.as_ref().map(|account| format!("--account {}", account.as_str()));
        let webhook = webhook.map(|webhook| format!("--webhook {webhook}"));
        // What stands behind the host of a URL may be secret.
        let endpoint = endpoint.as_ref().map(|_| "--endpoint as given".to_owned());
        let given: Vec<_> = [account, webhook, endpoint].into_iter().flatten().collect();
        f.write_str(if given.is_empty() { "--all" } else { "" })?;
        f.write_str(&given.join(" "))
    }
}

/// One webhook's URL.
struct EndpointUrl {
    account: AccountId,
    webhook: WebhookId,
    shown: String,
    line: Line,
}

/// An endpoint as it is printed as JSON.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EndpointJson<'a> {
    /// Scheme, host and port: the rest of a URL may be secret.
    endpoint: &'a str,
    account_id: String,
    webhook_id: String,
    state: &'static str,
    /// RFC 3339.
    fails_since: Option<String>,
    class: Option<&'a str>,
    cause: Option<&'a str>,
    breaker: &'static str,
    instances: usize,
    concurrency: usize,
    under_way: usize,
    queued: usize,
    waiting: usize,
    /// The same by place: `overflow`, or the delay of a retry topic.
    waiting_in: &'a BTreeMap<String, usize>,
    oldest_waiting_since: Option<String>,
}

/// # Errors
/// The definitions or the reports can't be read, no endpoint is meant, or the order can't be written.
pub(super) async fn run(command: Endpoints, config: &Config) -> Result<ExitCode, CommandFailure> {
    match command {
        Endpoints::List(args) => list(&args, config).await,
        Endpoints::RetryNow(args) => retry_now(&args, config).await,
    }
}

async fn list(args: &EndpointListArgs, config: &Config) -> Result<ExitCode, CommandFailure> {
    let urls = urls(&args.which, config).await?;
    let now_ms = Timestamp::now().as_millisecond();
    let group = stats::endpoints(&config.stats, &config.kafka.client(), now_ms).await?;
    let mut found: Vec<_> = urls.iter().map(|url| (url, group.status(url.line, now_ms))).collect();
    found.retain(|(_, status)| !args.failing || status.failing_on > 0);
    found.sort_by_key(|(_, status)| std::cmp::Reverse((status.failing_on > 0, status.waiting_calls())));
    if args.json {
        let json = |(url, status): &(&EndpointUrl, EndpointStatus)| {
            serde_json::to_string(&EndpointJson::of(url, status)).expect("an endpoint has only texts and numbers")
                + "\n"
        };
        return print(&found.iter().map(json).collect::<String>());
    }
    print(&text(&found, &group, now_ms))
}

async fn retry_now(args: &RetryArgs, config: &Config) -> Result<ExitCode, CommandFailure> {
    let mut lines: Vec<_> = urls(&args.which, config).await?.iter().map(|url| url.line).collect();
    lines.sort_unstable();
    lines.dedup();
    if lines.is_empty() {
        return Err(CommandFailure::of(&NoEndpoint(args.which.to_string()))
            .help("`outhook endpoints list` names those that there are"));
    }
    let (kafka, now_ms) = (config.kafka.client(), Timestamp::now().as_millisecond());
    let group = stats::endpoints(&config.stats, &kafka, now_ms).await?;
    let waiting: usize = lines.iter().map(|line| group.status(*line, now_ms).waiting_calls()).sum();
    let orders: Vec<_> = lines.iter().map(|line| RetryOrder::of_all(*line, now_ms)).collect();
    stats::retry_now(&config.stats, &kafka, &orders).await?;
    print(&format!(
        "{} {} tried now; {waiting} {} waiting\n",
        lines.len(),
        if lines.len() == 1 { "endpoint is" } else { "endpoints are" },
        if waiting == 1 { "call is" } else { "calls are" },
    ))
}

/// The URLs of the webhooks that are meant, in the order of their webhooks.
async fn urls(which: &WhichArgs, config: &Config) -> Result<Vec<EndpointUrl>, CommandFailure> {
    let definitions = store::read(&config.definitions, &config.kafka.client()).await?;
    let mut urls = Vec::new();
    for webhook in definitions.webhooks() {
        let is_meant = which.account.as_ref().is_none_or(|account| *account == webhook.account)
            && which.webhook.is_none_or(|id| id == webhook.id);
        // One that can't be made ready has no calls.
        let Some(target) = is_meant.then(|| Target::of(webhook).ok()).flatten() else { continue };
        for (place, to) in target.endpoints.iter().enumerate() {
            if which.endpoint.as_ref().is_none_or(|prefix| prefix.begins(&to.url)) {
                let shown = endpoint(&to.url).unwrap_or(&to.url).to_owned();
                let (account, line) = (webhook.account.clone(), line_of(&target, place));
                urls.push(EndpointUrl { account, webhook: webhook.id, shown, line });
            }
        }
    }
    Ok(urls)
}

const HEAD: [&str; 8] = ["STATE", "SINCE", "ENDPOINT", "WEBHOOK", "UNDER WAY", "QUEUED", "WAITING", "CAUSE"];

fn text(found: &[(&EndpointUrl, EndpointStatus)], group: &Group, now_ms: i64) -> String {
    if found.is_empty() {
        return "no endpoints\n".to_owned();
    }
    let row = |(url, status): &(&EndpointUrl, EndpointStatus)| {
        vec![
            status.state().to_owned(),
            or_none(status.fails_since_ms.and_then(time)),
            url.shown.clone(),
            url.webhook.to_string(),
            format!("{} of {}", status.under_way, status.concurrency),
            status.queued.to_string(),
            status.waiting_calls().to_string(),
            or_none(status.cause.as_ref().map(|(_, text)| printable(text))),
        ]
    };
    let mut text = table(&HEAD, &found.iter().map(row).collect::<Vec<_>>());
    let left_out = group.left_out(now_ms);
    if left_out > 0 {
        writeln!(text, "{left_out} endpoints with fewer calls are not in the instances' reports").expect(WRITES);
    }
    text
}

fn time(ms: i64) -> Option<String> {
    Some(Timestamp::from_second(ms.div_euclid(1000)).ok()?.to_string())
}

impl<'a> EndpointJson<'a> {
    fn of(url: &'a EndpointUrl, status: &'a EndpointStatus) -> Self {
        Self {
            endpoint: &url.shown,
            account_id: url.account.to_string(),
            webhook_id: url.webhook.to_string(),
            state: status.state(),
            fails_since: status.fails_since_ms.and_then(time),
            class: status.cause.as_ref().map(|(class, _)| &**class),
            cause: status.cause.as_ref().map(|(_, text)| &**text),
            breaker: status.breaker.as_str(),
            instances: status.instances,
            concurrency: status.concurrency,
            under_way: status.under_way,
            queued: status.queued,
            waiting: status.waiting_calls(),
            waiting_in: &status.waiting,
            oldest_waiting_since: status.oldest_ms.and_then(time),
        }
    }
}
