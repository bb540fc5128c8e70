//! The operations that brokers allow this client on topics and groups, as they report them (KIP-430). librdkafka can
//! request them, but rdkafka has no method for it.
#![expect(unsafe_code, reason = "rdkafka has no method for DescribeTopics, DescribeConsumerGroups and their options")]

use std::ffi::{CString, c_char};
use std::ptr::null_mut;
use std::slice;
use std::time::Duration;

use rdkafka::bindings::{
    rd_kafka_AclOperation_t as RawOperation, rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
    rd_kafka_AdminOptions_set_include_authorized_operations, rd_kafka_AdminOptions_set_request_timeout,
    rd_kafka_AdminOptions_t as AdminOptions, rd_kafka_ConsumerGroupDescription_authorized_operations,
    rd_kafka_ConsumerGroupDescription_error, rd_kafka_ConsumerGroupDescription_group_id,
    rd_kafka_DescribeConsumerGroups, rd_kafka_DescribeConsumerGroups_result_groups, rd_kafka_DescribeTopics,
    rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy, rd_kafka_TopicCollection_of_topic_names,
    rd_kafka_TopicDescription_authorized_operations, rd_kafka_TopicDescription_error, rd_kafka_TopicDescription_name,
    rd_kafka_admin_op_t as Request, rd_kafka_error_code, rd_kafka_error_destroy,
    rd_kafka_event_DescribeConsumerGroups_result, rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy,
    rd_kafka_event_error, rd_kafka_event_t as Event, rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll,
    rd_kafka_queue_t as Queue, rd_kafka_resp_err_t,
};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::cstr_to_owned;

use super::{Access, AclOperation};

/// Extra time to wait for an answer beyond the brokers' limit.
const GRACE: Duration = Duration::from_secs(1);

/// Asks for the allowed operations on topics, by name. The request does not create missing topics. Blocks.
///
/// # Errors
/// No broker answers in time, or it does not support the request.
pub fn query_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[String],
    within: Duration,
) -> KafkaResult<Vec<(String, Access)>> {
    let names = to_cstrings(topics)?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the client and the names outlive the call. librdkafka's results are part of the event, which is
    // destroyed at the end of the block, after all of them are copied. A null error has the code of no error.
    unsafe {
        let request = AdminRequest::new(client, Request::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, within);
        let topics = rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        rd_kafka_DescribeTopics(client.native_ptr(), topics, request.options, request.queue);
        rd_kafka_TopicCollection_destroy(topics);
        let answer = request.wait_for_event(within)?;
        let mut count = 0;
        let described =
            rd_kafka_DescribeTopics_result_topics(rd_kafka_event_DescribeTopics_result(answer.0), &mut count);
        // A topic that the broker omits has no description.
        let access_by_topic = slice_of(described, count).iter().filter(|topic| !topic.is_null()).map(|topic| {
            let mut count = 0;
            let operations = rd_kafka_TopicDescription_authorized_operations(*topic, &mut count);
            let access = match rd_kafka_error_code(rd_kafka_TopicDescription_error(*topic)).into() {
                RDKafkaErrorCode::NoError => reported(operations, count),
                RDKafkaErrorCode::TopicAuthorizationFailed => Access::Denied,
                RDKafkaErrorCode::UnknownTopicOrPartition => Access::NoTopic,
                code => Access::Unknown(code.to_string()),
            };
            (cstr_to_owned(rd_kafka_TopicDescription_name(*topic)), access)
        });
        Ok(access_by_topic.collect())
    }
}

/// Asks for the allowed operations on consumer groups, by name. The groups need not exist. Blocks.
///
/// # Errors
/// Those of [`query_topics`].
pub fn query_groups<C: ClientContext>(
    client: &Client<C>,
    groups: &[String],
    within: Duration,
) -> KafkaResult<Vec<(String, Access)>> {
    let names = to_cstrings(groups)?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: as in `query_topics`.
    unsafe {
        let request = AdminRequest::new(client, Request::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, within);
        let (pointers, count) = (pointers.as_mut_ptr(), pointers.len());
        rd_kafka_DescribeConsumerGroups(client.native_ptr(), pointers, count, request.options, request.queue);
        let answer = request.wait_for_event(within)?;
        let mut count = 0;
        let result = rd_kafka_event_DescribeConsumerGroups_result(answer.0);
        let described = rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        let access_by_group = slice_of(described, count).iter().filter(|group| !group.is_null()).map(|group| {
            let mut count = 0;
            let operations = rd_kafka_ConsumerGroupDescription_authorized_operations(*group, &mut count);
            let access = match rd_kafka_error_code(rd_kafka_ConsumerGroupDescription_error(*group)).into() {
                RDKafkaErrorCode::NoError => reported(operations, count),
                RDKafkaErrorCode::GroupAuthorizationFailed => Access::Denied,
                code => Access::Unknown(code.to_string()),
            };
            (cstr_to_owned(rd_kafka_ConsumerGroupDescription_group_id(*group)), access)
        });
        Ok(access_by_group.collect())
    }
}

fn to_cstrings(names: &[String]) -> KafkaResult<Vec<CString>> {
    names.iter().map(|name| CString::new(name.as_str()).map_err(KafkaError::from)).collect()
}

/// A request's options, and the queue that receives its answer.
struct AdminRequest {
    options: *mut AdminOptions,
    queue: *mut Queue,
}

impl AdminRequest {
    /// Must not outlive the client.
    fn new<C: ClientContext>(client: &Client<C>, request: Request, within: Duration) -> Self {
        // SAFETY: the client is alive. Without a buffer librdkafka writes no error text, and these requests support
        // both options.
        unsafe {
            let options = rd_kafka_AdminOptions_new(client.native_ptr(), request);
            rd_kafka_AdminOptions_set_request_timeout(options, millis(within), null_mut(), 0);
            rd_kafka_error_destroy(rd_kafka_AdminOptions_set_include_authorized_operations(options, 1));
            Self { options, queue: rd_kafka_queue_new(client.native_ptr()) }
        }
    }

    fn wait_for_event(&self, within: Duration) -> KafkaResult<AdminEvent> {
        // SAFETY: the queue lives as long as this, and an event until the answer is dropped.
        let (event, code) = unsafe {
            // The request's timeout ends first and reports the reason.
            let event = rd_kafka_queue_poll(self.queue, millis(within + GRACE));
            if event.is_null() {
                return Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
            }
            (event, rd_kafka_event_error(event))
        };
        let answer = AdminEvent(event);
        if code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            Ok(answer)
        } else {
            Err(KafkaError::AdminOp(code.into()))
        }
    }
}

impl Drop for AdminRequest {
    fn drop(&mut self) {
        // SAFETY: both were created by `new`, and this is their only owner.
        unsafe {
            rd_kafka_queue_destroy(self.queue);
            rd_kafka_AdminOptions_destroy(self.options);
        }
    }
}

struct AdminEvent(*mut Event);

impl Drop for AdminEvent {
    fn drop(&mut self) {
        // SAFETY: the event came from a queue, and this is its only owner.
        unsafe { rd_kafka_event_destroy(self.0) }
    }
}

/// The operations that brokers report.
///
/// # Safety
/// The `count` operations must be valid values of librdkafka, or null.
unsafe fn reported(operations: *const RawOperation, count: usize) -> Access {
    // SAFETY: guaranteed by the caller. librdkafka returns only its own values, and the binding has all of them.
    let operations = unsafe { slice_of(operations, count) };
    // A client that gets an answer may describe the resource. A set without that operation was not filled in.
    if !operations.contains(&RawOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE) {
        return Access::Unknown("the brokers do not report it, as Kafka does from 2.3 on".to_owned());
    }
    Access::Allowed(operations.iter().filter_map(|operation| to_acl_operation(*operation)).collect())
}

fn to_acl_operation(operation: RawOperation) -> Option<AclOperation> {
    match operation {
        RawOperation::RD_KAFKA_ACL_OPERATION_READ => Some(AclOperation::Read),
        RawOperation::RD_KAFKA_ACL_OPERATION_WRITE => Some(AclOperation::Write),
        RawOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(AclOperation::DescribeConfigs),
        _ => None,
    }
}

/// # Safety
/// The pointer must point to `count` values that are valid as long as the slice is used. If `count` is 0, any pointer
/// is allowed.
unsafe fn slice_of<'a, T>(start: *const T, count: usize) -> &'a [T] {
    if start.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: guaranteed by the caller.
    unsafe { slice::from_raw_parts(start, count) }
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
