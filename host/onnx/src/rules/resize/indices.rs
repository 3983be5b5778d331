//! The elements that a resize to the nearest element takes along one axis.

/// Coordinates that are closer than this to a tie are ties for onnxruntime 1.32.
pub(super) const TIE: f32 = 1e-6;

/// The attribute `coordinate_transformation_mode`.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Coordinates {
    HalfPixel,
    PytorchHalfPixel,
    Asymmetric,
    AlignCorners,
}

impl Coordinates {
    /// By name; others are rejected before.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "asymmetric" => Self::Asymmetric,
            "align_corners" => Self::AlignCorners,
            "pytorch_half_pixel" => Self::PytorchHalfPixel,
            _ => Self::HalfPixel,
        }
    }

    /// The coordinate of a place (ONNX operator specification, Resize). `divide` divides by the scale.
    fn original(self, place: f32, size: i64, length: i64, divide: impl Fn(f32) -> f32) -> f32 {
        match self {
            Self::PytorchHalfPixel if length <= 1 => 0.0,
            Self::HalfPixel | Self::PytorchHalfPixel => divide(place + 0.5) - 0.5,
            Self::Asymmetric => divide(place),
            Self::AlignCorners if length <= 1 => 0.0,
            Self::AlignCorners => place * (size - 1) as f32 / (length - 1) as f32,
        }
    }
}

/// The attribute `nearest_mode`.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

impl Rounding {
    /// By name; the engine rejects others.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "floor" => Self::Floor,
            "ceil" => Self::Ceil,
            "round_prefer_ceil" => Self::PreferCeil,
            _ => Self::PreferFloor,
        }
    }

    fn round(self, coordinate: f32, tie: f32) -> f32 {
        let floor = coordinate.floor();
        let beyond = coordinate - floor - 0.5;
        match self {
            Self::Floor => floor,
            Self::Ceil => coordinate.ceil(),
            Self::PreferFloor if beyond.abs() < tie || beyond <= 0.0 => floor,
            Self::PreferCeil if beyond.abs() >= tie && beyond < 0.0 => floor,
            Self::PreferFloor | Self::PreferCeil => floor + 1.0,
        }
    }
}

/// What is known about an axis before the model runs.
pub(super) struct Axis {
    /// The size before.
    pub(super) size: Option<i64>,
    /// The size after.
    pub(super) length: Option<i64>,
    /// The factor.
    pub(super) scale: Option<f32>,
    /// True if the node states sizes instead of scales.
    pub(super) is_by_size: bool,
}

impl Axis {
    /// The elements to take: as onnxruntime computes them, or as the engine does. `None` if sizes are not known.
    pub(super) fn indices(&self, coordinates: Coordinates, rounding: Rounding, by_engine: bool) -> Option<Vec<i64>> {
        let (size, length, scale) = (self.size?, self.length?, self.scale?);
        // Long lists are not worth the memory of a constant.
        if size < 1 || !(0..1 << 20).contains(&length) {
            return None;
        }
        let inverse = if self.is_by_size { size as f32 / length as f32 } else { 1.0 / scale };
        let divide = |number: f32| if by_engine { inverse * number } else { number / scale };
        let tie = if by_engine { f32::MIN_POSITIVE } else { TIE };
        let last = (size - 1) as f32;
        let index = |place: i64| {
            let coordinate = coordinates.original(place as f32, size, length, divide);
            let coordinate = if by_engine { coordinate.clamp(0.0, last) } else { coordinate };
            rounding.round(coordinate, tie).clamp(0.0, last) as i64
        };
        Some((0..length).map(index).collect())
    }

    /// True if the axis keeps its elements.
    pub(super) fn is_unchanged(&self) -> bool {
        self.scale == Some(1.0) || self.is_by_size && self.size.is_some() && self.size == self.length
    }

    /// True if the inverse of the scale is exact, so that it does not matter whether to divide or to multiply: a power of
    /// two that is not extreme.
    pub(super) fn has_exact_scale(&self) -> bool {
        self.scale.is_some_and(|scale| scale.to_bits() << 9 == 0 && (1.0 / 1_024.0..=1_024.0).contains(&scale))
    }

    /// True if the node may keep the size although its scale is not 1. Then its elements may differ from the input's.
    pub(super) fn may_keep_size(&self) -> bool {
        match (self.size, self.length, self.scale) {
            (Some(size), Some(length), _) => size == length,
            // From two elements on, a scale of 1.5 adds at least one; smaller scales remove at least one.
            (_, _, Some(scale)) => (1.0..1.5).contains(&scale),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(size: i64, length: i64) -> Axis {
        let scale = Some(length as f32 / size as f32);
        Axis { size: Some(size), length: Some(length), scale, is_by_size: true }
    }

    #[test]
    fn ties_are_those_of_onnxruntime() {
        // Measured with onnxruntime 1.32: element 9 of 14 → 19 and element 15 of 14 → 31 are ties.
        let of = |size, length, rounding| axis(size, length).indices(Coordinates::HalfPixel, rounding, false);
        assert_eq!(of(14, 19, Rounding::PreferFloor).expect("known")[9], 6);
        assert_eq!(of(14, 31, Rounding::PreferFloor).expect("known")[15], 6);
        assert_eq!(of(14, 1, Rounding::PreferCeil), Some(vec![7]));
        assert_eq!(of(4, 8, Rounding::Floor), Some(vec![0, 0, 0, 1, 1, 2, 2, 3]));
        let asymmetric = axis(7, 2).indices(Coordinates::Asymmetric, Rounding::PreferCeil, false);
        assert_eq!(asymmetric, Some(vec![0, 4]));
        assert_eq!(axis(7, 2).indices(Coordinates::Asymmetric, Rounding::PreferCeil, true), Some(vec![0, 4]));
        // The engine takes other elements for some sizes.
        let of = |length, by_engine| axis(14, length).indices(Coordinates::HalfPixel, Rounding::Floor, by_engine);
        assert!((1..90).any(|length| of(length, true) != of(length, false)));
    }
}
