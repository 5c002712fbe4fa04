//! The forms that names may have, with Kubernetes' words for what is wrong.
//!
//! # Source
//!
//! kubernetes/apimachinery pkg/util/validation: forms, lengths and texts.

const DNS_1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters \
    or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
    'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

const DNS_1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
    characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
    '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const DNS_1123_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case \
    alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character \
    (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const QUALIFIED_NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must \
    start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
    regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

const ENV_VAR_NAME: &str = "a valid environment variable name must consist of alphabetic \
    characters, digits, '_', '-', or '.', and must not start with a digit (e.g. 'my.env-name',  \
    or 'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')";

/// Characters that a DNS label has at most.
const LABEL_MAX: usize = 63;

/// Characters that a DNS name has at most.
const SUBDOMAIN_MAX: usize = 253;

/// What keeps `name` from being a DNS label that starts with a letter; empty when nothing does.
pub(crate) fn dns_1035_label(name: &str) -> Vec<String> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let problem = (!starts_well || !is_label(name)).then_some(DNS_1035_LABEL);
    too_long(name, LABEL_MAX)
        .into_iter()
        .chain(problem.map(str::to_owned))
        .collect()
}

/// The same for the fixed part of a generated name, which may end with dashes.
pub(crate) fn dns_1035_prefix(prefix: &str) -> Vec<String> {
    let mut masked = prefix.to_owned();
    if masked.len() > 1 && masked.ends_with('-') {
        // The dash and what is before it stand for one character, as upstream has it.
        masked.pop();
        masked.pop();
        masked.push('a');
    }
    dns_1035_label(&masked)
}

/// What keeps `name` from being a DNS label.
#[must_use]
pub fn dns_1123_label(name: &str) -> Vec<String> {
    let problem = (!is_label(name)).then_some(DNS_1123_LABEL);
    too_long(name, LABEL_MAX)
        .into_iter()
        .chain(problem.map(str::to_owned))
        .collect()
}

/// What keeps `name` from being labels between dots.
#[must_use]
pub fn dns_1123_subdomain(name: &str) -> Vec<String> {
    let problem = (!name.split('.').all(is_label)).then_some(DNS_1123_SUBDOMAIN);
    too_long(name, SUBDOMAIN_MAX)
        .into_iter()
        .chain(problem.map(str::to_owned))
        .collect()
}

/// What keeps `name` from being a name with an optional domain before it: `a.b/c`.
#[must_use]
pub fn qualified_name(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let parts: Vec<&str> = name.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                let prefixed = |problem| format!("prefix part {problem}");
                problems.extend(dns_1123_subdomain(prefix).into_iter().map(prefixed));
            }
            name
        }
        _ => {
            let example = "with an optional DNS subdomain prefix and '/' (e.g. \
                'example.com/MyName')";
            return vec![format!("a qualified name {QUALIFIED_NAME} {example}")];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if let Some(problem) = too_long(name, LABEL_MAX) {
        problems.push(format!("name part {problem}"));
    }
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !has_form(name, inner, |byte| byte.is_ascii_alphanumeric()) {
        problems.push(format!("name part {QUALIFIED_NAME}"));
    }
    problems
}

/// What keeps `name` from being a domain name of two labels at least.
pub(crate) fn fully_qualified_domain(name: &str) -> Vec<String> {
    const MAX: usize = 255;
    let name = name.strip_suffix('.').unwrap_or(name);
    let invalid = |value: &str, problem: &str| {
        format!(
            "name: Invalid value: {}: {problem}",
            crate::text::quote(value)
        )
    };
    if name.is_empty() {
        return vec!["name: Required value".to_owned()];
    }
    if name.split('.').count() < 2 {
        let problem = "should be a domain with at least two segments separated by dots";
        return vec![invalid(name, problem)];
    }
    if name.len() > MAX {
        return vec![format!("name: Too long: may not be more than {MAX} bytes")];
    }
    name.split('.')
        .flat_map(|label| {
            let problems = dns_1123_label(label).into_iter();
            problems.map(move |problem| invalid(label, &problem))
        })
        .collect()
}

/// What keeps `name` from being the name of an environment variable.
pub(crate) fn env_var_name(name: &str) -> Vec<String> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let starts_with_digit = name.starts_with(|c: char| c.is_ascii_digit());
    let mut problems = Vec::new();
    if name.is_empty() || starts_with_digit || !name.bytes().all(inner) {
        problems.push(ENV_VAR_NAME.to_owned());
    }
    match name {
        "." => problems.push("must not be '.'".to_owned()),
        ".." => problems.push("must not be '..'".to_owned()),
        _ if name.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

fn too_long(name: &str, max: usize) -> Option<String> {
    (name.len() > max).then(|| format!("must be no more than {max} characters"))
}

fn is_label(name: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    has_form(name, |byte| edge(byte) || byte == b'-', edge)
}

/// Not empty, `inner` all through and `edge` at both ends.
fn has_form(name: &str, inner: impl Fn(u8) -> bool, edge: impl Fn(u8) -> bool) -> bool {
    let bytes = name.as_bytes();
    let edges = bytes.first().is_some_and(|b| edge(*b)) && bytes.last().is_some_and(|b| edge(*b));
    edges && bytes.iter().all(|byte| inner(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(of: fn(&str) -> Vec<String>, name: &str, want: &[&str]) {
        let problems = of(name);
        let starts: Vec<&str> = want
            .iter()
            .zip(&problems)
            .map(|(want, found)| found.get(..want.len()).unwrap_or(found))
            .collect();
        assert_eq!(
            (problems.len(), starts),
            (want.len(), want.to_vec()),
            "{name}"
        );
    }

    #[test]
    fn labels() {
        let long = "a".repeat(64);
        let (too_long, wrong) = ("must be no more than 63 characters", "a DNS-1035 label");
        for (name, want) in [
            ("h1", &[][..]),
            ("a-b", &[]),
            ("1h", &[wrong]),
            ("a-", &[wrong]),
            ("A", &[wrong]),
            ("", &[wrong]),
            ("é", &[wrong]),
            (&long, &[too_long]),
            (&format!("{long}-"), &[too_long, wrong]),
        ] {
            check(dns_1035_label, name, want);
        }
        check(dns_1123_label, "1h", &[]);
        check(dns_1123_label, "a.b", &["a lowercase RFC 1123 label"]);
        check(dns_1035_prefix, "h1-", &[]);
        check(dns_1035_prefix, "-", &[wrong]);
        check(dns_1035_prefix, "é-", &[]);
        check(dns_1035_prefix, "H1-", &[wrong]);
    }

    #[test]
    fn domains() {
        let wrong = "a lowercase RFC 1123 subdomain";
        check(dns_1123_subdomain, "a.b-c.1", &[]);
        check(dns_1123_subdomain, "a..b", &[wrong]);
        check(
            dns_1123_subdomain,
            &"a.".repeat(127),
            &["must be no more than 253", wrong],
        );
        check(fully_qualified_domain, "a.b", &[]);
        check(fully_qualified_domain, "a.b.", &[]);
        check(fully_qualified_domain, "", &["name: Required value"]);
        check(
            fully_qualified_domain,
            "A.b",
            &["name: Invalid value: \"A\": a lowercase"],
        );
        check(
            fully_qualified_domain,
            &"a.".repeat(200),
            &["name: Too long"],
        );
    }

    #[test]
    fn qualified_names() {
        check(qualified_name, "My.name_1", &[]);
        check(qualified_name, "a.b/c", &[]);
        check(qualified_name, "a/b/c", &["a qualified name must consist"]);
        check(qualified_name, "/c", &["prefix part must be non-empty"]);
        check(qualified_name, "A/c", &["prefix part a lowercase"]);
        check(
            qualified_name,
            "a/",
            &["name part must be non-empty", "name part must consist"],
        );
    }

    #[test]
    fn environment_variables() {
        check(env_var_name, "MY_VAR.a-b", &[]);
        check(env_var_name, "1A", &["a valid environment variable"]);
        check(env_var_name, "", &["a valid environment variable"]);
        check(env_var_name, "A=B", &["a valid environment variable"]);
        check(env_var_name, "..", &["must not be '..'"]);
    }
}
