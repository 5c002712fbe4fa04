//! Which fields of a head mean something to the data plane: one look at the names instead of a
//! search for each of them, since most heads have none or few.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serve_core::keys;

/// What the user agent of the kubelet's probes begins with.
pub const KUBELET_AGENT: &[u8] = b"kube-probe/";

/// What the data plane does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It names fields that are meant for this connection only.
    Connection,
    /// It speaks of this connection and ends with it.
    HopByHop,
    /// It speaks of this connection, and offers or asks for another protocol.
    Upgrade,
    /// What the client takes beside trailers is for this connection only.
    Te,
    /// The connection answers it.
    Expect,
    /// It makes the request a probe, of the data plane or of the kubelet.
    Probe,
    /// Only the data plane may set it; a client that sends it is not believed.
    Ours,
    /// It chooses a tag.
    Tag,
    /// It says who a request was passed on for.
    Forwarding,
}

impl Kind {
    /// What a field is; none for those that are only passed on.
    pub fn of(name: &HeaderName, value: &HeaderValue) -> Option<Self> {
        match name.as_str() {
            "connection" => Some(Self::Connection),
            // RFC 9110 section 7.6.1, and what came before it.
            "keep-alive" | "proxy-connection" | "http2-settings" | "transfer-encoding" => {
                Some(Self::HopByHop)
            }
            "upgrade" => Some(Self::Upgrade),
            "te" => Some(Self::Te),
            "expect" => Some(Self::Expect),
            "user-agent" => value
                .as_bytes()
                .starts_with(KUBELET_AGENT)
                .then_some(Self::Probe),
            keys::NETWORK_PROBE_HEADER | keys::KUBELET_PROBE_HEADER => Some(Self::Probe),
            keys::ORIGINAL_HOST_HEADER
            | keys::REVISION_HEADER
            | keys::NAMESPACE_HEADER
            | keys::DEFAULT_ROUTE_HEADER
            | keys::NETWORK_HASH_HEADER => Some(Self::Ours),
            keys::TAG_HEADER => Some(Self::Tag),
            "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => {
                Some(Self::Forwarding)
            }
            _ => None,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// The kinds of fields that a head has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u16);

impl Fields {
    /// Those of `headers`.
    pub fn of(headers: &HeaderMap) -> Self {
        let kinds = headers
            .iter()
            .filter_map(|(name, value)| Kind::of(name, value));
        Self(kinds.fold(0, |all, kind| all | kind.bit()))
    }

    /// Whether there is a field of this kind.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether there is one of any of these kinds.
    pub fn has_any(self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| self.has(*kind))
    }
}
