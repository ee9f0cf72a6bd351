//! Logs as writers and readers meet in them.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Arc, Mutex};

use vocab::from_unix_ms;

use super::*;

const JOB: JobId = JobId(7);
const FIRST: Attempt = Attempt(1);

fn logs() -> (tempfile::TempDir, Logs) {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(&dir.path().join("logs")).unwrap();
    (dir, logs)
}

fn texts(chunk: &Chunk) -> Vec<String> {
    chunk.records.iter().map(|r| r.text.clone()).collect()
}

#[test]
fn reading_on_from_each_offset_gives_every_line_once() {
    let (_dir, logs) = logs();
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    let mut offset = 0;
    let mut seen = Vec::new();
    for n in 0..500 {
        let at = from_unix_ms(1_000 + n);
        writer
            .append(at, 1, Kind::Out, &format!("line {n} {}", "x".repeat(999)))
            .unwrap();
        if n % 7 == 0 {
            writer.flush().unwrap();
            loop {
                let chunk = logs.read(JOB, FIRST, offset, 1).unwrap();
                assert_eq!(chunk.first_offset, offset);
                assert!(!chunk.finished);
                if chunk.records.is_empty() {
                    break;
                }
                assert_eq!(chunk.records[0].offset, offset);
                seen.extend(texts(&chunk));
                offset = chunk.next_offset;
            }
        }
    }
    writer.finish(from_unix_ms(9_000)).unwrap();
    let rest = logs.read(JOB, FIRST, offset, 1 << 30).unwrap();
    assert!(rest.finished);
    seen.extend(texts(&rest));
    assert_eq!(seen.len(), 500);
    for (n, line) in seen.iter().enumerate() {
        assert!(line.starts_with(&format!("line {n} ")), "{line}");
    }
    let end = logs.read(JOB, FIRST, rest.next_offset, 1000).unwrap();
    assert!(end.finished && end.records.is_empty());
}

#[test]
fn an_offset_within_a_line_or_past_the_end_is_refused() {
    let (_dir, logs) = logs();
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    writer
        .append(from_unix_ms(1), 1, Kind::Out, "hello")
        .unwrap();
    writer.flush().unwrap();
    for offset in [1, 3, 1_000] {
        let refused = logs.read(JOB, FIRST, offset, 100).unwrap_err();
        assert!(matches!(refused, LogError::NoSuchOffset { .. }), "{offset}");
    }
    assert!(logs.read(JOB, Attempt(2), 5, 100).is_err());
    let absent = logs.read(JOB, Attempt(2), 0, 100).unwrap();
    assert!(absent.records.is_empty() && !absent.finished);
}

#[test]
fn what_is_appended_while_a_reader_stands_at_the_end_is_left_to_its_next_read() {
    let (_dir, logs) = logs();
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    writer.append(from_unix_ms(1), 1, Kind::Out, "one").unwrap();
    writer.flush().unwrap();
    let size = writer.offset();
    writer.append(from_unix_ms(2), 1, Kind::Out, "two").unwrap();
    writer.flush().unwrap();
    let mut raw = std::fs::File::open(logs.path(JOB, FIRST)).unwrap();
    for more in ["", "3 1 out half of a li"] {
        let mut appender = OpenOptions::new()
            .append(true)
            .open(logs.path(JOB, FIRST))
            .unwrap();
        appender.write_all(more.as_bytes()).unwrap();
        let end = reader::at_end(&mut raw, size).unwrap().unwrap();
        assert!(!end.finished && end.records.is_empty());
        assert_eq!((end.next_offset, end.size_bytes), (size, size));
    }
}

#[test]
fn a_half_written_line_is_invisible_and_removed_when_writing_goes_on() {
    let (_dir, logs) = logs();
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    writer
        .append(from_unix_ms(1), 1, Kind::Out, "whole")
        .unwrap();
    drop(writer);
    let mut raw = OpenOptions::new()
        .append(true)
        .open(logs.path(JOB, FIRST))
        .unwrap();
    raw.write_all(b"2 1 out half of a li").unwrap();
    let before = logs.read(JOB, FIRST, 0, 1000).unwrap();
    assert_eq!(texts(&before), ["whole"]);
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    assert_eq!(writer.offset(), before.next_offset);
    writer
        .append(from_unix_ms(3), 1, Kind::Out, "next")
        .unwrap();
    writer.flush().unwrap();
    assert_eq!(
        texts(&logs.read(JOB, FIRST, before.next_offset, 1000).unwrap()),
        ["next"]
    );
}

#[test]
fn a_log_whose_writer_died_is_sealed_once_with_the_reason() {
    let (_dir, logs) = logs();
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    writer
        .append(from_unix_ms(1), 1, Kind::Out, "working")
        .unwrap();
    drop(writer);
    logs.seal(JOB, FIRST, from_unix_ms(2), "the appliance was restarted")
        .unwrap();
    logs.seal(JOB, FIRST, from_unix_ms(3), "again").unwrap();
    let all = logs.read(JOB, FIRST, 0, 1000).unwrap();
    assert_eq!(texts(&all), ["working", "the appliance was restarted"]);
    assert!(all.finished);
    assert!(
        logs.writer(JOB, FIRST)
            .unwrap()
            .append(from_unix_ms(4), 1, Kind::Out, "x")
            .is_err()
    );
}

#[test]
fn a_full_log_says_so_once_and_keeps_the_receipt() {
    let (_dir, logs) = logs();
    let logs = logs.with_cap(10_000);
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    for n in 0..2_000 {
        writer
            .append(from_unix_ms(n), 1, Kind::Out, "twenty bytes of text")
            .unwrap();
    }
    writer
        .append(from_unix_ms(5), 9, Kind::Receipt, "host: appliance-0001")
        .unwrap();
    writer.finish(from_unix_ms(6)).unwrap();
    let mut again = logs.writer(JOB, Attempt(2)).unwrap();
    again
        .append(
            from_unix_ms(5),
            1,
            Kind::Out,
            "not touched by the other's cap",
        )
        .unwrap();
    let all = logs.read(JOB, FIRST, 0, 1 << 20).unwrap();
    let notices: Vec<_> = all
        .records
        .iter()
        .filter(|r| r.kind == Kind::System)
        .collect();
    assert_eq!(notices.len(), 1);
    assert!(
        notices[0].text.contains("limit of 10000 bytes"),
        "{}",
        notices[0].text
    );
    assert_eq!(all.records.last().unwrap().kind, Kind::Receipt);
    assert!(
        all.finished && all.size_bytes < 11_000,
        "{}",
        all.size_bytes
    );
}

#[test]
fn a_long_line_goes_on_in_records_marked_as_continued() {
    let (_dir, logs) = logs();
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    let long = "ü".repeat(LINE_BYTES);
    writer.append(from_unix_ms(1), 1, Kind::Out, &long).unwrap();
    writer
        .append(from_unix_ms(1), 1, Kind::Out, "short")
        .unwrap();
    writer.flush().unwrap();
    let mut offset = 0;
    let mut joined = Vec::<String>::new();
    while offset < writer.offset() {
        let chunk = logs.read(JOB, FIRST, offset, 1).unwrap();
        for record in &chunk.records {
            assert!(record.text.len() <= LINE_BYTES);
            if record.continued {
                joined.last_mut().unwrap().push_str(&record.text);
            } else {
                joined.push(record.text.clone());
            }
        }
        offset = chunk.next_offset;
    }
    assert_eq!(joined, [long, "short".to_owned()]);
}

#[test]
fn line_ends_within_a_text_make_lines_and_escapes_do_not_pass() {
    let (_dir, logs) = logs();
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    writer.append(from_unix_ms(1), 1, Kind::Out, "a\r").unwrap();
    writer
        .append(from_unix_ms(1), 1, Kind::Out, "10%\r20%\nb\u{1b}[2J")
        .unwrap();
    writer.append(from_unix_ms(1), 1, Kind::Out, "").unwrap();
    writer.flush().unwrap();
    let all = logs.read(JOB, FIRST, 0, 1000).unwrap();
    assert_eq!(texts(&all), ["a", "10%", "20%", "b", ""]);
}

#[test]
fn watchers_hear_of_growth_when_it_can_be_read() {
    let (_dir, logs) = logs();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (ear, reader) = (heard.clone(), logs.clone());
    logs.on_growth(move |job, attempt| {
        let size = reader.read(job, attempt, 0, 1000).unwrap().records.len();
        ear.lock().unwrap().push((job, size));
    });
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    writer.append(from_unix_ms(1), 1, Kind::Out, "one").unwrap();
    assert!(heard.lock().unwrap().is_empty());
    writer.flush().unwrap();
    writer.flush().unwrap();
    assert_eq!(*heard.lock().unwrap(), [(JOB, 1)]);
}

#[test]
fn the_tail_starts_at_a_whole_line() {
    let (_dir, logs) = logs();
    let mut writer = logs.writer(JOB, FIRST).unwrap();
    for n in 0..20_000 {
        writer
            .append(from_unix_ms(1), 1, Kind::Out, &format!("line number {n}"))
            .unwrap();
    }
    writer.finish(from_unix_ms(2)).unwrap();
    let tail = logs.tail(JOB, FIRST, 100).unwrap();
    assert!(tail.finished && tail.first_offset > 0);
    assert_eq!(tail.records.last().unwrap().text, "line number 19999");
    assert_eq!(tail.records[0].offset, tail.first_offset);
    assert!(tail.records[0].text.starts_with("line number "));
    let again = logs.read(JOB, FIRST, tail.first_offset, 1 << 20).unwrap();
    assert_eq!(again, tail);
}
