//! A list that needs no allocation while it has at most one item, as nearly all lists of members and of a
//! user's sessions have.

use std::ops::{Deref, DerefMut};

/// A list that is nearly always of one: such a one is held in place, and costs nothing besides. More are held
/// in an array, as anywhere.
#[derive(Debug, Default)]
pub(crate) enum OneOrMany<T> {
    #[default]
    None,
    One(T),
    Many(Box<Many<T>>),
}

/// Behind a pointer, so that the list of one is no larger for it.
#[derive(Debug)]
pub(crate) struct Many<T>(Vec<T>);

impl<T> OneOrMany<T> {
    pub(crate) fn push(&mut self, item: T) {
        if let Self::Many(many) = self {
            return many.0.push(item);
        }
        *self = match std::mem::take(self) {
            Self::One(first) => Self::Many(Box::new(Many(vec![first, item]))),
            _ => Self::One(item),
        };
    }

    /// Takes the item at `index` out, if there is one; the last takes its place.
    pub(crate) fn swap_remove(&mut self, index: usize) -> Option<T> {
        self.take(index, Vec::swap_remove)
    }

    /// Takes the first item out that fits, and leaves the others in their order.
    pub(crate) fn remove_first(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let index = self.iter().position(fits)?;
        self.take(index, Vec::remove)
    }

    fn take(&mut self, index: usize, take: impl FnOnce(&mut Vec<T>, usize) -> T) -> Option<T> {
        if index >= self.len() {
            return None;
        }
        let Self::Many(many) = self else {
            return match std::mem::take(self) {
                Self::One(item) => Some(item),
                _ => None,
            };
        };
        let taken = take(&mut many.0, index);
        let length = many.0.len();
        if length <= 1 {
            *self = many.0.pop().map_or(Self::None, Self::One);
        } else if many.0.capacity() / 4 > length {
            // Memory for a crowd is not kept for the few who are left of it.
            many.0.shrink_to(2 * length);
        }
        Some(taken)
    }
}

impl<T> Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(many) => &many.0,
        }
    }
}

impl<T> DerefMut for OneOrMany<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::None => &mut [],
            Self::One(item) => std::slice::from_mut(item),
            Self::Many(many) => &mut many.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Push(u8),
        SwapRemove(usize),
        RemoveFirst(u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => any::<u8>().prop_map(Act::Push),
            3 => (0..6_usize).prop_map(Act::SwapRemove),
            1 => any::<u8>().prop_map(Act::RemoveFirst)
        ]
    }

    proptest! {
        #[test]
        fn it_is_what_an_array_would_be(acts in vec(act(), 0..60)) {
            let (mut one_or_many, mut array) = (OneOrMany::default(), Vec::new());
            for act in acts {
                match act {
                    Act::Push(item) => {
                        one_or_many.push(item);
                        array.push(item);
                    }
                    Act::SwapRemove(index) => {
                        let removed = (index < array.len()).then(|| array.swap_remove(index));
                        prop_assert_eq!(one_or_many.swap_remove(index), removed);
                    }
                    Act::RemoveFirst(least) => {
                        let found = array.iter().position(|item| *item >= least);
                        let removed = found.map(|index| array.remove(index));
                        prop_assert_eq!(one_or_many.remove_first(|item| *item >= least), removed);
                    }
                }
                prop_assert_eq!(&*one_or_many, &*array);
                let is_array = matches!(one_or_many, OneOrMany::Many(_));
                prop_assert_eq!(is_array, array.len() > 1, "one needs no array");
            }
        }
    }

    #[test]
    fn a_crowd_leaves_no_room_behind() {
        let mut one_or_many = OneOrMany::default();
        (0..1000).for_each(|item| one_or_many.push(item));
        assert!((0..996).all(|_| one_or_many.swap_remove(0).is_some()));
        let OneOrMany::Many(many) = &mut one_or_many else { panic!("there are four") };
        assert!(many.0.capacity() <= 20, "{}", many.0.capacity());
        many.0.iter_mut().for_each(|item| *item += 1);
        one_or_many.iter_mut().for_each(|item| *item -= 1);
        assert_eq!(one_or_many.len(), 4);
    }
}
