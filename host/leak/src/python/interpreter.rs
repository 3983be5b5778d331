//! The interpreter in linear memory: where its state is, and what its types look like.

use super::later;
use super::offsets::{Offsets, Table, Version};
use super::type_layout::{Start, TypeLayout};
use crate::heap::word;

/// Whether linear memory has an interpreter, and whether its objects can be read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Python {
    /// No interpreter.
    None,
    /// An interpreter of a version that is not known.
    Unknown(Version),
    /// An interpreter whose objects can be read.
    Known(Interpreter),
}

/// An interpreter whose objects can be read. All addresses are constant during the life of an instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interpreter {
    /// The version.
    pub(crate) version: Version,
    pub(super) offsets: Offsets,
    /// The state of the main interpreter.
    pub(super) state: u32,
    /// The type `type`.
    pub(super) type_type: u32,
    pub(super) layout: TypeLayout,
}

impl Python {
    /// Searches for an interpreter.
    pub(crate) fn find(memory: &[u8]) -> Self {
        match Table::find(memory) {
            Table::None => Self::None,
            Table::Other(version) => Self::Unknown(version),
            Table::Found(version, runtime, offsets) => {
                Interpreter::read(memory, version, runtime, offsets).map_or(Self::Unknown(version), Self::Known)
            }
            Table::Later(version, runtime) => later::offsets(memory, runtime)
                .and_then(|offsets| Interpreter::read(memory, version, runtime, offsets))
                .map_or(Self::Unknown(version), Self::Known),
        }
    }

    /// Returns true if there is an interpreter of any version.
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The interpreter, if its objects can be read.
    pub(crate) fn known(&self) -> Option<Interpreter> {
        match self {
            Self::Known(interpreter) => Some(*interpreter),
            Self::None | Self::Unknown(_) => None,
        }
    }
}

impl Interpreter {
    /// Reads the addresses of the state. `None` if the values there are inconsistent, for example before the interpreter is
    /// initialised.
    fn read(memory: &[u8], version: Version, runtime: u32, offsets: Offsets) -> Option<Self> {
        let Start { state, dict_type, type_type, layout } = Start::read(memory, runtime, &offsets)?;
        // The size of `type` itself is that of its largest structure, which has all fields that are read.
        let dict_size = word(memory, dict_type.checked_add(layout.basic_size)?)?;
        (dict_size > offsets.ma_values).then_some(Self { version, offsets, state, type_type, layout })
    }

    /// The address of `sys.modules`.
    pub(super) fn modules(&self, memory: &[u8]) -> Option<u32> {
        word(memory, self.state.checked_add(self.offsets.modules)?)
    }
}
