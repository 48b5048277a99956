//! Values of the kernel maps and the records, as both sides see them.

mod change;
mod loss;
mod owner;
pub mod shared;
mod socket;
mod stats;

pub use change::*;
pub use loss::*;
pub use owner::*;
pub use socket::*;
pub use stats::*;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::FACTS;

    #[test]
    fn layouts_have_no_padding() {
        assert_eq!(size_of::<Socket>(), 5 * 8 + size_of::<Flow>() + 5 * 4 + 4);
        assert_eq!(size_of::<Seed>(), size_of::<Flow>() + 8);
        assert_eq!(
            size_of::<Listener>(),
            size_of::<OwnerKey>() + size_of::<Owner>()
        );
        assert_eq!(size_of::<OwnerRecord>(), 16 + size_of::<Listener>());
        assert_eq!(size_of::<ChangeRecord>(), 16 + 8);
        assert_eq!(size_of::<Told>(), 8 * FACTS);
        assert_eq!(size_of::<Thread>(), 40);
        assert_eq!(size_of::<Stats>() % 8, 0);
    }
}
