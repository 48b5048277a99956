//! Puts the kernel's function `bpf_rdonly_cast` into the probes, where the kernel has it.
//!
//! The probes' reads of kernel structures are then plain loads instead of calls of a helper. The
//! loader (aya 0.14) cannot link kernel functions, so this is done in the object's bytes.

use weir_ebpf::field::CAST;

use super::btf::Btf;

/// Its name in the kernel's types.
pub(super) const FUNCTION: &str = "bpf_rdonly_cast";

/// Call of a helper: `BPF_JMP | BPF_CALL`, no registers, no offset; then the helper's number.
const HELPER: [u8; 4] = [0x85, 0, 0, 0];
/// Call of a kernel function: source register `BPF_PSEUDO_KFUNC_CALL`; then the function's BTF id.
const FUNCTION_CALL: [u8; 4] = [0x85, 0x20, 0, 0];
/// Bytes of an instruction; sections with code are aligned to it.
const INSTRUCTION: usize = 8;

/// What a cast needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cast {
    function: u32,
    /// BTF ids of the structures.
    pub(super) tcp_sock: u32,
    pub(super) task: u32,
}

impl Cast {
    /// `None` if this kernel cannot.
    pub(super) fn of(btf: &Btf) -> Option<Self> {
        Some(Self {
            function: btf.function(FUNCTION)?,
            tcp_sock: btf.structure("tcp_sock")?,
            task: btf.structure("task_struct")?,
        })
    }

    /// A copy of the object that calls the kernel's function.
    pub(super) fn link(&self, object: &[u8]) -> Vec<u8> {
        let mut linked = object.to_vec();
        let (instructions, _) = linked.as_chunks_mut::<INSTRUCTION>();
        let wanted = instruction(HELPER, CAST);
        for place in instructions.iter_mut().filter(|place| **place == wanted) {
            *place = instruction(FUNCTION_CALL, self.function);
        }
        linked
    }
}

fn instruction(call: [u8; 4], number: u32) -> [u8; INSTRUCTION] {
    let [a, b, c, d] = number.to_ne_bytes();
    [call[0], call[1], call[2], call[3], a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calls_that_stand_for_the_cast_are_replaced() {
        let cast = Cast {
            function: 7,
            tcp_sock: 1,
            task: 2,
        };
        let other = instruction(HELPER, 1);
        let object = [other, instruction(HELPER, CAST), other].concat();
        let linked = [other, instruction(FUNCTION_CALL, 7), other].concat();
        assert_eq!(cast.link(&object), linked);
    }

    #[test]
    fn the_probes_have_calls_to_replace() {
        let wanted = instruction(HELPER, CAST);
        let (instructions, _) = super::super::load::OBJECT.as_chunks::<INSTRUCTION>();
        let calls = instructions.iter().filter(|place| **place == wanted);
        assert!(calls.count() > 10);
    }
}
