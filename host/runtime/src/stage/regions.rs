//! Parts of tensors: a guest copies a box of a tensor into its memory, not the whole tensor.

use wasmtime::component::Resource;

use super::bindings::imports::plimsoll::stage::regions;
use super::error::UnreadableStrings;
use super::store::StoreState;
use crate::cap::MemoryLimit;
use crate::tensor::Tensor;

/// Maximum number of dimensions of a box.
const MAX_DIMENSIONS: usize = 8;

impl regions::Host for StoreState {
    fn read(
        &mut self,
        tensor: Resource<Tensor>,
        start: Vec<u32>,
        size: Vec<u32>,
    ) -> wasmtime::Result<Result<Vec<u8>, String>> {
        let given = self.table.get(&tensor)?;
        let shown = given.ty.in_wasi_nn();
        let (Some(element), Some(element_shown)) = (given.ty.size(), shown.size()) else {
            return Err(UnreadableStrings.into());
        };
        let dimensions = given.dimensions.clone();
        if let Err(reason) = check(&dimensions, &start, &size, given.data.len() / element) {
            return Ok(Err(reason));
        }
        let elements = size.iter().map(|size| *size as usize).product::<usize>();
        let wanted = (elements * element_shown) as u64;
        if wanted > self.limits.max_memory {
            self.meter.record_refusal();
            return Err(MemoryLimit {
                limit: self.limits.max_memory,
                wanted,
                what: "a part of a tensor",
                key: "max_memory",
            }
            .into());
        }
        let part = copy(&given.data, element, &dimensions, &start, &size);
        if shown == given.ty {
            return Ok(Ok(part));
        }
        // The elements are shown in a wider type, as those of the whole tensor are.
        match Tensor::new(size, given.ty, part).converted(shown) {
            Some(converted) => Ok(Ok(converted?.data.to_vec())),
            None => Ok(Err("the elements of this tensor cannot be shown".to_owned())),
        }
    }
}

/// Checks that the box is inside the tensor, and that the tensor has the bytes that its dimensions promise.
fn check(dimensions: &[u32], start: &[u32], size: &[u32], elements: usize) -> Result<(), String> {
    let rank = dimensions.len();
    if start.len() != rank || size.len() != rank {
        return Err(format!(
            "the tensor has {rank} dimensions; `start` has {}, `size` has {}",
            start.len(),
            size.len()
        ));
    }
    if rank > MAX_DIMENSIONS {
        return Err(format!("the tensor has {rank} dimensions; parts of up to {MAX_DIMENSIONS} can be read"));
    }
    for (index, ((&whole, &start), &size)) in dimensions.iter().zip(start).zip(size).enumerate() {
        if start.checked_add(size).is_none_or(|end| end > whole) {
            return Err(format!("dimension {index} has {whole} elements; {size} from {start} on do not fit"));
        }
    }
    let promised = dimensions.iter().try_fold(1_usize, |all, &size| all.checked_mul(size as usize));
    match promised {
        Some(promised) if promised == elements => Ok(()),
        _ => Err("the tensor does not have the bytes that its dimensions need".to_owned()),
    }
}

/// Copies the box. Rows of the last dimensions that are read whole are copied at once.
fn copy(data: &[u8], element: usize, dimensions: &[u32], start: &[u32], size: &[u32]) -> Vec<u8> {
    let mut part = Vec::with_capacity(size.iter().map(|size| *size as usize).product::<usize>() * element);
    if part.capacity() == 0 {
        return part;
    }
    // The dimensions from `split` on are one run of bytes: all but the first of them are read whole.
    let whole = |index: usize| start[index] == 0 && size[index] == dimensions[index];
    let split = (1..dimensions.len()).rev().find(|&index| !whole(index)).unwrap_or(0);
    let mut strides = vec![element; dimensions.len()];
    for index in (1..dimensions.len()).rev() {
        strides[index - 1] = strides[index] * dimensions[index] as usize;
    }
    let run = size.get(split).map_or(element, |&size| size as usize * strides[split]);
    let mut from: usize = start.iter().zip(&strides).map(|(&start, stride)| start as usize * stride).sum();
    let mut at = vec![0_u32; split];
    loop {
        part.extend_from_slice(&data[from..from + run]);
        // Counts up, the last dimension first.
        let Some(next) = (0..split).rev().find(|&index| at[index] + 1 < size[index]) else { return part };
        for index in next + 1..split {
            from -= at[index] as usize * strides[index];
            at[index] = 0;
        }
        at[next] += 1;
        from += strides[next];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every box of a small tensor is what indexing each element gives.
    #[test]
    fn a_box_has_the_elements_of_its_indices() {
        for dimensions in [vec![], vec![5], vec![3, 4], vec![2, 3, 2], vec![2, 1, 3, 2]] {
            let elements = dimensions.iter().product::<u32>();
            let data: Vec<u8> = (0..elements as u16 * 2).map(|byte| byte as u8).collect();
            let ranges =
                |size: u32| (0..=size).flat_map(move |start| (0..=size - start).map(move |size| (start, size)));
            let mut boxes: Vec<Vec<(u32, u32)>> = vec![vec![]];
            for &size in &dimensions {
                boxes =
                    boxes.iter().flat_map(|b| ranges(size).map(|range| [b.as_slice(), &[range]].concat())).collect();
            }
            for ranges in boxes {
                let (start, size): (Vec<u32>, Vec<u32>) = ranges.iter().copied().unzip();
                let mut expected = Vec::new();
                for index in 0..elements {
                    let mut rest = index;
                    let mut is_inside = true;
                    for (dimension, &(start, size)) in dimensions.iter().zip(&ranges).rev() {
                        let at = rest % dimension;
                        rest /= dimension;
                        is_inside &= (start..start + size).contains(&at);
                    }
                    if is_inside {
                        expected.extend_from_slice(&data[index as usize * 2..][..2]);
                    }
                }
                assert_eq!(check(&dimensions, &start, &size, elements as usize), Ok(()));
                assert_eq!(copy(&data, 2, &dimensions, &start, &size), expected, "{dimensions:?} {ranges:?}");
            }
        }
    }

    #[test]
    fn a_box_outside_is_an_error_that_names_the_dimension() {
        let message = |start: &[u32], size: &[u32]| check(&[3, 4], start, size, 12).expect_err("an error");
        assert!(message(&[0, 2], &[3, 3]).contains("dimension 1 has 4 elements; 3 from 2 on"));
        assert!(message(&[u32::MAX, 0], &[1, 1]).contains("dimension 0"));
        assert!(message(&[0], &[1]).contains("2 dimensions"));
        assert!(check(&[3, 4], &[0, 0], &[1, 1], 11).is_err(), "too few bytes");
        assert!(check(&[u32::MAX; 4], &[0; 4], &[1; 4], 11).is_err(), "the dimensions overflow");
    }
}
