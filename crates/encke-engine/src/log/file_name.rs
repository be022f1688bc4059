//! The names of the store's files: segments and their indexes by number.

/// The name of a segment's file.
pub(super) fn file_name(number: u32) -> String {
    format!("{number:010}.log")
}

/// The segment that a file of this name is, if it is one.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".log")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// The name of a segment's index file.
pub(super) fn index_name(number: u32) -> String {
    format!("{number:010}.idx")
}

/// The segment whose index file has this name, if it is one.
pub(super) fn index_of(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".idx")?.parse().ok()?;
    (index_name(number) == name).then_some(number)
}
