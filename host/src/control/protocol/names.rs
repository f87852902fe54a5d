//! Values of the protocol that have names, on the command line too.

use serde::{Deserialize, Serialize};
use strum::VariantNames;
use vssd::wire::Encoding;

use workloads::HostPick;

/// Why a text is not a name of `T`.
fn unknown<T: VariantNames>(text: &str) -> String {
    let names = T::VARIANTS.join(", ");
    format!("invalid value `{text}`; expected {names}")
}

macro_rules! named {
    ($(#[doc = $doc:literal])+ $name:ident for $kind:ty {
        $($(#[doc = $vdoc:literal])+ $variant:ident = $label:literal => $value:expr),+ $(,)?
    }) => {
        $(#[doc = $doc])+
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
            strum::Display, strum::EnumString, strum::VariantNames,
        )]
        #[strum(parse_err_ty = String, parse_err_fn = unknown::<Self>)]
        pub enum $name {
            $(
                $(#[doc = $vdoc])+
                #[serde(rename = $label)]
                #[value(name = $label)]
                #[strum(serialize = $label)]
                $variant,
            )+
        }

        impl From<$name> for $kind {
            fn from(name: $name) -> Self {
                match name { $($name::$variant => $value,)+ }
            }
        }

        impl From<$kind> for $name {
            fn from(value: $kind) -> Self {
                $(if value == $value { return Self::$variant; })+
                unreachable!("every value has a name")
            }
        }
    };
}

named! {
    /// How block sets travel, by name.
    EncodingName for Encoding {
        /// Extents or bitmap windows, whichever is smaller.
        Compact = "compact" => Encoding::Compact,
        /// The exchange of the 2017 system.
        List4096 = "list-4096" => Encoding::List4096,
    }
}

named! {
    /// What is tracked of the requests to a vSSD, by name.
    TrackerName for Option<HostPick> {
        /// Nothing.
        None = "none" => Option::None,
        /// The last request to each block, for `lru`.
        Lru = "lru" => Some(HostPick::Lru),
        /// A reference bit for each block, for `clock`.
        Clock = "clock" => Some(HostPick::Clock),
    }
}
