//! Runs that are padded to the sizes that a model is prepared for.

use super::*;

/// Counts the rows that are added.
#[derive(Default)]
pub(super) struct Padding(pub(super) AtomicU32);

impl BatchObserver for Padding {
    fn batch(&self, _rows: u32, _requests: usize, _waited: Duration) {}

    fn padded(&self, rows: u32) {
        self.0.fetch_add(rows, Relaxed);
    }

    fn copied(&self, _bytes: usize) {}

    fn panicked(&self) {}
}

#[test]
fn a_run_is_padded_to_the_next_size_and_gets_only_its_own_rows() {
    let model = Arc::new(Double { signatures: Vec::new(), runs: Mutex::default() });
    let observer = Arc::new(Padding::default());
    let sizes = BatchSizes::new(vec![2, 5], 5).expect("valid");
    let padded = PaddedModel::new(model.clone(), sizes, observer.clone());
    for rows in [1u32, 2, 3, 5, 12] {
        let values: Vec<f32> = (0..rows * 2).map(|value| value as f32).collect();
        let input = Tensor::new(vec![rows, 2], TensorType::Fp32, bytemuck::cast_slice(&values).to_vec());
        let (_, output) = padded.run(&[input]).expect("a run").remove(0);
        let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
        assert_eq!(output.dimensions, [rows, 2]);
        assert_eq!(bytemuck::cast_slice::<u8, f32>(&output.data), doubled, "{rows} rows");
    }
    assert_eq!(*model.runs.lock().expect("whole"), [2, 2, 5, 5, 5, 5, 2]);
    assert_eq!(observer.0.load(Relaxed), 1 + 2);
    assert!(padded.run(&numbers(0, 1.0)).is_err(), "no rows");
    // The error of a row is the error of its run, with or without padding.
    assert_eq!(padded.run(&numbers(1, -1.0)).err(), Some(RunError::backend("a negative number")));
}

/// Doubles each input, but computes wrongly in batches of one size.
struct WrongAt {
    size: u32,
    signatures: Vec<Signature>,
}

impl Model for WrongAt {
    fn inputs(&self) -> &[Signature] {
        &self.signatures
    }

    fn outputs(&self) -> &[Signature] {
        &self.signatures
    }

    fn concurrent_runs(&self) -> usize {
        1
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        let values: &[f32] = bytemuck::cast_slice(&inputs[0].data);
        let mut doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
        if let Some(last) = doubled.last_mut().filter(|_| inputs[0].dimensions[0] == self.size) {
            *last += 1e4;
        }
        let data = bytemuck::cast_slice(&doubled).to_vec();
        Ok(vec![("y".into(), Tensor::new(inputs[0].dimensions.clone(), inputs[0].ty, data))])
    }
}

#[test]
fn a_model_that_computes_wrongly_with_a_padded_size_is_refused() {
    let signature = Signature { name: "x".into(), types: vec![TensorType::Fp32], shape: Some(vec![None, Some(2)]) };
    let model = |size| WrongAt { size, signatures: vec![signature.clone()] };
    let sizes = BatchSizes::powers_of_two(64).expect("valid");
    assert_eq!(prepare_sizes(&model(3), &sizes).map(drop), Ok(()), "a size that is never run");
    for size in sizes.iter().skip(1) {
        let error = prepare_sizes(&model(size), &sizes).expect_err("refused").to_string();
        assert!(error.starts_with(&format!("batch size {size}: ")), "{error}");
    }
    // The check of rows alone does not find this.
    assert_eq!(check_rows(&model(16), 16, &RowProof::Separate).map(drop), Ok(()));
}
