//! Field offsets from the running kernel's BTF, in one pass over its types.
//!
//! Format: Documentation/bpf/btf.rst of the kernel. Anything malformed reads as "not there".

use std::collections::HashMap;
use std::ops::Range;

use weir_ebpf::field::{Bits, Fields, Place};

/// Where the kernel shows its own BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;

/// What is needed of a kernel's BTF.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    /// Where in `data` the types are, and the strings.
    types: Range<usize>,
    strings: Range<usize>,
    /// Offset of each type in `data`; index is the type id.
    starts: Vec<u32>,
    /// Ids of the named structures.
    structs: HashMap<&'static str, u32>,
    /// Ids of the functions that were asked for.
    functions: HashMap<&'static str, u32>,
    /// Ids of the tracepoints' types that were asked for.
    tracepoints: HashMap<&'static str, u32>,
}

/// A member found in a structure.
#[derive(Clone, Copy, Debug)]
struct Member {
    bit: u32,
    /// Width of a bit field, 0 for a plain member.
    width: u32,
    type_id: u32,
}

impl Btf {
    /// Reads the types once. `structs` and `hooks` (functions and tracepoints) are the names to look
    /// out for.
    pub fn parse(
        data: Vec<u8>,
        structs: &[&'static str],
        hooks: &[&'static str],
    ) -> Result<Self, &'static str> {
        let word = |at: usize| u32_at(&data, at).map(|value| value as usize);
        let header = word(4)
            .zip(word(8))
            .zip(word(12))
            .zip(word(16))
            .zip(word(20));
        let Some(((((length, type_at), type_len), string_at), string_len)) = header else {
            return Err("it is shorter than its header");
        };
        if data.get(..2) != Some(&MAGIC.to_ne_bytes()[..]) {
            return Err("it does not begin with BTF's mark");
        }
        let section = |at: usize, len: usize| {
            let begin = length.checked_add(at)?;
            let end = begin.checked_add(len).filter(|end| *end <= data.len())?;
            Some(begin..end)
        };
        let mut btf = Self {
            types: section(type_at, type_len).ok_or("its types are cut off")?,
            strings: section(string_at, string_len).ok_or("its strings are cut off")?,
            data,
            starts: Vec::with_capacity(type_len / 28),
            structs: HashMap::new(),
            functions: HashMap::new(),
            tracepoints: HashMap::new(),
        };
        btf.scan(structs, hooks);
        Ok(btf)
    }

    fn scan(&mut self, structs: &[&'static str], hooks: &[&'static str]) {
        let mut at = self.types.start;
        self.starts.push(0);
        while at < self.types.end
            && let (Some(name), Some(info)) = (self.word(at), self.word(at + 4))
        {
            let id = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
            self.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let wanted = match kind {
                STRUCT => structs,
                TYPEDEF | FUNC => hooks,
                _ => &[],
            };
            if !wanted.is_empty() {
                let name = self.name(name);
                // A tracepoint's type is called btf_trace_NAME.
                let name = match kind {
                    TYPEDEF => name.strip_prefix(b"btf_trace_").unwrap_or_default(),
                    _ => name,
                };
                if let Some(known) = wanted.iter().find(|known| known.as_bytes() == name) {
                    let found = match kind {
                        STRUCT => &mut self.structs,
                        TYPEDEF => &mut self.tracepoints,
                        _ => &mut self.functions,
                    };
                    found.entry(known).or_insert(id);
                }
            }
            at += 12 + extra(kind, count);
        }
    }

    /// Fills in every field that the kernel has.
    pub fn fields(&self) -> Fields {
        let mut fields = Fields::NONE;
        for (owner, path, place) in fields.places() {
            let Some(member) = self.find(owner, path) else {
                continue;
            };
            match place {
                Place::Offset(offset) if member.bit % 8 == 0 => *offset = member.bit / 8,
                Place::Bits(bits) if (1..=8).contains(&member.width) => {
                    *bits = Bits {
                        byte: member.bit / 8,
                        shift: member.bit % 8,
                        mask: (1 << member.width) - 1,
                    }
                }
                // A whole byte in place of a bit field, or the other way round.
                Place::Bits(bits) if member.width == 0 => {
                    *bits = Bits {
                        byte: member.bit / 8,
                        shift: 0,
                        mask: 0xff,
                    }
                }
                Place::Offset(_) | Place::Bits(_) => {}
            }
        }
        fields
    }

    /// Whether the kernel has this function.
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.contains_key(name)
    }

    /// Type id of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.get(name).copied()
    }

    /// Type id of a structure.
    pub fn structure(&self, name: &str) -> Option<u32> {
        self.structs.get(name).copied()
    }

    /// Number of arguments of a tracepoint, if the kernel has it.
    pub fn tracepoint(&self, name: &str) -> Option<u32> {
        // typedef → pointer → function; its first parameter is the tracepoint's own data.
        let pointer = self.referred(*self.tracepoints.get(name)?)?;
        let function = self.referred(pointer)?;
        let (_, count, _) = self.head(function)?;
        u32::try_from(count).ok()?.checked_sub(1)
    }

    fn find(&self, owner: &str, path: &str) -> Option<Member> {
        let mut type_id = *self.structs.get(owner)?;
        let mut bit = 0;
        let mut found = None;
        for name in path.split('.') {
            let member = self.member(type_id, name, 8)?;
            bit += member.bit;
            type_id = member.type_id;
            found = Some(Member { bit, ..member });
        }
        found
    }

    /// Looks a member up, also inside of unnamed structures and unions.
    fn member(&self, type_id: u32, name: &str, depth: u32) -> Option<Member> {
        let (kind, count, is_packed) = self.head(self.resolve(type_id)?)?;
        if !matches!(kind, STRUCT | UNION) || depth == 0 {
            return None;
        }
        let start = *self.starts.get(self.resolve(type_id)? as usize)? as usize + 12;
        for index in 0..count {
            let at = start + index * 12;
            let member_name = self.name(self.word(at)?);
            let member_type = self.word(at + 4)?;
            let offset = self.word(at + 8)?;
            let (bit, width) = if is_packed {
                (offset & 0xff_ffff, offset >> 24)
            } else {
                (offset, 0)
            };
            if member_name == name.as_bytes() {
                return Some(Member {
                    bit,
                    width,
                    type_id: member_type,
                });
            }
            if member_name.is_empty()
                && let Some(inner) = self.member(member_type, name, depth - 1)
            {
                return Some(Member {
                    bit: bit + inner.bit,
                    ..inner
                });
            }
        }
        None
    }

    /// Follows typedefs and qualifiers to the type itself.
    fn resolve(&self, mut type_id: u32) -> Option<u32> {
        const CONST_LIKE: [u32; 5] = [TYPEDEF, 9, 10, 11, 18];
        for _ in 0..16 {
            let (kind, _, _) = self.head(type_id)?;
            if !CONST_LIKE.contains(&kind) {
                return Some(type_id);
            }
            type_id = self.referred(type_id)?;
        }
        None
    }

    fn word(&self, at: usize) -> Option<u32> {
        u32_at(&self.data, at)
    }

    fn name(&self, at: u32) -> &[u8] {
        let strings = self.data.get(self.strings.clone()).unwrap_or_default();
        let rest = strings.get(at as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn referred(&self, type_id: u32) -> Option<u32> {
        self.word(*self.starts.get(type_id as usize)? as usize + 8)
    }

    /// Kind, number of elements, and whether members carry bit field widths.
    fn head(&self, type_id: u32) -> Option<(u32, usize, bool)> {
        if type_id == 0 {
            return None;
        }
        let info = self.word(*self.starts.get(type_id as usize)? as usize + 4)?;
        Some((info >> 24 & 0x1f, (info & 0xffff) as usize, info >> 31 == 1))
    }
}

/// Bytes that follow a type's 12 common ones.
fn extra(kind: u32, count: usize) -> usize {
    match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        STRUCT | UNION | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        _ => 0,
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_running_kernel_has_the_fields_that_matter() {
        let Ok(data) = std::fs::read(VMLINUX) else {
            eprintln!("SKIP no {VMLINUX}");
            return;
        };
        let mut fields = Fields::NONE;
        let structs: Vec<_> = fields.places().map(|(owner, ..)| owner).collect();
        let btf = Btf::parse(data, &structs, &["tcp_sendmsg", "tcp_probe"]).unwrap();
        let fields = btf.fields();
        assert_eq!(
            fields.sk_num, 14,
            "skc_num follows the addresses and the peer's port"
        );
        assert_ne!(fields.snd_una, weir_ebpf::field::ABSENT);
        assert_ne!(fields.cb_gso_segs, weir_ebpf::field::ABSENT);
        assert_ne!(fields.sk_write_queue_len, weir_ebpf::field::ABSENT);
        assert!(
            [3, 255].contains(&fields.chrono_type.mask),
            "two bits, or a byte of its own"
        );
        assert_eq!(fields.snd_wscale.mask, 15);
        assert!(btf.has_function("tcp_sendmsg"));
        assert_eq!(btf.tracepoint("tcp_probe"), Some(2));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut data: Vec<u8>, mark: bool) {
            if mark && data.len() > 2 {
                data[..2].copy_from_slice(&MAGIC.to_ne_bytes());
            }
            if let Ok(btf) = Btf::parse(data, &["sock"], &["f"]) {
                btf.fields();
                btf.tracepoint("f");
            }
        }
    }
}
