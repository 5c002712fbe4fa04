//! Who asks, and whether the request comes from where it should.
//!
//! There is one user, who may do everything: the one with the token. Whoever has none may ask
//! whether this server lives, and for its version. The `Host` of a request must name this server
//! and there must be no foreign `Origin`, so that a web page cannot use a browser that can reach
//! this server.

use std::net::IpAddr;

use ::http::HeaderMap;
use ::http::header::{AUTHORIZATION, HOST, ORIGIN};
use ::http::uri::Authority;
use subtle::ConstantTimeEq;

use crate::request::Target;
use crate::status::Status;

/// The name of the one user.
pub const USER: &str = "kubernetes-admin";
/// The groups of the one user.
pub const GROUPS: [&str; 2] = ["system:masters", "system:authenticated"];
/// Characters of a token: 160 bits.
const TOKEN_LENGTH: usize = 40;

/// What a client shows to be the one user.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> std::io::Result<Self> {
        let mut bytes = [0; TOKEN_LENGTH / 2];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
        let digit = |byte: &u8| format!("{byte:02x}");
        Ok(Self(bytes.iter().map(digit).collect()))
    }

    /// One that was kept; none for a text that is no token of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_token =
            text.len() == TOKEN_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_token.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which names this server has.
#[derive(Clone, Debug)]
pub struct Names(pub Vec<String>);

impl Names {
    fn has(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        loopback || self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Decides whether a request is answered.
///
/// # Errors
/// 401 without the right token, 403 from a foreign page or for a foreign host.
pub fn check(
    token: &Token,
    names: &Names,
    headers: &HeaderMap,
    authority: Option<&Authority>,
    path: &str,
    target: Option<&Target>,
) -> Result<(), Status> {
    let forbidden = |because: &str| Err(Status::forbidden_path("get", path, because));
    let from_field = headers.get(HOST).and_then(|host| host.to_str().ok());
    // HTTP/2 says the host in its authority, HTTP/1.1 in a field; one of both is there.
    let host = match (authority, from_field) {
        (Some(authority), _) => Some(authority.host().to_owned()),
        (None, Some(field)) => field.parse::<Authority>().ok().map(|a| a.host().to_owned()),
        (None, None) => None,
    };
    if !host.is_some_and(|host| names.has(&host)) {
        return forbidden("the request is for a host that is not this server");
    }
    if headers.contains_key(ORIGIN) {
        return forbidden("requests of web pages are not answered");
    }
    if matches!(target, Some(Target::Health(_) | Target::Version))
        && !headers.contains_key(AUTHORIZATION)
    {
        return Ok(());
    }
    if has_token(token, headers) {
        Ok(())
    } else {
        Err(Status::unauthorized())
    }
}

fn has_token(token: &Token, headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return false;
    };
    let value = value.as_bytes();
    let Some((scheme, shown)) = value.split_at_checked("Bearer ".len()) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(shown.ct_eq(token.0.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_case(fields: &[(&'static str, &str)], target: Option<&Target>, want: u16) {
        let token = Token("a".repeat(TOKEN_LENGTH));
        let names = Names(vec!["localhost".into(), "box".into()]);
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        let result = check(&token, &names, &headers, None, "/x", target);
        assert_eq!(
            result.err().map_or(200, |status| status.code),
            want,
            "{fields:?}"
        );
    }

    #[test]
    fn only_the_token_opens_and_only_from_here() {
        let good = format!("Bearer {}", "a".repeat(TOKEN_LENGTH));
        let good = ("authorization", good.as_str());
        let longer = format!("{}a", good.1);
        check_case(&[("host", "localhost:6443"), good], None, 200);
        check_case(&[("host", "127.0.0.1:1"), good], None, 200);
        check_case(&[("host", "[::1]:1"), good], None, 200);
        check_case(&[("host", "BOX"), good], None, 200);
        check_case(&[("host", "evil.example"), good], None, 403);
        check_case(&[good], None, 403);
        check_case(
            &[("host", "box"), ("origin", "https://box"), good],
            None,
            403,
        );
        check_case(&[("host", "box")], None, 401);
        check_case(&[("host", "box"), ("authorization", "Bearer b")], None, 401);
        check_case(&[("host", "box"), ("authorization", &longer)], None, 401);
        check_case(&[("host", "box"), ("authorization", "Basic x")], None, 401);
        let health = Target::Health("livez");
        check_case(&[("host", "box")], Some(&health), 200);
        check_case(&[("host", "box")], Some(&Target::Version), 200);
        check_case(&[("host", "evil")], Some(&Target::Version), 403);
        check_case(
            &[("host", "box"), ("authorization", "Bearer b")],
            Some(&health),
            401,
        );
        check_case(&[("host", "box")], Some(&Target::Groups), 401);
    }

    #[test]
    fn tokens_are_long_and_never_shown() {
        let token = Token::generate().expect("random bytes");
        assert_eq!(token.as_str().len(), TOKEN_LENGTH);
        assert_ne!(
            token.as_str(),
            Token::generate().expect("random bytes").as_str()
        );
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!(Token::parse("short").is_none());
    }
}
