//! What a changed model is made of: the operators and attributes of ONNX, and numbers that follow from a seed.

use rten_onnx::onnx::DataType;

pub(super) const OPERATORS: &str = "Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Attention AveragePool \
    BatchNormalization BitCast BitShift Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Compress Concat \
    ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos CumSum DeformConv DepthToSpace \
    DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU \
    Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GridSample GroupNormalization \
    HardSigmoid Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less Log \
    LogSoftmax Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean \
    MeanVarianceNormalization Min Mod Mul Multinomial Neg NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not \
    OneHot Optional Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN RandomNormal \
    RandomNormalLike RandomUniform Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax \
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign \
    RotaryEmbedding Round STFT Scan Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty \
    SequenceErase SequenceInsert SequenceLength Shape Shrink Sigmoid Sign Size Slice Softmax SoftmaxCrossEntropyLoss \
    Softplus SpaceToDepth Split SplitToSequence Sqrt Squeeze StringConcat StringSplit Sub Sum Swish Tanh \
    TensorScatter ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor";

/// Attributes with one number, with a list of numbers, and with a text.
pub(super) const NUMBERS: &str = "axis keepdims to number start end noop_with_empty_axes dtype value_int ceil_mode \
    select_last_index largest sorted hidden_size group blocksize block_size batch_dims allowzero align_corners \
    exclusive reverse exclude_outside saturate count_include_pad storage_order transA transB num_outputs upper k \
    is_causal q_num_heads kv_num_heads stash_type training_mode output_dtype new_axis fmod layout p seed \
    num_scan_inputs";
pub(super) const LISTS: &str = "axes shape strides pads dilations kernel_shape perm value_ints output_shape \
    output_padding starts ends split scan_input_axes scan_output_axes scan_input_directions block_shape image_shape";
pub(super) const TEXTS: &str = "auto_pad=VALID auto_pad=SAME_UPPER auto_pad=SAME_LOWER auto_pad=NOTSET mode=nearest \
    mode=linear mode=cubic mode=reflect mode=edge mode=wrap mode=DCR mode=CRD nearest_mode=floor nearest_mode=ceil \
    coordinate_transformation_mode=asymmetric coordinate_transformation_mode=align_corners \
    coordinate_transformation_mode=tf_crop_and_resize coordinate_transformation_mode=pytorch_half_pixel \
    direction=reverse direction=bidirectional direction=LEFT reduction=add reduction=max reduction=none \
    equation=ij,jk->ik keep_aspect_ratio_policy=not_larger keep_aspect_ratio_policy=not_smaller approximate=tanh \
    activations=Relu";
pub(super) const FLOATS: &str =
    "alpha beta epsilon value_float extrapolation_value cubic_coeff_a ratio clip scale softcap momentum";

const SPECIAL: [i64; 22] = [
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    8,
    13,
    -2,
    -4,
    63,
    64,
    65,
    255,
    1 << 31,
    1 << 32,
    1 << 53,
    1 << 62,
    i32::MAX as i64,
    i64::MAX,
    i64::MIN,
];

/// Numbers that follow from a seed (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    pub(super) fn number(&mut self) -> i64 {
        if self.below(2) == 0 { self.below(7) as i64 - 2 } else { SPECIAL[self.below(SPECIAL.len())] }
    }

    pub(super) fn float(&mut self) -> f32 {
        let choices = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-30, 3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        if self.below(3) == 0 { self.number() as f32 } else { choices[self.below(choices.len())] }
    }

    pub(super) fn numbers(&mut self) -> Vec<i64> {
        (0..self.below(6)).map(|_| self.number()).collect()
    }

    pub(super) fn word<'a>(&mut self, words: &'a str) -> &'a str {
        let words: Vec<&str> = words.split_whitespace().collect();
        words[self.below(words.len())]
    }

    pub(super) fn ty(&mut self) -> DataType {
        // Mostly FLOAT, INT64 and BOOL, so that nodes fit together.
        let types = [1, 1, 1, 7, 7, 6, 9, 3, 2, 10, 11];
        DataType(if self.below(4) == 0 { self.below(26) as i32 } else { types[self.below(types.len())] })
    }
}
