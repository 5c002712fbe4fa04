//! The guests: texts of the repository made into components, and the Go sample built by `serve`'s
//! own code.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serve_core::object::Object;
use serve_runtime::image::{self, Images};
use serve_runtime::source::resolve::Origin;
use serve_runtime::{Runtime, image::reference::Reference};

use crate::Context;
use crate::languages::LANGUAGES;
use crate::manifest;

/// A name and a component.
pub type Guest = (String, PathBuf);

pub const GO: &str = "Go";

const TARGET: &str = "\"World\"";

/// A guest of `tests/guests` as a component.
pub fn text(context: &Context, name: &str) -> Result<PathBuf> {
    let source = read(context, name)?;
    write(context, name, &image::componentize(source.as_bytes())?)
}

/// Components that differ from each other: `hello` with another five letters to greet, each.
pub fn distinct_hellos(context: &Context, count: usize) -> Result<Vec<PathBuf>> {
    let source = read(context, "hello")?;
    anyhow::ensure!(source.contains(TARGET), "hello.wat greets {TARGET}");
    let make = |n: usize| {
        let text = source.replacen(TARGET, &format!("\"{n:05}\""), 1);
        let component = image::componentize(text.as_bytes())?;
        write(context, &format!("hello-{n:05}"), &component)
    };
    (0..count).map(make).collect()
}

/// The component of Knative's Go sample; the reason when it cannot be built here.
pub fn go_sample(context: &Context) -> Result<PathBuf> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let component = runtime.block_on(build_go_sample(context))?;
    write(context, "go", &component)
}

async fn build_go_sample(context: &Context) -> Result<Vec<u8>> {
    let cache = context.directory.join("go");
    let runtime = Runtime::builder().cache_directory(&cache).build()?;
    let directory = context.root.join("examples/helloworld-go");
    let service = manifest::service("go", Path::new("ko://."), &[]);
    let mut object = Object::from_value(service)?;
    let origin = Origin {
        directory: &directory,
        may_build: true,
    };
    runtime.resolve(&mut object, origin).await?;
    let Object::Service(service) = &object else {
        anyhow::bail!("a Service became something else");
    };
    let image = service.spec.template.spec.containers[0].image.clone();
    let Reference::Content { digest } = Reference::parse(&image) else {
        anyhow::bail!("\"{image}\" is not in the content store");
    };
    let digest = digest.parse().map_err(anyhow::Error::msg)?;
    Ok(Images::open(cache.join("images"))?.get(&digest)?.to_vec())
}

/// The guests in languages, and why some are missing. One that is given is not built.
pub fn samples(context: &Context, given: Vec<Guest>) -> (Vec<Guest>, Vec<String>) {
    let (mut found, mut notes) = (given, Vec::new());
    let mut add = |name: &str, build: &dyn Fn() -> Result<PathBuf>| {
        if found.iter().any(|(found, _)| found == name) {
            return;
        }
        match build() {
            Ok(path) => found.push((name.to_owned(), path)),
            Err(error) => notes.push(format!("{name}: skipped: {error:#}")),
        }
    };
    add(GO, &|| go_sample(context));
    for language in &LANGUAGES {
        add(language.name, &|| language.sample(context));
    }
    (found, notes)
}

/// A component with a custom section more, so that its code is compiled and loaded for itself.
pub fn variant(context: &Context, component: &Path, n: usize) -> Result<PathBuf> {
    let bytes = with_section(&std::fs::read(component)?, &format!("{n:05}"))?;
    let stem = component.file_stem().context("it has a name")?;
    write(context, &format!("{}-{n:05}", stem.display()), &bytes)
}

/// The component with a custom section behind it that has this content.
fn with_section(component: &[u8], content: &str) -> Result<Vec<u8>> {
    const NAME: &[u8] = b"variant";
    let length = u8::try_from(1 + NAME.len() + content.len())?;
    anyhow::ensure!(length < 128, "its length takes more than one byte");
    // Id 0, its length, the length of its name.
    let header = [0, length, u8::try_from(NAME.len())?];
    Ok([component, &header, NAME, content.as_bytes()].concat())
}

fn read(context: &Context, name: &str) -> Result<String> {
    let path = context
        .root
        .join("tests/guests")
        .join(name)
        .with_extension("wat");
    std::fs::read_to_string(&path).with_context(|| format!("reading \"{}\"", path.display()))
}

fn write(context: &Context, name: &str, component: &[u8]) -> Result<PathBuf> {
    let directory = context.directory.join("guests");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(name).with_extension("wasm");
    std::fs::write(&path, component).with_context(|| format!("writing \"{}\"", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_behind_the_component() {
        let made = with_section(b"\0asm", "00012").expect("it is short");
        assert_eq!(made, b"\0asm\x00\x0d\x07variant00012");
        assert!(with_section(b"", &"x".repeat(120)).is_err());
    }
}
