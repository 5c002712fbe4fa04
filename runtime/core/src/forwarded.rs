//! Request header `Forwarded`, made from the older `X-Forwarded-*` headers.
//!
//! Input: header values of a request. Output: the value that the guest sees in addition.

/// The headers of a request that [`value`] reads, each with the value of its first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// `Forwarded`.
    pub forwarded: Option<&'a str>,
    /// `X-Forwarded-For`: addresses from the client to the last proxy, separated by commas.
    pub x_forwarded_for: Option<&'a str>,
    /// `X-Forwarded-Host`: the host that the client asked for.
    pub x_forwarded_host: Option<&'a str>,
    /// `X-Forwarded-Proto`: `http` or `https`, as the client spoke.
    pub x_forwarded_proto: Option<&'a str>,
}

/// The value of `Forwarded` to set, or `None` when there is one already or nothing to make it from.
///
/// Host and protocol belong to the client, the first address. IPv6 addresses get the brackets and
/// quotes that RFC 7239 wants.
///
/// # Examples
///
/// ```
/// use serve_core::forwarded::{Headers, value};
///
/// let headers = Headers {
///     x_forwarded_for: Some("::1, 10.0.0.7"),
///     x_forwarded_proto: Some("http"),
///     ..Headers::default()
/// };
/// assert_eq!(
///     value(headers).as_deref(),
///     Some(r#"for="[::1]";proto=http, for=10.0.0.7"#)
/// );
/// ```
///
/// # Source
///
/// knative/serving pkg/queue/forwarded_shim.go. As there, addresses are not checked.
#[must_use]
pub fn value(headers: Headers<'_>) -> Option<String> {
    if !trim(headers.forwarded).is_empty() {
        return None;
    }
    let mut nodes = trim(headers.x_forwarded_for).split(',').map(node);
    let client = [
        ("for=", nodes.next().unwrap_or_default()),
        ("host=", trim(headers.x_forwarded_host).to_owned()),
        ("proto=", trim(headers.x_forwarded_proto).to_owned()),
    ];
    let client: Vec<String> = client
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| name.to_owned() + &value)
        .collect();
    let proxies = nodes.map(|node| format!("for={node}"));
    let elements: Vec<String> = [client.join(";")].into_iter().chain(proxies).collect();
    Some(elements.join(", ")).filter(|value| !value.is_empty())
}

fn trim(value: Option<&str>) -> &str {
    value.unwrap_or_default().trim()
}

/// An address as it is written after `for=`. One with a colon is taken for IPv6.
fn node(address: &str) -> String {
    let address = address.trim();
    if address.contains(':') {
        format!("\"[{address}]\"")
    } else {
        address.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Forwarded`, `X-Forwarded-For`, `-Host` and `-Proto`; empty is absent.
    #[track_caller]
    fn check(headers: [&str; 4], want: &str) {
        let [
            forwarded,
            x_forwarded_for,
            x_forwarded_host,
            x_forwarded_proto,
        ] = headers.map(|value| Some(value).filter(|value| !value.is_empty()));
        let got = value(Headers {
            forwarded,
            x_forwarded_for,
            x_forwarded_host,
            x_forwarded_proto,
        });
        assert_eq!(got.as_deref().unwrap_or_default(), want, "{headers:?}");
    }

    #[test]
    fn host_and_protocol_belong_to_the_first_address() {
        check(
            ["", "1.2.3.4, 5.6.7.8 ,9.9.9.9", "h", "https"],
            "for=1.2.3.4;host=h;proto=https, for=5.6.7.8, for=9.9.9.9",
        );
        check(["", "1.2.3.4", "", ""], "for=1.2.3.4");
        check(["", "", "h", "http"], "host=h;proto=http");
        check(["", ", 5.6.7.8", "", "http"], "proto=http, for=5.6.7.8");
    }

    #[test]
    fn an_address_with_a_colon_is_quoted() {
        check(
            ["", "::1, fe80::1", "", ""],
            r#"for="[::1]", for="[fe80::1]""#,
        );
    }

    #[test]
    fn nothing_is_made_from_nothing_or_beside_a_given_value() {
        check(["", "", "", ""], "");
        check(["", "  ", " ", " "], "");
        check(["for=9.9.9.9", "1.2.3.4", "h", "http"], "");
        check([" ", "1.2.3.4", "", ""], "for=1.2.3.4");
    }
}
