//! `source` objects from the connectors' documentation and tests.

use crate::decode::tests::{change, decoder, input, settings};
use crate::decode::{Format, Identity, Sequence, Settings, SnapshotRows};

const KEY: &str = r#"{"id":1}"#;

/// Identity and sequence of a change of one row, whose `source` has these fields.
fn decoded(op: &str, source: &str) -> (String, Sequence) {
    let settings = Settings { snapshot_rows: SnapshotRows::Insert, ..settings(Format::Debezium) };
    let rows = if op == "d" { r#""before":{"id":1}"# } else { r#""after":{"id":1}"# };
    let record =
        format!(r#"{{"source":{{"name":"n","db":"d","schema":"s","table":"t",{source}}},"op":"{op}",{rows}}}"#);
    let change = change(&mut decoder(settings), &input(Some(KEY), &record));
    match change.identity {
        Identity::Debezium(identity) => (identity, change.sequence),
        Identity::RecordPosition { .. } => ("place".to_owned(), change.sequence),
        Identity::ProducerId(_) => panic!("a Debezium record has no id"),
    }
}

const SQL_SERVER: &str = r#""connector":"sqlserver","ts_ms":1559729471739,"snapshot":"false",
    "change_lsn":"00000027:00000758:0003","commit_lsn":"00000027:00000758:0005","event_serial_no":2"#;
const DB2: &str = r#""connector":"db2","change_lsn":"00000000:00000000:0000000000003fb7",
    "commit_lsn":"00000000:00000001:0000000000003fc0""#;
const INFORMIX: &str = r#""connector":"informix","change_lsn":"8589934688","commit_lsn":"8589934700",
    "begin_lsn":"8589934600","txId":"7""#;
const LOG_MINER: &str = r#""connector":"oracle","txId":"05000c00b9020000","scn":"3107236","commit_scn":"3107237",
    "lcr_position":null,"rs_id":" 0x000024.00004a1e.0010 ","ssn":3,"redo_thread":1"#;
const XSTREAM: &str = r#""connector":"oracle","scn":"3107236","commit_scn":null,"lcr_position":"0000002f69a4","rs_id":null,
    "ssn":0,"redo_thread":null"#;
const SPANNER: &str = r#""connector":"spanner","ts_ns":1559729471739000000,"sequence":"5","mod_number":1,
    "server_transaction_id":"ABC=","record_sequence_prefix":"2a","partition_token":"p","low_watermark":1"#;

#[test]
fn republished_change_keeps_its_identity() {
    for (source, identity) in [
        (SQL_SERVER, r#""sqlserver" "n" "d" "s" "t" "00000027:00000758:0005" "00000027:00000758:0003" 2 u"#),
        (
            DB2,
            r#""db2" "n" "d" "s" "t" "00000000:00000001:0000000000003fc0" "00000000:00000000:0000000000003fb7" null u"#,
        ),
        (INFORMIX, r#""informix" "n" "d" "s" "t" "8589934700" "8589934688" null u"#),
        (LOG_MINER, r#""oracle" "n" "d" "s" "t" "3107236" 1 " 0x000024.00004a1e.0010 " 3 null u"#),
        (XSTREAM, r#""oracle" "n" "d" "s" "t" "3107236" null null 0 "0000002f69a4" u"#),
        (SPANNER, r#""spanner" "n" "d" "s" "t" "ABC=" "2a" "5" 1 u"#),
    ] {
        assert_eq!(decoded("u", source).0, format!(r#"{identity} key {{"id":1}}"#));
        // Fields that differ between publications are not part of the identity.
        for changed in ["\"begin_lsn\":\"85", "\"commit_scn\":\"31", "\"low_watermark\":", "\"ts_ms\":"] {
            assert_eq!(decoded("u", &source.replace(changed, &format!("{changed}9"))).0, decoded("u", source).0);
        }
    }
}

#[test]
fn different_changes_have_different_identities() {
    for (source, part) in [
        (SQL_SERVER, "\"event_serial_no\":"),
        (SQL_SERVER, "0758:000"),
        (DB2, "3fb"),
        (INFORMIX, "85899346"),
        (LOG_MINER, "4a1e.00"),
        (LOG_MINER, "\"ssn\":"),
        (LOG_MINER, "\"redo_thread\":"),
        (XSTREAM, "2f69a"),
        (SPANNER, "\"sequence\":\""),
        (SPANNER, "\"mod_number\":"),
    ] {
        assert!(source.contains(part));
        let other = decoded("u", &source.replacen(part, &format!("{part}1"), 1));
        assert_ne!(other.0, decoded("u", source).0, "{part}");
    }
    // A change of the key is a delete and an insert at one position.
    assert_ne!(decoded("d", SQL_SERVER).0, decoded("c", SQL_SERVER).0);
}

#[test]
fn change_without_log_position_is_identified_by_its_kafka_offset() {
    for source in [
        r#""connector":"sqlserver","commit_lsn":"00000027:00000758:0005","change_lsn":null"#,
        r#""connector":"oracle","scn":"3107236","rs_id":null,"ssn":0,"lcr_position":null"#,
        r#""connector":"spanner","server_transaction_id":null,"sequence":null"#,
        r#""connector":"vitess","vgtid":"[{\"keyspace\":\"c\",\"shard\":\"80-\",\"gtid\":\"MySQL56/a:1-41\"}]","shard":"80-""#,
        r#""connector":"cockroachdb","ts_hlc":null,"resolved_ts":"1.0""#,
        r#""connector":null"#,
    ] {
        assert_eq!(
            decoded("u", source),
            ("place".to_owned(), Sequence::Offset { partition: 3, offset: 42 }),
            "{source}"
        );
    }
    // Rows of a snapshot have the snapshot's position; their keys distinguish them.
    let snapshot = r#""connector":"sqlserver","commit_lsn":"00000027:00000758:0005","change_lsn":null"#;
    assert!(decoded("r", snapshot).0.ends_with(r#""00000027:00000758:0005" null null r key {"id":1}"#));
}

/// Each source's changes in the order in which they were made to one row.
#[test]
fn changes_of_a_row_are_ordered_by_log_position() {
    let sql_server = |commit: &str, change: &str, serial: u8| {
        format!(r#""connector":"sqlserver","commit_lsn":"{commit}","change_lsn":"{change}","event_serial_no":{serial}"#)
    };
    let informix =
        |commit: u64, change: u64| format!(r#""connector":"informix","commit_lsn":"{commit}","change_lsn":"{change}""#);
    let oracle = |scn: u64, record: &str, ssn: u8| {
        format!(r#""connector":"oracle","scn":"{scn}","rs_id":" 0x{record} ","ssn":{ssn},"redo_thread":1"#)
    };
    let spanner = |nanos: u64, sequence: u8, row: u8| {
        format!(
            r#""connector":"spanner","ts_ns":{nanos},"server_transaction_id":"x","sequence":"{sequence}","mod_number":{row}"#
        )
    };
    for in_order in [
        vec![
            sql_server("00000027:00000758:0005", "00000027:00000ff8:0003", 1),
            sql_server("00000027:00000758:0005", "00000027:00000ff8:0003", 2),
            sql_server("00000027:00000758:0005", "00000027:00000ff8:0010", 1),
            sql_server("00000027:00000ac0:0002", "00000027:00000ac0:0001", 1),
            sql_server("00000100:00000000:0001", "00000027:00000ac0:0001", 1),
        ],
        vec![informix(9, 8), informix(10, 7), informix(10, 9), informix(1 << 40, 1)],
        vec![
            oracle(99, "000024.00004a1e.0010", 0),
            oracle(100, "000024.00004a1e.0010", 0),
            oracle(100, "000024.00004a1e.0010", 1),
            oracle(100, "000024.00004a1f.0010", 0),
            oracle(100, "000025.00000001.0010", 0),
        ],
        vec![spanner(1, 2, 0), spanner(1, 2, 1), spanner(1, 10, 0), spanner(2, 0, 0)],
    ] {
        let sequences: Vec<Sequence> = in_order.iter().map(|source| decoded("u", source).1).collect();
        for pair in sequences.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string(), "{pair:?}");
        }
        assert!(sequences.iter().all(|sequence| Sequence::parse(&sequence.to_string()) == Some(*sequence)));
        assert!(decoded("d", &in_order[0]).1 < decoded("c", &in_order[0]).1, "a change of the key deletes first");
    }
}

#[test]
fn snapshot_row_is_ordered_before_its_changes() {
    for (source, parts) in [
        (
            SQL_SERVER,
            [(r#""00000027:00000758:0003""#, "null"), (r#""event_serial_no":2"#, r#""event_serial_no":null"#)],
        ),
        (DB2, [(r#""00000000:00000000:0000000000003fb7""#, "null"), ("", "")]),
        (INFORMIX, [(r#""8589934688""#, "null"), ("", "")]),
        (LOG_MINER, [(r#"" 0x000024.00004a1e.0010 ""#, "null"), (r#""ssn":3"#, r#""ssn":0"#)]),
    ] {
        let snapshot = parts.iter().fold(source.to_owned(), |source, (part, none)| source.replacen(part, none, 1));
        let (before, after) = (decoded("r", &snapshot).1, decoded("u", source).1);
        assert!(before < after && before.to_string() < after.to_string(), "{before} {after}");
    }
}

#[test]
fn unreadable_log_position_falls_back_to_the_kafka_offset() {
    let place = Sequence::Offset { partition: 3, offset: 42 };
    for source in [
        r#""connector":"sqlserver","commit_lsn":"x","change_lsn":"00000027:00000ff8:0003""#,
        r#""connector":"informix","commit_lsn":"-1","change_lsn":"8""#,
        XSTREAM,
        r#""connector":"spanner","ts_ns":1,"server_transaction_id":"x","sequence":"1","record_sequence_prefix":"ffffffffffffffffff",
            "mod_number":1"#,
    ] {
        assert_eq!(decoded("u", source).1, place, "{source}");
    }
}
