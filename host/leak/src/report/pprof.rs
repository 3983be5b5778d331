//! The call stacks as a profile for `pprof` and compatible tools: a gzipped
//! [profile.proto](https://github.com/google/pprof/blob/main/proto/profile.proto). Only the messages and fields that
//! are used are defined here.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::error::ReportError;
use crate::debug_info::Location as Frame;
use crate::finding::Study;

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// A profile with its tables; each entry is added once.
#[derive(Default)]
struct Tables {
    profile: Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(String, Option<String>), u64>,
    locations: HashMap<Frame, u64>,
}

impl Tables {
    fn string(&mut self, text: &str) -> i64 {
        if let Some(&known) = self.strings.get(text) {
            return known;
        }
        let index = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }

    fn value_type(&mut self, name: &str, unit: &str) {
        let value_type = ValueType { r#type: self.string(name), unit: self.string(unit) };
        self.profile.sample_type.push(value_type);
    }

    fn function(&mut self, frame: &Frame) -> u64 {
        let key = (frame.function.clone(), frame.file.clone());
        if let Some(&known) = self.functions.get(&key) {
            return known;
        }
        let (name, filename) = (self.string(&frame.function), self.string(frame.file.as_deref().unwrap_or("")));
        let id = self.profile.function.len() as u64 + 1;
        self.profile.function.push(Function { id, name, system_name: name, filename });
        self.functions.insert(key, id);
        id
    }

    fn location(&mut self, frame: &Frame) -> u64 {
        if let Some(&known) = self.locations.get(frame) {
            return known;
        }
        let line = Line { function_id: self.function(frame), line: i64::from(frame.line.unwrap_or(0)) };
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(Location { id, line: vec![line] });
        self.locations.insert(frame.clone(), id);
        id
    }
}

/// The gzipped profile: sample types `inuse_space`, `inuse_objects`, `alloc_space`, `alloc_objects`, and the class as
/// the label `class`. `None` if there are no call stacks.
///
/// # Errors
/// No known errors, because the writer is a buffer.
pub(super) fn profile(study: &Study) -> Result<Option<Vec<u8>>, ReportError> {
    if study.stacks.is_empty() {
        return Ok(None);
    }
    let mut tables = Tables::default();
    // The first entry of the string table must be the empty string.
    tables.string("");
    for (name, unit) in
        [("inuse_space", "bytes"), ("inuse_objects", "count"), ("alloc_space", "bytes"), ("alloc_objects", "count")]
    {
        tables.value_type(name, unit);
    }
    tables.profile.default_sample_type = tables.string("inuse_space");
    let comment = format!("plimsoll leak: {} {}", study.plugin.name, study.plugin.digest);
    let comment = tables.string(&comment);
    tables.profile.comment.push(comment);
    let class_key = tables.string("class");
    for stack in study.full_stacks() {
        let class = tables.string(&study.classes[stack.class].name());
        let totals = stack.totals;
        let values = [totals.inuse_space, totals.inuse_objects, totals.alloc_space, totals.alloc_objects];
        let sample = Sample {
            location_id: stack.frames.iter().map(|frame| tables.location(frame)).collect(),
            value: values.iter().map(|&value| value as i64).collect(),
            label: vec![Label { key: class_key, str: class }],
        };
        tables.profile.sample.push(sample);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let failed = |error: std::io::Error| ReportError::content("heap.pb.gz", error);
    encoder.write_all(&tables.profile.encode_to_vec()).map_err(failed)?;
    encoder.finish().map(Some).map_err(failed)
}
