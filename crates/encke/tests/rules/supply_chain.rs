//! Libraries are those that they seem: each has its version and its sum in the lock file and comes from the
//! registry, and `deny.toml` lets nothing else in. The browser client has none at all.

use crate::tree;

/// The packages of a lock file that are neither of the repository nor of a registry with a sum. Which
/// registry that is, `deny.toml` rules.
fn unlocked(lock: &str) -> Vec<&str> {
    let packages = lock.split("[[package]]\n").skip(1);
    let field = |package: &str, name: &str| package.lines().any(|line| line.starts_with(name));
    let is_own = |package: &str| !field(package, "source = ");
    let is_locked =
        |package: &str| field(package, "source = \"registry+https://") && field(package, "checksum = \"");
    packages.filter(|package| !is_own(package) && !is_locked(package)).collect()
}

#[test]
fn t33_libraries_are_locked_and_the_browser_client_has_none() {
    let read = |path: &str| std::fs::read_to_string(tree::root().join(path)).unwrap();
    let lock = read("Cargo.lock");
    assert!(lock.matches("checksum = ").count() > 100, "it is not the lock file");
    assert_eq!(unlocked(&lock), [""; 0]);
    let own = lock.split("[[package]]\n").skip(1).filter(|package| !package.contains("\nsource = "));
    let own: Vec<&str> = own.filter_map(|package| package.split('"').nth(1)).collect();
    assert!(own.iter().all(|name| name.starts_with("encke")), "{own:?}");
    let deny = read("deny.toml");
    for line in ["unknown-registry = \"deny\"", "unknown-git = \"deny\"", "wildcards = \"deny\""] {
        assert!(deny.lines().any(|has| has == line), "{line}");
    }
    let client = read("clients/js/package.json");
    assert!(client.contains("\"name\": \"encke\"") && client.contains("\"devDependencies\": {"));
    for kind in ["dependencies", "peerDependencies", "optionalDependencies", "bundledDependencies"] {
        assert!(!client.contains(&format!("\"{kind}\"")), "{kind}");
    }
}

#[test]
fn a_library_from_elsewhere_is_found() {
    let package =
        |source: &str, sum: &str| format!("version = 4\n\n[[package]]\nname = \"a\"\n{source}{sum}\n");
    let registry = "source = \"registry+https://index.example/\"\n";
    assert_eq!(unlocked(&package("", "")), [""; 0], "one of its own");
    assert_eq!(unlocked(&package(registry, "checksum = \"00\"\n")), [""; 0]);
    assert_eq!(unlocked(&package(registry, "")).len(), 1);
    assert_eq!(unlocked(&package("source = \"git+https://a.example/a\"\n", "checksum = \"00\"\n")).len(), 1);
}
