//! What dicts and sets refer to, and the attributes of objects and types, which are dicts or parts of them.

use super::{Edge, MAX_ITEMS, Seen, TAGS, WORD};
use crate::heap::word;
use crate::python::objects::Objects;
use crate::python::types::TypeInfo;

/// Offset of the managed dict's pointer before the object: the third word before it.
const MANAGED_DICT: u32 = 12;
/// Bytes of a dict's key table before its indices, and the offsets in it: of the binary logarithms of its sizes, of its
/// kind, and of the number of its entries.
const KEYS_HEADER: u32 = 20;
const KEYS_INDEX_BYTES: u32 = 5;
const KEYS_KIND: u32 = 6;
const KEYS_ENTRIES: u32 = 16;
/// Bytes before the values of a dict whose keys are shared, and the offset in them of the flag that says whether the
/// values are used.
const VALUES_HEADER: u32 = 4;
const VALUES_VALID: u32 = 3;
/// Bytes of a type's own fields from the end of `PyTypeObject` to the keys that its objects share.
const SHARED_KEYS_AFTER_TYPE: u32 = 232;

impl Objects<'_> {
    pub(super) fn entries(&self, dict: u32, is_namespace: bool, seen: &mut Seen<'_, '_>) {
        let offsets = &self.interpreter.offsets;
        let keys = self.at(dict, offsets.ma_keys).unwrap_or(0);
        let values = self.at(dict, offsets.ma_values).unwrap_or(0);
        seen.block(keys);
        seen.block(values);
        self.table(keys, (values != 0).then_some(values), is_namespace, seen);
    }

    /// The entries of a key table, whose values may be elsewhere.
    fn table(&self, keys: u32, values: Option<u32>, is_namespace: bool, seen: &mut Seen<'_, '_>) {
        let (Some(index_bytes), Some(kind), Some(count)) =
            (self.byte(keys, KEYS_INDEX_BYTES), self.byte(keys, KEYS_KIND), self.at(keys, KEYS_ENTRIES))
        else {
            return;
        };
        if index_bytes > 30 || kind > 2 || count > MAX_ITEMS || keys == 0 {
            return;
        }
        let Some(entries) = keys.checked_add(KEYS_HEADER + (1 << index_bytes)) else { return };
        // General tables have the hash before the key.
        let (size, key_at) = if kind == 0 { (12, 4) } else { (8, 0) };
        for index in self.counted(0..count) {
            let Some(key) = self.at(entries, index * size + key_at) else { break };
            let value = match values {
                Some(values) => self.at(values, VALUES_HEADER + index * WORD),
                None => self.at(entries, index * size + key_at + WORD),
            };
            let Some(value) = value.filter(|_| key != 0) else { continue };
            seen.edge(value, if is_namespace { Edge::Attribute(key) } else { Edge::Item(key) });
            // Keys that all objects of a class share belong to the class.
            if kind != 2 {
                seen.edge(key, Edge::Element);
            }
        }
    }

    pub(super) fn set(&self, set: u32, seen: &mut Seen<'_, '_>) {
        let offsets = &self.interpreter.offsets;
        let (Some(table), Some(mask)) = (self.at(set, offsets.set_table), self.at(set, offsets.set_mask)) else {
            return;
        };
        seen.block(table);
        if mask > MAX_ITEMS {
            return;
        }
        // An entry is a key and its hash.
        for index in self.counted(0..mask + 1) {
            let Some(key) = self.at(table, index * 2 * WORD) else { break };
            seen.edge(key, Edge::Element);
        }
    }

    /// The attributes of an object: in its dict, or in the object.
    pub(super) fn attributes(&self, object: u32, ty: &TypeInfo, seen: &mut Seen<'_, '_>) {
        if ty.has_managed_dict {
            let dict = object.checked_sub(MANAGED_DICT).and_then(|at| word(self.memory, at)).unwrap_or(0);
            seen.namespace(dict & !TAGS);
        } else if let Some(offset) = ty.dict_offset {
            seen.namespace(self.at(object, offset).unwrap_or(0));
        }
        if !ty.has_inline_values {
            return;
        }
        let values = object.saturating_add(ty.basic_size);
        let shared = self.at(object, self.interpreter.offsets.ob_type).and_then(|ty| self.shared_keys(ty));
        if let Some(keys) = shared.filter(|_| self.byte(values, VALUES_VALID).is_some_and(|valid| valid != 0)) {
            self.table(keys, Some(values), true, seen);
        }
    }

    /// The keys that the objects of a type share.
    fn shared_keys(&self, ty: u32) -> Option<u32> {
        let keys = self.at(ty, self.interpreter.offsets.type_size + SHARED_KEYS_AFTER_TYPE)?;
        (keys != 0 && self.byte(keys, KEYS_KIND)? == 2).then_some(keys)
    }

    /// What a type has in addition to its members: its attributes, and its other fields.
    pub(super) fn type_object(&self, ty: u32, seen: &mut Seen<'_, '_>) {
        // `tp_dict` is the word after the base.
        let dict = self.at(ty, self.interpreter.layout.base.saturating_add(WORD)).unwrap_or(0);
        seen.namespace(dict);
        if let Some(keys) = self.shared_keys(ty) {
            seen.block(keys);
        }
    }
}
