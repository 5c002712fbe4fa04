//! What the data plane adds to and takes from the headers of a request before the guest sees it.
//!
//! # Source
//! Knative's queue-proxy and activator (`spec` section on the data path); hop-by-hop fields after
//! RFC 9110 section 7.6.1.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
};
use serve_core::forwarded;
use serve_core::keys;

use super::fields::{Fields, Kind};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

const TAG: HeaderName = HeaderName::from_static(keys::TAG_HEADER);
const DEFAULT_ROUTE: HeaderName = HeaderName::from_static(keys::DEFAULT_ROUTE_HEADER);

/// Every request passes the activator here.
const PROXY_REQUEST: HeaderName = HeaderName::from_static(keys::PROXY_REQUEST_HEADER);

/// Fields that end with one connection.
const OF_THE_HOP: &[Kind] = &[Kind::Connection, Kind::HopByHop, Kind::Upgrade];

/// Fields that a request gets at most: those of [`prepare`], and how the split chose.
const MOST_ADDED: usize = 5;

/// How clients speak to the data plane.
const PROTO: &str = "http";

/// The other end of a connection, with what guests are told of it.
#[derive(Clone, Debug)]
pub struct Client {
    address: IpAddr,
    x_forwarded_for: HeaderValue,
    forwarded: HeaderValue,
}

impl Client {
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let text = address.to_string();
        let forwarded = forwarded::value(forwarded::Headers {
            x_forwarded_for: Some(&text),
            x_forwarded_proto: Some(PROTO),
            ..forwarded::Headers::default()
        });
        let value = |text: String| HeaderValue::try_from(text).expect("addresses are ASCII");
        Self {
            address,
            x_forwarded_for: value(text),
            forwarded: value(forwarded.unwrap_or_default()),
        }
    }
}

/// Makes the headers of a client's request, which have `fields`, those that the guest sees.
pub fn prepare(headers: &mut HeaderMap, fields: Fields, client: &Client) {
    remove_hop_by_hop(headers, fields);
    remove(headers, fields, &[Kind::Ours]);
    headers.reserve(MOST_ADDED);
    headers.insert(PROXY_REQUEST, HeaderValue::from_static("activator"));
    if fields.has(Kind::Forwarding) {
        add_forwarding(headers, client.address);
    } else {
        headers.insert(X_FORWARDED_FOR, client.x_forwarded_for.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(PROTO));
        headers.insert(FORWARDED, client.forwarded.clone());
    }
}

/// Removes all fields of some kinds.
fn remove(headers: &mut HeaderMap, fields: Fields, kinds: &[Kind]) {
    if !fields.has_any(kinds) {
        return;
    }
    let chosen = |(name, value): (&HeaderName, &HeaderValue)| {
        let is_chosen = Kind::of(name, value).is_some_and(|kind| kinds.contains(&kind));
        is_chosen.then(|| name.clone())
    };
    let names: Vec<HeaderName> = headers.iter().filter_map(chosen).collect();
    for name in names {
        headers.remove(name);
    }
}

/// What a guest is told of how the split of its Route chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// Nothing, and neither is a tag that the client sent: tags by header are switched off.
    Untold,
    /// The request was for the main host and named no tag that the Route has.
    Default,
    /// The tag's host was asked for, or the tag by header.
    Tag(Arc<str>),
}

impl Split {
    /// Tells a guest, after [`prepare`].
    pub fn tell(&self, headers: &mut HeaderMap, fields: Fields) {
        match self {
            Self::Untold if fields.has(Kind::Tag) => drop(headers.remove(TAG)),
            Self::Untold => {}
            Self::Default => {
                headers.insert(DEFAULT_ROUTE, HeaderValue::from_static("true"));
            }
            Self::Tag(tag) => {
                // A tag is part of a host, so it is always a value.
                if let Ok(tag) = HeaderValue::from_str(tag) {
                    headers.insert(TAG, tag);
                }
            }
        }
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap, fields: Fields) {
    // `Connection` names further fields that are meant for this hop only.
    if fields.has(Kind::Connection) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            // gRPC needs `TE: trailers`, and `Trailer` announces fields that are passed on.
            if name != TE && name != TRAILER {
                headers.remove(name);
            }
        }
    }
    remove(headers, fields, OF_THE_HOP);
    // What a client takes beside trailers is the codings of this hop.
    if fields.has(Kind::Te) {
        let takes_trailers = headers.get_all(TE).iter().any(|value| {
            let mut codings = value.as_bytes().split(|byte| *byte == b',');
            codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        });
        headers.remove(TE);
        if takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Adds a client to what the proxies before it said.
fn add_forwarding(headers: &mut HeaderMap, client: IpAddr) {
    let mut hops = String::new();
    for value in headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        if !hops.is_empty() {
            hops.push_str(", ");
        }
        hops.push_str(value);
    }
    let separator = if hops.is_empty() { "" } else { ", " };
    write!(hops, "{separator}{client}").expect("writing to a String cannot fail");
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(PROTO));
    }
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let made = forwarded::value(forwarded::Headers {
        forwarded: text(FORWARDED),
        x_forwarded_for: Some(&hops),
        x_forwarded_host: text(X_FORWARDED_HOST),
        x_forwarded_proto: text(X_FORWARDED_PROTO),
    });
    if let Some(value) = made.and_then(|made| HeaderValue::try_from(made).ok()) {
        headers.insert(FORWARDED, value);
    }
    if let Ok(value) = HeaderValue::try_from(hops) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

/// Removes from a guest's response what speaks of a connection.
///
/// # Errors
/// What is wrong with a response whose end nobody could tell.
pub fn prepare_response(headers: &mut HeaderMap) -> Result<(), &'static str> {
    remove(headers, Fields::of(headers), OF_THE_HOP);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !is_number || lengths.next().is_some() {
            return Err("its Content-Length is not one number");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        name: &'static str,
        given: &'static [(&'static str, &'static str)],
        want: &'static [(&'static str, &'static str)],
    }

    #[track_caller]
    fn check(case: &Case) {
        let mut headers = HeaderMap::new();
        for (name, value) in case.given {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let fields = Fields::of(&headers);
        prepare(&mut headers, fields, &Client::new([127, 0, 0, 1].into()));
        let mut got: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().expect("ASCII")))
            .collect();
        got.sort_unstable();
        let mut want = case.want.to_vec();
        want.sort_unstable();
        assert_eq!(got, want, "{}", case.name);
    }

    #[test]
    fn requests_are_prepared_as_knative_does() {
        let cases = [
            Case {
                name: "a_plain_request_gets_the_forwarding_fields",
                given: &[("accept", "*/*")],
                want: &[
                    ("accept", "*/*"),
                    ("forwarded", "for=127.0.0.1;proto=http"),
                    ("k-proxy-request", "activator"),
                    ("x-forwarded-for", "127.0.0.1"),
                    ("x-forwarded-proto", "http"),
                ],
            },
            Case {
                name: "hops_before_are_kept",
                given: &[
                    ("x-forwarded-for", "1.2.3.4"),
                    ("x-forwarded-proto", "https"),
                ],
                want: &[
                    ("forwarded", "for=1.2.3.4;proto=https, for=127.0.0.1"),
                    ("k-proxy-request", "activator"),
                    ("x-forwarded-for", "1.2.3.4, 127.0.0.1"),
                    ("x-forwarded-proto", "https"),
                ],
            },
            Case {
                name: "a_forwarded_field_of_the_client_stays",
                given: &[("forwarded", "for=9.9.9.9")],
                want: &[
                    ("forwarded", "for=9.9.9.9"),
                    ("k-proxy-request", "activator"),
                    ("x-forwarded-for", "127.0.0.1"),
                    ("x-forwarded-proto", "http"),
                ],
            },
            Case {
                name: "what_only_the_data_plane_may_say_is_removed",
                given: &[
                    ("knative-serving-revision", "r"),
                    ("knative-serving-namespace", "n"),
                    ("knative-serving-default-route", "true"),
                    ("k-original-host", "h"),
                    ("k-network-hash", "x"),
                    ("forwarded", "f"),
                ],
                want: &[
                    ("forwarded", "f"),
                    ("k-proxy-request", "activator"),
                    ("x-forwarded-for", "127.0.0.1"),
                    ("x-forwarded-proto", "http"),
                ],
            },
            Case {
                name: "hop_by_hop_fields_and_those_they_name_are_removed",
                given: &[
                    ("connection", "close, x-private, te"),
                    ("x-private", "1"),
                    ("keep-alive", "timeout=5"),
                    ("te", "deflate;q=0.5, Trailers"),
                    ("transfer-encoding", "chunked"),
                    ("http2-settings", "AAMAAABkAAQAAP__"),
                    ("forwarded", "f"),
                ],
                want: &[
                    ("forwarded", "f"),
                    ("te", "trailers"),
                    ("k-proxy-request", "activator"),
                    ("x-forwarded-for", "127.0.0.1"),
                    ("x-forwarded-proto", "http"),
                ],
            },
        ];
        cases.iter().for_each(check);
    }

    #[test]
    fn what_a_connection_adds_is_made_once() {
        for address in ["127.0.0.1", "::1", "::ffff:10.0.0.1", "2001:db8::7"] {
            let client = Client::new(address.parse().expect("an address"));
            let (mut first, mut second) = (HeaderMap::new(), HeaderMap::new());
            prepare(&mut first, Fields::default(), &client);
            add_forwarding(&mut second, client.address);
            first.remove(PROXY_REQUEST);
            assert_eq!(first, second, "{address}");
        }
    }

    #[test]
    fn the_guest_is_told_how_it_was_chosen() {
        let tag = |tag: &str| Split::Tag(tag.into());
        for (name, sent, split, want) in [
            ("off", "t", Split::Untold, (None, None)),
            ("a_tag_host", "", tag("t"), (Some("t"), None)),
            ("a_tag_by_header", "t", tag("t"), (Some("t"), None)),
            ("another_ones_tag_host", "x", tag("t"), (Some("t"), None)),
            ("the_main_host", "", Split::Default, (None, Some("true"))),
            (
                "an_unknown_tag",
                "x",
                Split::Default,
                (Some("x"), Some("true")),
            ),
        ] {
            let mut headers = HeaderMap::new();
            if !sent.is_empty() {
                headers.insert(TAG, HeaderValue::from_static(sent));
            }
            headers.insert(DEFAULT_ROUTE, HeaderValue::from_static("forged"));
            let fields = Fields::of(&headers);
            prepare(&mut headers, fields, &Client::new([127, 0, 0, 1].into()));
            split.tell(&mut headers, fields);
            let text = |name| {
                headers
                    .get(name)
                    .map(|value| value.to_str().expect("ASCII"))
            };
            assert_eq!((text(TAG), text(DEFAULT_ROUTE)), want, "{name}");
        }
    }

    #[test]
    fn responses_whose_end_is_unclear_are_refused() {
        for (name, lengths, want) in [
            ("none", &[][..], true),
            ("one", &["12"], true),
            ("equal", &["12", "12"], false),
            ("no_number", &["12a"], false),
            ("a_sign", &["-1"], false),
            ("empty", &[""], false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("connection", HeaderValue::from_static("close"));
            headers.insert("trailer", HeaderValue::from_static("x"));
            for length in lengths {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            assert_eq!(prepare_response(&mut headers).is_ok(), want, "{name}");
            assert!(!headers.contains_key(CONNECTION), "{name}");
            assert!(headers.contains_key(TRAILER), "{name}");
        }
    }
}
