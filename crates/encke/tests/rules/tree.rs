//! The files of the repository.

use std::{
    fs,
    io::Read,
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
const FOREIGN: [&str; 4] = ["target", "node_modules", "artifacts", "dist"];
/// How deep folders are looked into.
const DEPTH_MAX: usize = 16;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All files whose name ends in one of these, in the order of their paths.
pub fn files(endings: &[&str]) -> Vec<Source> {
    let wanted = |path: &str| endings.iter().any(|ending| path.ends_with(ending));
    let files: Vec<Source> = paths().into_iter().filter(|path| wanted(path)).map(read).collect();
    // A rule that looks at nothing finds nothing.
    assert!(!files.is_empty(), "no file ends in {endings:?}");
    files
}

/// All scripts that have no ending: they begin with the name of their interpreter.
pub fn scripts() -> Vec<Source> {
    let has_ending = |path: &str| path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    let is_script = |path: &String| {
        let mut begins = [0; 2];
        let file = fs::File::open(root().join(path));
        file.and_then(|mut file| file.read_exact(&mut begins)).is_ok() && begins == *b"#!"
    };
    let scripts: Vec<Source> =
        paths().into_iter().filter(|path| !has_ending(path) && is_script(path)).map(read).collect();
    assert!(!scripts.is_empty(), "no file is a script");
    scripts
}

/// All files, from the root of the repository, in their order.
fn paths() -> Vec<String> {
    let (root, mut paths) = (root(), Vec::new());
    walk(&root, DEPTH_MAX, &mut paths);
    let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
    let mut paths: Vec<String> = paths.iter().map(relative).collect();
    paths.sort();
    paths
}

fn read(path: String) -> Source {
    let text = fs::read_to_string(root().join(&path)).unwrap();
    Source { path, text }
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
