//! What tests need besides Rust, installed where that is plainly wanted: as root, on a machine
//! with apt. Elsewhere it is only named.
//!
//! Nothing here fails the run. A test that misses its program says so itself.

use std::env;
use std::path::Path;
use std::process::Command;

/// A Debian package, and the sign by which we know that it is there, however it came.
struct Package {
    name: &'static str,
    sign: Sign,
}

enum Sign {
    /// A program of this name on the `PATH`.
    Program(&'static str),
    File(&'static str),
}

const PACKAGES: &[Package] = &[
    // The terminal UI runs in a real terminal.
    Package {
        name: "tmux",
        sign: Sign::Program("tmux"),
    },
    // A sender and an app that share no code with ours.
    Package {
        name: "curl",
        sign: Sign::Program("curl"),
    },
    Package {
        name: "python3",
        sign: Sign::Program("python3"),
    },
    // What curl trusts unless it is told otherwise.
    Package {
        name: "ca-certificates",
        sign: Sign::File("/etc/ssl/certs/ca-certificates.crt"),
    },
];

/// Installs what is missing, or says what is and how to get it.
pub(crate) fn install_missing() {
    // Signs and package names are Debian's; on other systems only the programs can be judged.
    let debian = cfg!(target_os = "linux") && Sign::Program("apt-get").is_there();
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|package| debian || matches!(package.sign, Sign::Program(_)))
        .filter(|package| !package.sign.is_there())
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return;
    }

    let names = missing.join(" ");
    if !debian {
        eprintln!("warning: tests that need one of these will say so: {names}");
    } else if !is_root() {
        eprintln!("warning: tests that need one of these will say so: {names}");
        eprintln!("hint: sudo apt-get install {names}");
    } else {
        eprintln!("==> installing {names}");
        // A fresh container has no package lists; one that has them need not wait for new ones.
        let installed = install(&missing) || (apt_get(&["update"]) && install(&missing));
        if !installed {
            eprintln!("warning: apt-get could not install: {names}");
            eprintln!("hint: tests that need one of these will say so");
        }
    }
}

fn install(names: &[&str]) -> bool {
    apt_get(&[&["install", "-y", "--no-install-recommends"], names].concat())
}

fn apt_get(arguments: &[&str]) -> bool {
    Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Self::Program(name) => env::var_os("PATH").is_some_and(|path| {
                env::split_paths(&path).any(|folder| folder.join(name).is_file())
            }),
            Self::File(path) => Path::new(path).is_file(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_tells_what_is_there_from_what_is_not() {
        assert!(Sign::Program("sh").is_there());
        assert!(!Sign::Program("no-such-program").is_there());
        assert!(Sign::File(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).is_there());
        assert!(!Sign::File("/no/such/file").is_there());
    }
}
