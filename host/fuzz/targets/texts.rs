//! Texts of operators and clients: configuration, descriptions of vSSDs and sizes, and requests on the
//! control socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vssd_host::control::protocol::{Reply, Request};
use vssd_host::daemon::Args;
use vssd_host::size::{Amount, ByteSize};
use vssd_host::spec::{BackingSpec, Overcommit, VssdSpec};

fuzz_target!(|input: (u8, &str)| {
    let (kind, text) = input;
    match kind % 7 {
        0 => drop(toml::from_str::<Args>(text)),
        1 => drop(text.parse::<VssdSpec>()),
        2 => {
            if let Ok(request) = serde_json::from_str::<Request>(text) {
                let line = serde_json::to_string(&request).expect("a line");
                assert_eq!(serde_json::from_str::<Request>(&line).ok(), Some(request));
            }
        }
        3 => drop(serde_json::from_str::<Reply>(text)),
        4 => drop((text.parse::<ByteSize>(), text.parse::<Amount>())),
        5 => drop(text.parse::<BackingSpec>()),
        _ => drop(text.parse::<Overcommit>()),
    }
});
