//! What holds for every request that was accepted.

use plimsoll::serve::oip::request::Request;
use plimsoll::serve::oip::tensor::{Data, count};

/// Checks that every tensor has as many elements as its shape.
pub fn check(request: &Request) {
    for input in &request.inputs {
        let count = count(&input.shape, input.datatype).expect("the shape was accepted");
        match (&input.data, input.datatype.size()) {
            (Data::Fixed(bytes), Some(size)) => assert_eq!(bytes.len() as u64, count * size, "{input:?}"),
            (Data::Elements(elements), None) => assert_eq!(elements.len() as u64, count, "{input:?}"),
            _ => panic!("the elements of {input:?} do not have its type"),
        }
        let _ = input.to_nn();
    }
}
