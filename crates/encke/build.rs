//! Lists the files of the browser client and of the console for the server, which has them built in. Where
//! esbuild was installed (`npm ci --prefix clients/js`), the single files of the client are made as well;
//! without it the server serves its modules as they lie there. Nothing is fetched here.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> io::Result<()> {
    // Where the package lies now: this program may have been built when it lay elsewhere.
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let client = package.join("../../clients/js").canonicalize()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let sources = ["served.js", "served-global.js", "encke.js", "short-texts.js", "build.js", "client"];
    for source in sources {
        println!("cargo::rerun-if-changed={}", client.join(source).display());
    }
    let mut table = String::new();
    list(&mut table, "MODULES", &files(&client.join("client"))?);
    let esbuild = client.join("node_modules/esbuild/package.json");
    let built = if esbuild.exists() {
        println!("cargo::rerun-if-changed={}", esbuild.display());
        bundle(&client, &out.join("client"))?;
        files(&out.join("client"))?
    } else {
        // The folder changes when something is installed into it.
        println!("cargo::rerun-if-changed={}", client.display());
        if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
            println!(
                "cargo::warning=the browser client is built in as modules: `npm ci --prefix clients/js` makes it one compressed file"
            );
        }
        Vec::new()
    };
    list(&mut table, "BUILT", &built);
    let entry = client.join("served.js");
    writeln!(table, "const ENTRY: &str = include_str!({entry:?});").map_err(io::Error::other)?;
    fs::write(out.join("client_files.rs"), table)?;
    console(&package, &out)
}

/// The modules of the console, which are served as they lie there.
fn console(package: &Path, out: &Path) -> io::Result<()> {
    let folder = package.join("web/console");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut table = String::new();
    list(&mut table, "CONSOLE_MODULES", &files(&folder)?);
    fs::write(out.join("console_files.rs"), table)
}

/// Makes the single files.
fn bundle(client: &Path, folder: &Path) -> io::Result<()> {
    let made = Command::new("node").arg(client.join("build.js")).arg("served").arg(folder).status()?;
    if made.success() { Ok(()) } else { Err(io::Error::other("clients/js/build.js failed")) }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Writes a list of names and contents.
fn list(table: &mut String, name: &str, files: &[PathBuf]) {
    let entries: String = files
        .iter()
        .filter_map(|file| Some(format!("    ({:?}, include_bytes!({file:?})),\n", file.file_name()?)))
        .collect();
    table.push_str(&format!("const {name}: &[(&str, &[u8])] = &[\n{entries}];\n"));
}
