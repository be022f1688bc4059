//! The files of the repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A text file.
#[derive(Clone, Debug)]
pub struct Source {
    /// From the root of the repository, with `/` between its parts.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// Folders with files that are not the repository's own.
const FOREIGN: [&str; 3] = ["target", "node_modules", "artifacts"];
/// How deep folders are looked into.
const DEPTH_MAX: usize = 16;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All files whose name ends in one of these, in the order of their paths.
pub fn files(endings: &[&str]) -> Vec<Source> {
    let (root, mut paths) = (root(), Vec::new());
    walk(&root, DEPTH_MAX, &mut paths);
    paths.sort();
    let wanted = |path: &&PathBuf| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending));
    let source = |path: &PathBuf| Source {
        path: path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(path).unwrap(),
    };
    let files: Vec<Source> = paths.iter().filter(wanted).map(source).collect();
    // A rule that looks at nothing finds nothing.
    assert!(!files.is_empty(), "no file ends in {endings:?}");
    files
}

fn walk(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) {
    assert!(depth > 0, "{} is too deep", folder.display());
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (kind, name) = (entry.file_type().unwrap(), entry.file_name().to_string_lossy().into_owned());
        if kind.is_dir() {
            if !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
                walk(&entry.path(), depth - 1, paths);
            }
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
}
