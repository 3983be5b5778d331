//! Checks the encoding of an ONNX file before it is parsed. The parser of rten-onnx 0.27 does not end at a number of more
//! than ten bytes, and overflows the stack at messages that are nested too deeply.

use rten_onnx::onnx::{AttributeType, GraphProto, ModelProto};

use crate::wire::{Field, fields, numbers};

/// Maximum depth of messages in messages, as in the implementations of Protocol Buffers.
const MAX_DEPTH: usize = 100;

/// The number of the field of a model that has the graph (`onnx.proto`).
const GRAPH: u32 = 7;

/// What the bytes of a field are to the parser.
#[derive(Clone, Copy)]
enum Content {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    SequenceType,
    Shape,
    /// A message without messages and without lists of numbers.
    Flat,
    /// A list of numbers.
    Numbers,
    /// Texts and raw data, which are not looked into.
    Bytes,
}

impl Content {
    /// The content of a field that has bytes, by its number in `onnx.proto`.
    fn field(self, number: u32) -> Self {
        match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6) => Self::Graph,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::ValueInfo, 2) | (Self::SequenceType, 1) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::Type, 4) => Self::SequenceType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Model, 8 | 14) | (Self::Tensor, 13) | (Self::Shape, 1) => Self::Flat,
            (Self::Attribute, 8) | (Self::Tensor, 1 | 5 | 7) => Self::Numbers,
            _ => Self::Bytes,
        }
    }

    /// True if a message that may be there once is there twice: other parsers join the two, and this one takes the last.
    fn repeats(self, fields: &[Field<'_>]) -> bool {
        let single: &[u32] = match self {
            Self::Attribute => &[5, 6],
            Self::ValueInfo => &[2],
            Self::Type => &[1, 4],
            Self::TensorType => &[2],
            Self::SequenceType => &[1],
            _ => &[],
        };
        single.iter().any(|&number| fields.iter().filter(|field| field.number == number).count() > 1)
    }

    fn is_well_formed(self, bytes: &[u8], depth: usize) -> bool {
        match self {
            Self::Bytes => true,
            Self::Numbers => numbers(bytes),
            _ => {
                depth < MAX_DEPTH
                    && fields(bytes).is_some_and(|fields| {
                        !self.repeats(&fields)
                            && fields.iter().all(|field| {
                                field
                                    .value
                                    .is_none_or(|value| self.field(field.number).is_well_formed(value, depth + 1))
                            })
                    })
            }
        }
    }
}

/// Parses an ONNX file; `None` if it is not one.
pub(crate) fn parse_model(bytes: &[u8]) -> Option<ModelProto> {
    if !Content::Model.is_well_formed(bytes, 0) {
        return None;
    }
    // Graphs of one file would be joined by other parsers; this one would take the last.
    if fields(bytes)?.iter().filter(|field| field.number == GRAPH).count() > 1 {
        return None;
    }
    let mut model = ModelProto::parse_buf(bytes).ok()?;
    if let Some(graph) = &mut model.graph {
        write_zeros(graph);
    }
    Some(model)
}

/// Gives attributes the zero that their writer left out: writers of proto3 do not write the integer 0, the number 0 and the
/// empty text. Such an attribute is there, so the default of its operator does not apply.
fn write_zeros(graph: &mut GraphProto) {
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        match attribute.r#type {
            Some(AttributeType::INT) => _ = attribute.i.get_or_insert(0),
            Some(AttributeType::FLOAT) => _ = attribute.f.get_or_insert(0.0),
            Some(AttributeType::STRING) => _ = attribute.s.get_or_insert_default(),
            _ => {}
        }
        if let Some(graph) = &mut attribute.g {
            write_zeros(graph);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::write;

    #[test]
    fn numbers_of_more_than_ten_bytes_are_refused_wherever_the_parser_reads_them() {
        let long = [0xFF; 12];
        let inside = |path: &[u32], content: &[u8]| {
            path.iter().rev().fold(content.to_vec(), |inner, &number| {
                let mut outer = Vec::new();
                write(&mut outer, number, &inner);
                outer
            })
        };
        for path in [
            &[][..],
            &[7],
            &[7, 1],
            &[7, 1, 5],
            &[7, 1, 5, 8],
            &[7, 1, 5, 6, 5, 7],
            &[7, 5, 1],
            &[7, 5, 13],
            &[7, 11, 2, 1, 2, 1],
            &[7, 12, 2, 4, 1, 1],
            &[7, 13],
            &[8],
            &[14],
        ] {
            assert!(parse_model(&inside(path, &long)).is_none(), "{path:?}");
            assert!(Content::Model.is_well_formed(&inside(path, &[]), 0), "{path:?}");
        }
        // The name of a graph, and raw data.
        assert!(Content::Model.is_well_formed(&inside(&[7, 2], &long), 0));
        assert!(parse_model(&inside(&[7, 5, 9], &long)).is_some());
        // Graphs in attributes of nodes of graphs.
        let graphs = |levels: usize| {
            let mut path = vec![7];
            path.extend([1, 5, 6].repeat(levels));
            inside(&path, &[])
        };
        assert!(parse_model(&graphs(30)).is_some());
        assert!(parse_model(&graphs(40)).is_none());
        assert!(parse_model(&graphs(10_000)).is_none());
    }
}
