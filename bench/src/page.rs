//! `docs/performance.md`: the template of this crate with the tables of the last runs in it.

use std::fs;

use anyhow::{Context as _, Result};

use crate::Context;
use crate::machine;
use crate::table::Section;

const TEMPLATE: &str = include_str!("../performance.md.in");
/// What stands where a measurement did not run.
const MISSING: &str = "Not measured.\n";

/// Keeps what a measurement found, for the page.
pub fn keep(context: &Context, section: &Section) -> Result<()> {
    let directory = context.directory.join("results");
    fs::create_dir_all(&directory)?;
    let path = directory.join(section.name).with_extension("md");
    fs::write(&path, section.to_string()).with_context(|| format!("writing \"{}\"", path.display()))
}

/// Writes the page.
pub fn write(context: &Context) -> Result<()> {
    let results = context.directory.join("results");
    let page = fill(TEMPLATE, |name| match name {
        "machine" => Some(machine::describe()),
        name => fs::read_to_string(results.join(name).with_extension("md")).ok(),
    });
    let path = context.root.join("docs/performance.md");
    fs::create_dir_all(path.with_file_name(""))?;
    fs::write(&path, page).with_context(|| format!("writing \"{}\"", path.display()))?;
    println!("{} is written", path.display());
    Ok(())
}

/// The template with each line `{{name}}`, and each `{{name}}` in a line, replaced.
fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut page = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = behind.split_once("}}") else {
            page.push_str("{{");
            rest = behind;
            continue;
        };
        let value = value(name).unwrap_or_else(|| MISSING.to_owned());
        page.push_str(value.trim_end());
        rest = after;
    }
    page + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_missing_ones_are_told() {
        let value = |name: &str| (name == "a").then(|| "1\n".to_owned());
        assert_eq!(fill("x {{a}}\n{{b}}\n", value), "x 1\nNot measured.\n");
        assert_eq!(fill("x {{a", value), "x {{a");
    }
}
