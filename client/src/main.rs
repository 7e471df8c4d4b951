//! The laptop program. See `client --help`.

fn main() -> std::process::ExitCode {
    client::flags::run()
}
