//! The program `encke`; see [`encke::cli`].

fn main() -> std::process::ExitCode {
    encke::cli::main()
}
