//! Settings from all their sources: defaults, file, environment, flags; the later wins.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serve_runtime::config::Config;
use toml::{Table, Value};

use crate::args;

const PREFIX: &str = "SERVE_";
/// A variable that is a flag of its own and not a setting.
const NOT_SETTINGS: [&str; 2] = ["SERVE_CONFIG", "SERVE_LOG"];

/// Reads the settings.
///
/// `environment` are all variables of the process; `set` are `key=value` pairs as given to
/// `--set`, the later ones winning.
fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    set: &[(String, String)],
) -> Result<Config> {
    let known = known_keys()?;
    let mut table = match file {
        Some(path) => read(path)?,
        None => Table::new(),
    };
    if let Some(path) = file {
        check_keys(&table, &known).with_context(|| format!("config \"{}\"", path.display()))?;
        Config::deserialize(table.clone())
            .with_context(|| format!("config \"{}\"", path.display()))?;
    }
    for (name, value) in environment {
        if !name.starts_with(PREFIX) || NOT_SETTINGS.contains(&name.as_str()) {
            continue;
        }
        let key = known
            .iter()
            .find(|key| variable(key) == name)
            .ok_or_else(|| unknown(&name, known.iter().map(|key| variable(key))))
            .context("environment")?;
        put(&mut table, key, &value)?;
        Config::deserialize(table.clone()).with_context(|| format!("environment {name}"))?;
    }
    for (key, value) in set {
        if !known.contains(key) {
            return Err(unknown(key, known.iter().cloned())).context("setting");
        }
        put(&mut table, key, value)?;
        Config::deserialize(table.clone()).with_context(|| format!("setting {key}"))?;
    }
    Ok(Config::deserialize(table)?)
}

/// Reads the settings of this process: its environment, and what its arguments name.
pub fn of_process(args: &args::Settings) -> Result<Config> {
    let set = args
        .set
        .iter()
        .map(|text| pair(text))
        .collect::<Result<Vec<_>>>()?;
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    load(args.config.as_deref(), environment, &set)
}

/// Splits `key=value`.
fn pair(text: &str) -> Result<(String, String)> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| anyhow!("\"{text}\" is not a setting; expected key=value"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn read(path: &Path) -> Result<Table> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("config \"{}\"", path.display()))?;
    text.parse()
        .with_context(|| format!("config \"{}\"", path.display()))
}

/// All settings by their dotted names.
fn known_keys() -> Result<Vec<String>> {
    let defaults = Table::try_from(Config::default())?;
    let mut keys = Vec::new();
    leaves(&defaults, "", &mut |key, _| keys.push(key.to_owned()));
    Ok(keys)
}

fn leaves(table: &Table, prefix: &str, visit: &mut dyn FnMut(&str, &Value)) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(inner) => leaves(inner, &key, visit),
            other => visit(&key, other),
        }
    }
}

fn check_keys(table: &Table, known: &[String]) -> Result<()> {
    let mut wrong = None;
    leaves(table, "", &mut |key, _| {
        let is_name = key.starts_with("images.names.");
        if wrong.is_none() && !is_name && !known.iter().any(|k| k == key) {
            wrong = Some(key.to_owned());
        }
    });
    match wrong {
        Some(key) => Err(unknown(&key, known.iter().cloned())),
        None => Ok(()),
    }
}

fn unknown(name: &str, known: impl Iterator<Item = String>) -> anyhow::Error {
    let nearest = known
        .map(|key| (distance(name, &key), key))
        .min()
        .filter(|(distance, key)| *distance <= key.len() / 2);
    match nearest {
        Some((_, key)) => anyhow!("unknown setting \"{name}\"; did you mean \"{key}\"?"),
        None => anyhow!("unknown setting \"{name}\"; config/serve.toml lists them all"),
    }
}

/// The environment variable of a setting: `ingress.listen` is `SERVE_INGRESS_LISTEN`.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace(['.', '-'], "_").to_uppercase())
}

/// Puts a value given as text at a dotted key, with the type that the default has.
fn put(table: &mut Table, key: &str, text: &str) -> Result<()> {
    let defaults = Table::try_from(Config::default())?;
    let mut default = None;
    leaves(&defaults, "", &mut |name, value| {
        if name == key {
            default = Some(value.clone());
        }
    });
    let value = match default {
        Some(Value::Integer(_)) => Value::Integer(
            text.parse()
                .map_err(|_| anyhow!("{key}: \"{text}\" is not a whole number"))?,
        ),
        Some(Value::Boolean(_)) => Value::Boolean(
            text.parse()
                .map_err(|_| anyhow!("{key}: \"{text}\" is not true or false"))?,
        ),
        Some(Value::Array(_)) if text.starts_with('[') => {
            let list = text.parse().ok().filter(Value::is_array);
            list.ok_or_else(|| {
                anyhow!("{key}: {text} is not a list; expected [\"one\", \"two\"] or one,two")
            })?
        }
        Some(Value::Array(_)) => Value::Array(
            text.split(',')
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.to_owned()))
                .collect(),
        ),
        _ => Value::String(text.to_owned()),
    };
    let mut place = table;
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().expect("split gives at least one part");
    for part in parts {
        let entry = place
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = entry else {
            bail!("{part} is not a section")
        };
        place = inner;
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

/// How many single-character edits lie between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = (corner + usize::from(x != *y))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn set(pairs: &[&str]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|text| pair(text).expect("a pair"))
            .collect()
    }

    #[test]
    fn the_file_with_all_settings_shows_the_defaults() {
        let text = include_str!("../../config/serve.toml");
        let config = Config::deserialize(text.parse::<Table>().expect("TOML")).expect("settings");
        assert_eq!(config, Config::default());
        let shown: Table = text.parse().expect("TOML");
        let mut keys = Vec::new();
        leaves(&shown, "", &mut |key, _| keys.push(key.to_owned()));
        let mut known = known_keys().expect("defaults are TOML");
        keys.sort();
        known.sort();
        assert_eq!(keys, known, "each setting is shown once");
    }

    #[test]
    fn later_sources_win() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("serve.toml");
        std::fs::write(
            &file,
            "[ingress]\nlisten = \"127.0.0.1:1\"\nlocal-listen = \"off\"\n",
        )
        .expect("written");
        let environment = [
            ("SERVE_INGRESS_LISTEN", "127.0.0.1:2"),
            ("SERVE_NETWORK_DOMAIN", "example.com"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = load(
            Some(&file),
            environment.into_iter(),
            &set(&["ingress.listen=127.0.0.1:3", "ingress.max-connections=7"]),
        )
        .expect("loaded");
        assert_eq!(config.ingress.listen.to_string(), "127.0.0.1:3");
        assert_eq!(config.ingress.local_listen.to_string(), "off");
        assert_eq!(config.ingress.max_connections, 7);
        assert_eq!(config.network.domain, "example.com");
    }

    #[test]
    fn a_list_is_written_as_in_the_file_or_with_commas() {
        let load = |text: &str| load(None, std::iter::empty(), &set(&[text]));
        for (text, want) in [
            ("images.roots=", &[][..]),
            ("images.roots=/a", &["/a"]),
            ("images.roots=/a,/b", &["/a", "/b"]),
            ("images.roots=[]", &[]),
            (r#"images.roots=["/a", "/b,c"]"#, &["/a", "/b,c"]),
        ] {
            let roots = load(text).expect(text).images.roots;
            assert_eq!(roots, want.iter().map(PathBuf::from).collect::<Vec<_>>());
        }
        let error = load("images.roots=[/a]").expect_err("no list");
        assert_eq!(
            format!("{error:#}"),
            r#"images.roots: [/a] is not a list; expected ["one", "two"] or one,two"#
        );
    }

    #[test]
    fn unknown_settings_are_refused_with_a_hint() {
        let none = || std::iter::empty();
        let error = load(None, none(), &set(&["ingress.lisen=x"])).expect_err("unknown");
        assert_eq!(
            format!("{error:#}"),
            "setting: unknown setting \"ingress.lisen\"; did you mean \"ingress.listen\"?"
        );
        let environment = [("SERVE_INGRES_LISTEN".to_owned(), String::new())];
        let error = load(None, environment.into_iter(), &[]).expect_err("unknown");
        assert!(format!("{error:#}").contains("did you mean \"SERVE_INGRESS_LISTEN\"?"));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let error = load(
            None,
            std::iter::empty(),
            &set(&["ingress.max-connections=many"]),
        );
        assert_eq!(
            format!("{:#}", error.expect_err("not a number")),
            "ingress.max-connections: \"many\" is not a whole number"
        );
        let error = load(None, std::iter::empty(), &set(&["ingress.listen=80"]));
        assert!(
            format!("{:#}", error.expect_err("not an address"))
                .contains("\"80\" is not an address")
        );
    }
}
