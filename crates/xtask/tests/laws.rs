//! The laws of the house: which room may know which, and what there is only one of.
//!
//! ```text
//! client ─► relay, tunnel, proxy, capture, signature, wire
//! relay ──► tunnel, proxy, wire          tunnel, proxy ─► wire          capture ─► signature, wire
//! ```
//!
//! Read from `cargo metadata` for this machine's platform: it needs what a build of the workspace
//! needs and no more, so the laws hold offline too. `deny.toml` holds the bans for every platform.
//!
//! Only normal dependencies count, except where a law says otherwise: a test may use what it likes.
//! Cargo itself refuses a cycle of them. Its metadata also lists an optional crate that only a weak
//! feature (`crate?/feature`) names and that is never built, so the laws err on the strict side:
//! `cargo tree --workspace --invert NAME` tells whether NAME is built.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// One room, the rooms its normal dependencies may name, and what would be lost otherwise.
///
/// A room reaches no further than its neighbours' rows, so direct dependencies are enough.
struct Room {
    name: &'static str,
    may_use: &'static [&'static str],
    why: &'static str,
}

const ROOMS: &[Room] = &[
    Room {
        name: "wire",
        may_use: &[],
        why: "wire is the protocol as bytes: whoever writes another client needs it and nothing else",
    },
    Room {
        name: "signature",
        may_use: &[],
        why: "signature is a pure function of bytes, key and time: it must be usable and testable alone",
    },
    Room {
        name: "tunnel",
        may_use: &["wire"],
        why: "tunnel opens sessions and streams; what an exchange in them means is proxy's",
    },
    Room {
        name: "proxy",
        may_use: &["wire"],
        why: "proxy is given something that reads and writes: it knows neither how the bytes travel \
              nor where they are kept, so both programs and both transports share it",
    },
    Room {
        name: "capture",
        may_use: &["signature", "wire"],
        why: "capture is the record of what passed: it must outlive any tunnel, proxy or face",
    },
    Room {
        name: "relay",
        may_use: &["tunnel", "proxy", "wire"],
        why: "the relay is public: it keeps no capture and knows no secret of a provider, so a \
              stolen relay gives neither away",
    },
    Room {
        name: "client",
        may_use: &["relay", "tunnel", "proxy", "capture", "signature", "wire"],
        why: "the client may know every room but those that only serve its tests",
    },
    Room {
        name: "testkit",
        may_use: &[
            "client",
            "relay",
            "tunnel",
            "proxy",
            "capture",
            "signature",
            "wire",
        ],
        why: "testkit is a whole world in one process; xtask is not part of that world",
    },
    Room {
        name: "xtask",
        may_use: &[],
        why: "xtask must build in seconds and work when the rest does not compile",
    },
];

/// Rooms that no other may need outside its tests; they are not in the programs.
const FOR_TESTS: [&str; 2] = ["testkit", "xtask"];

/// Client, relay, tunnel, wire. A fifth floor is a sign that a room hides another.
const MOST_FLOORS: usize = 4;

/// rustls over ring is what we chose. A second stack doubles what must be audited and patched, and
/// two providers in one process make rustls' choice of a default a panic.
const OTHER_TLS: &[&str] = &[
    "aws-lc-fips-sys",
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "boring-sys",
    "graviola",
    "mbedtls",
    "native-tls",
    "openssl",
    "openssl-sys",
    "rustls-graviola",
    "rustls-rustcrypto",
    "s2n-tls",
    "wolfssl",
];

/// tokio is what we chose. A second runtime brings threads and timers that no shutdown of ours
/// ends and no paused clock stops.
const OTHER_RUNTIMES: &[&str] = &[
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "compio-runtime",
    "glommio",
    "monoio",
    "smol",
    "tokio-uring",
];

#[test]
fn every_package_is_a_room_the_laws_know() {
    let house = House::read();
    let packages: BTreeSet<&str> = house.rooms.keys().map(String::as_str).collect();
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|room| room.name).collect();
    assert_eq!(
        packages, rooms,
        "left: the packages of the workspace; right: the table ROOMS. A new package needs a row \
         there that says what it may use and why, and a line in ARCHITECTURE.md"
    );
}

#[test]
fn each_room_uses_only_the_rooms_below_it() {
    let house = House::read();
    let mut broken = Vec::new();
    for room in ROOMS {
        for used in house.neighbours(room.name) {
            if !room.may_use.contains(&used) {
                broken.push(format!("{} depends on {used}: {}", room.name, room.why));
            }
        }
    }
    hold(broken);
}

#[test]
fn only_tests_use_testkit_and_xtask() {
    let house = House::read();
    let mut broken = Vec::new();
    for (name, package) in &house.rooms {
        for dependency in &package.dependencies {
            let used = noun(&dependency.name);
            if FOR_TESTS.contains(&used) && dependency.kind != DependencyKind::Development {
                broken.push(format!(
                    "{name} depends on {used} for more than its tests: move it to \
                     [dev-dependencies], so that test code never ships"
                ));
            }
        }
    }
    hold(broken);
}

#[test]
fn bytes_and_signatures_need_no_runtime() {
    let house = House::read();
    let mut broken = Vec::new();
    for room in ["wire", "signature"] {
        if let Some(way) = house.way(room, "tokio") {
            broken.push(format!(
                "{room} needs tokio ({way}): it does no I/O and is given the time, so it needs no \
                 runtime; take the dependency without the feature that wants tokio, or move the \
                 code that waits to tunnel, proxy or capture"
            ));
        }
    }
    hold(broken);
}

#[test]
fn the_house_is_at_most_four_floors_high() {
    let house = House::read();
    let mut broken = Vec::new();
    for room in ROOMS.iter().filter(|room| !FOR_TESTS.contains(&room.name)) {
        let chain = house.longest_chain(room.name);
        if chain.len() > MOST_FLOORS {
            broken.push(format!(
                "{} stands on {} floors ({}), at most {MOST_FLOORS} are allowed: to follow one \
                 request a reader opens every one of them",
                room.name,
                chain.len(),
                chain.join(" -> "),
            ));
        }
    }
    hold(broken);
}

#[test]
fn there_is_one_tls_stack_and_one_crypto_provider() {
    let house = House::read();
    let mut broken = house.unwanted(OTHER_TLS, "we use rustls over ring and no other TLS stack");
    broken.extend(house.several(&["rustls", "ring"]));
    hold(broken);
}

#[test]
fn there_is_one_async_runtime() {
    let house = House::read();
    let mut broken = house.unwanted(OTHER_RUNTIMES, "we use tokio and no other runtime");
    broken.extend(house.several(&["tokio"]));
    hold(broken);
}

/// Panics with every broken law on its own line.
#[track_caller]
fn hold(broken: Vec<String>) {
    assert!(
        broken.is_empty(),
        "broken laws of the house:\n- {}",
        broken.join("\n- ")
    );
}

/// What Cargo resolved for this workspace.
struct House {
    /// Our packages by their noun: `wire` for `adit-wire`.
    rooms: BTreeMap<String, Package>,
    /// Every package, and its direct normal dependencies.
    normal: BTreeMap<PackageId, Vec<PackageId>>,
    /// Names and versions of every package, to speak of them.
    packages: BTreeMap<PackageId, Package>,
}

impl House {
    fn read() -> Self {
        let metadata: Metadata = MetadataCommand::new()
            // Without a platform Cargo would fetch the crates of all others as well.
            .other_options(["--locked", "--filter-platform", "host-tuple"].map(String::from))
            .exec()
            .unwrap_or_else(|error| panic!("cargo metadata: {error}"));

        let rooms = metadata
            .workspace_packages()
            .into_iter()
            .map(|package| (noun(&package.name).to_owned(), package.clone()))
            .collect();
        let normal = metadata
            .resolve
            .expect("cargo metadata resolves unless told --no-deps")
            .nodes
            .into_iter()
            .map(|node| {
                let used = node.deps.into_iter().filter(|dependency| {
                    dependency
                        .dep_kinds
                        .iter()
                        .any(|kind| kind.kind == DependencyKind::Normal)
                });
                (node.id, used.map(|dependency| dependency.pkg).collect())
            })
            .collect();
        let packages = metadata
            .packages
            .into_iter()
            .map(|package| (package.id.clone(), package))
            .collect();
        Self {
            rooms,
            normal,
            packages,
        }
    }

    /// The rooms that `room` depends on directly.
    fn neighbours(&self, room: &str) -> Vec<&str> {
        let Some(package) = self.rooms.get(room) else {
            return Vec::new();
        };
        self.normal[&package.id]
            .iter()
            .map(|id| noun(&self.packages[id].name))
            .filter(|name| self.rooms.contains_key(*name))
            .collect()
    }

    /// The longest way down from `room` through rooms of ours, `room` first.
    fn longest_chain(&self, room: &str) -> Vec<String> {
        let below = self
            .neighbours(room)
            .into_iter()
            .map(|used| self.longest_chain(used));
        let mut chain = vec![room.to_owned()];
        chain.extend(below.max_by_key(Vec::len).unwrap_or_default());
        chain
    }

    /// A shortest way from `room` to the package `wanted`, as `a -> b -> c`.
    fn way(&self, room: &str, wanted: &str) -> Option<String> {
        let start = &self.rooms.get(room)?.id;
        let mut reached_from: BTreeMap<&PackageId, &PackageId> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(id) = queue.pop_front() {
            if *self.packages[id].name == wanted {
                let mut names = vec![self.packages[id].name.to_string()];
                let mut at = id;
                while let Some(before) = reached_from.get(at) {
                    names.push(self.packages[*before].name.to_string());
                    at = before;
                }
                names.reverse();
                return Some(names.join(" -> "));
            }
            for next in &self.normal[id] {
                if next != start && !reached_from.contains_key(next) {
                    reached_from.insert(next, id);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    /// A sentence for each of `names` that any room needs, with the way to it.
    fn unwanted(&self, names: &[&str], law: &str) -> Vec<String> {
        let mut found = Vec::new();
        for name in names {
            if let Some(way) = self.rooms.keys().find_map(|room| self.way(room, name)) {
                found.push(format!(
                    "{name} is in the house ({way}), but {law}: choose the feature of that \
                     dependency that does without it, or another dependency"
                ));
            }
        }
        found
    }

    /// A sentence for each of `names` that was resolved to more than one version.
    fn several(&self, names: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for name in names {
            let versions: Vec<String> = self
                .packages
                .values()
                .filter(|package| *package.name == *name)
                .map(|package| package.version.to_string())
                .collect();
            if versions.len() > 1 {
                found.push(format!(
                    "{name} is in the house {} times ({}): see who asks for which with \
                     `cargo tree --duplicates`",
                    versions.len(),
                    versions.join(", "),
                ));
            }
        }
        found
    }
}

/// The name a package is imported by.
fn noun(package: &str) -> &str {
    package.strip_prefix("adit-").unwrap_or(package)
}
