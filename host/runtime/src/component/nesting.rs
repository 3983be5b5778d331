//! The limit on components in components, and on types of components in such types. The compiler needs memory and time with
//! the square of the depth, and some readers of components call themselves for each level, so a file of a few kilobytes could
//! take all of the stack, which ends the process, and one of a megabyte could take gigabytes. This reader does not call
//! itself for a level of types.

use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternName, ComponentImport, ComponentType, ComponentTypeRef, CoreType,
    Parser, Payload,
};

/// Maximum depth. Compositions of components have two or three levels.
const MAX_DEPTH: usize = 32;
/// The custom sections of a core module that have a component with the types of its interface.
pub(super) const COMPONENT_TYPE: &str = "component-type";

/// A file whose components are nested too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its components, or their types, are nested more than {MAX_DEPTH} levels deep; compose it of fewer levels")]
pub struct TooDeep;

/// Checks the depth of a component or module. Bytes that are not valid are accepted up to their first error: every reader
/// ends there, too.
///
/// # Errors
/// If it is nested too deep.
pub fn check(bytes: &[u8]) -> Result<(), TooDeep> {
    check_at(bytes, 0)
}

/// As [`check`], for bytes that are at a depth already.
fn check_at(bytes: &[u8], outer: usize) -> Result<(), TooDeep> {
    let mut depth = outer;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::Version { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            // It is parsed as a component.
            Ok(Payload::CustomSection(section)) if section.name().starts_with(COMPONENT_TYPE) => {
                check_at(section.data(), depth)?;
            }
            Ok(Payload::ComponentTypeSection(types)) => {
                let content = bytes.get(types.range()).unwrap_or_default();
                let mut reader = BinaryReader::new(content, 0);
                // A section that is not valid ends at its first error, also for the compiler.
                if let Ok(Err(too_deep)) = check_types(&mut reader, depth) {
                    return Err(too_deep);
                }
            }
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
        if depth > MAX_DEPTH {
            return Err(TooDeep);
        }
    }
    Ok(())
}

/// The first bytes of types that have declarations: of a component, and of an instance.
const WITH_DECLARATIONS: [u8; 2] = [0x41, 0x42];

/// Checks the types of a section
/// ([binary format](https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md)).
fn check_types(reader: &mut BinaryReader<'_>, outer: usize) -> wasmparser::Result<Result<(), TooDeep>> {
    // What is still to be read: the types of the section, then the declarations of each type that is open.
    let mut open = vec![reader.read_var_u32()?];
    while let Some(left) = open.last_mut() {
        let Some(fewer) = left.checked_sub(1) else {
            open.pop();
            continue;
        };
        *left = fewer;
        let is_type = open.len() == 1
            || match reader.read_u8()? {
                0x00 => reader.read::<CoreType<'_>>().map(|_| false)?,
                0x01 => true,
                0x02 => reader.read::<ComponentAlias<'_>>().map(|_| false)?,
                0x03 => reader.read::<ComponentImport<'_>>().map(|_| false)?,
                0x04 => {
                    reader.read::<ComponentExternName<'_>>()?;
                    reader.read::<ComponentTypeRef>().map(|_| false)?
                }
                _ => return Ok(Ok(())),
            };
        if !is_type {
            continue;
        }
        let mut ahead = reader.clone();
        if WITH_DECLARATIONS.contains(&ahead.read_u8()?) {
            open.push(ahead.read_var_u32()?);
            *reader = ahead;
        } else {
            reader.read::<ComponentType<'_>>()?;
        }
        if outer + open.len() > MAX_DEPTH {
            return Ok(Err(TooDeep));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn section(number: u8, mut content: Vec<u8>) -> Vec<u8> {
        let (mut length, mut bytes) = (content.len(), vec![number]);
        while length > 0x7F {
            bytes.push((length & 0x7F) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.append(&mut content);
        bytes
    }

    fn nested(depth: usize) -> Vec<u8> {
        (1..depth).fold(COMPONENT.to_vec(), |inner, _| [COMPONENT, &section(4, inner)].concat())
    }

    #[test]
    fn only_the_depth_counts() {
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(TooDeep));
        let siblings = section(4, nested(2)).repeat(500);
        assert_eq!(check(&[COMPONENT, &siblings].concat()), Ok(()));
        let described = |inner: Vec<u8>| {
            let name = [&[b"component-type:x".len() as u8][..], b"component-type:x"].concat();
            [b"\0asm\x01\0\0\0", &section(0, [name, inner].concat())[..]].concat()
        };
        assert_eq!(check(&described(nested(3))), Ok(()));
        assert_eq!(check(&described(nested(MAX_DEPTH + 1))), Err(TooDeep));
        // The custom section of a custom section, and so on, would be another way to nest.
        let chain = (0..500).fold(COMPONENT.to_vec(), |inner, _| described(inner));
        assert_eq!(check(&chain), Err(TooDeep));
        assert_eq!(check(b"no WebAssembly"), Ok(()));
    }

    #[test]
    fn types_in_types_count_too() {
        // Each level has one declaration: a type.
        let types = |kind: u8, levels: usize| {
            let content = [&[1][..], &[kind, 1, 1].repeat(levels), &[kind, 0]].concat();
            [COMPONENT, &section(7, content)].concat()
        };
        for kind in WITH_DECLARATIONS {
            assert_eq!(check(&types(kind, 20)), Ok(()));
            assert_eq!(check(&types(kind, 1_000_000)), Err(TooDeep));
            let inner = (0..20).fold(types(kind, 20), |inner, _| [COMPONENT, &section(4, inner)].concat());
            assert_eq!(check(&inner), Err(TooDeep), "20 components, and 20 types in the innermost");
        }
    }
}
