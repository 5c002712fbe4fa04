//! Names of the objects that are made from other objects.

use md5::{Digest, Md5};

/// The longest name of a child, which has to be a DNS label.
const LONGEST: usize = 63;
/// What is left of [`LONGEST`] beside the hexadecimal digits of an MD5 sum.
const HEAD: usize = LONGEST - 32;

/// The name of the child that `suffix` tells from the other children of `parent`.
///
/// It is `parent` followed by `suffix`. When that is longer than 63 characters, the end of the
/// parent is replaced by the MD5 sum of the whole parent; when the suffix alone leaves no room for
/// that, the sum is of both and the end is cut off.
///
/// # Source
///
/// knative/pkg kmeta/names.go, `ChildName`.
#[must_use]
pub fn child_name(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LONGEST {
        return format!("{parent}{suffix}");
    }
    let room = HEAD.saturating_sub(suffix.len());
    if room > 0 {
        return format!("{}{}{suffix}", head(parent, room), md5_hex(parent));
    }
    let mut name = head(parent, HEAD).to_owned();
    name.push_str(&md5_hex(&format!("{parent}{suffix}")));
    name.push_str(head(suffix, LONGEST - name.len()));
    // What was cut off may leave a separator at the end, which a name must not have.
    let end = name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    end.to_owned()
}

/// The name of the Revision that a Configuration makes at `generation`, when the template names
/// none.
#[must_use]
pub fn revision_name(configuration: &str, generation: i64) -> String {
    child_name(configuration, &format!("-{generation:05}"))
}

/// The name of the Deployment of a Revision.
#[must_use]
pub fn deployment_name(revision: &str) -> String {
    child_name(revision, "-deployment")
}

/// Ten characters that stand for one template, as at the end of a ReplicaSet's name. They have no
/// vowels, so that no words appear.
#[must_use]
pub fn template_hash(of: &str) -> String {
    let sum: [u8; 16] = Md5::digest(of.as_bytes()).into();
    let letter = |byte: &u8| char::from(SAFE[usize::from(*byte) % SAFE.len()]);
    sum.iter().take(10).map(letter).collect()
}

/// The name of a Pod of a ReplicaSet; `id` tells it from the others.
#[must_use]
pub fn pod_name(replica_set: &str, id: &str) -> String {
    // As Kubernetes cuts `generateName`, so that the name is a label.
    format!("{}{id}", head(&format!("{replica_set}-"), LONGEST - 5))
}

/// The alphabet of generated names.
///
/// Source: kubernetes/apimachinery pkg/util/rand.
pub const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The first `length` bytes, or as many as end at a character.
fn head(text: &str, length: usize) -> &str {
    let length = length.min(text.len());
    let end = (0..=length).rev().find(|end| text.is_char_boundary(*end));
    end.map_or("", |end| &text[..end])
}

fn md5_hex(text: &str) -> String {
    // An MD5 sum is a number of 128 bits, the highest first.
    let sum: [u8; 16] = Md5::digest(text.as_bytes()).into();
    format!("{:032x}", u128::from_be_bytes(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "a-very-long-name-that-goes-on-and-on-until-it-is-too-long-ok";

    #[track_caller]
    fn check(parent: &str, suffix: &str, want: &str) {
        let name = child_name(parent, suffix);
        assert_eq!(name, want);
        assert!(name.len() <= LONGEST, "{name}");
    }

    #[test]
    fn short_names_are_joined_and_long_ones_hashed() {
        check("hello", "-00001", "hello-00001");
        check("asdf", "-deployment", "asdf-deployment");
        check(
            LONG,
            "-00001",
            "a-very-long-name-that-goee1812c2d4395fb7c8f1bc32c6b7b8479-00001",
        );
        check(
            LONG,
            "-deployment",
            "a-very-long-name-thae1812c2d4395fb7c8f1bc32c6b7b8479-deployment",
        );
        assert_eq!(child_name(&"f".repeat(63), "").len(), 63);
    }

    /// The cases of kmeta/names_test.go with a suffix that leaves no room for the parent.
    #[test]
    fn a_suffix_without_room_for_the_parent_is_cut() {
        check(
            "itoolittle",
            &"f".repeat(63),
            &format!(
                "itoolittle{}{}",
                md5_hex(&format!("itoolittle{}", "f".repeat(63))),
                "f".repeat(21)
            ),
        );
        let name = child_name(&"p".repeat(80), &format!("-{}", "s".repeat(40)));
        assert_eq!(&name[..31], "p".repeat(31));
        let cut = child_name("ab", &format!("{}-{}", "s".repeat(28), "t".repeat(40)));
        assert!(!cut.ends_with('-'), "{cut}");
    }

    #[test]
    fn revisions_are_named_by_generation() {
        assert_eq!(revision_name("h1", 1), "h1-00001");
        assert_eq!(revision_name("h1", 123_456), "h1-123456");
    }

    #[test]
    fn a_name_that_is_no_ascii_is_cut_between_characters() {
        let name = child_name(&"ä".repeat(40), "-00001");
        assert!(name.len() <= LONGEST, "{name}");
    }
}
