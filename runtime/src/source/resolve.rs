//! Images of a manifest to bytes in the content store, before admission.
//!
//! An image that is a path or a Go package becomes `serve.local/<name>@sha256:<digest>` of the
//! component that it holds, so that new bytes are a new template, and a Revision always runs the
//! bytes that it was made with.

use std::io;
use std::path::{Path, PathBuf};

use serve_core::api::podspec::{Container, PodSpec};
use serve_core::object::Object;

use crate::image::reference::{self, Reference};
use crate::image::{self, Images, Options};
use crate::progress::{self, Step};
use crate::source::ko::{self, Ko, Protocol};

/// Why the image of a container is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("image \"{image}\": reading {}: {source}", .path.display())]
    Read {
        image: String,
        path: PathBuf,
        source: io::Error,
    },
    #[error("image \"{image}\": {source}")]
    Image {
        image: String,
        source: image::images::Error,
    },
    #[error(
        "image \"{image}\": this is the name of an image in a registry, and none is pulled from \
         there; give the path of a .wasm or .wat file"
    )]
    Registry { image: String },
    #[error("image \"{image}\": {source}")]
    Build { image: String, source: ko::Error },
    /// Building runs a compiler on somebody's source.
    #[error(
        "image \"{image}\": Go packages are built only for manifests that are named on the command \
         line; give the path of a .wasm file"
    )]
    MayNotBuild { image: String },
}

/// What is wrong, and with which field.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct FieldError {
    /// As Knative writes it: `spec.template.spec.containers[0].image`.
    pub field: String,
    pub error: Error,
}

/// Where an object comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Where relative paths start.
    pub directory: &'a Path,
    /// Whether `ko://` images are built.
    pub may_build: bool,
}

/// Finds images. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolver {
    pub images: Images,
    pub ko: Ko,
    pub progress: progress::Reporter,
}

impl Resolver {
    /// Puts the bytes of all images of an object into the store and names them by digest.
    ///
    /// Objects without a template are left as they are.
    ///
    /// # Errors
    /// The first image whose bytes are not there or are not WebAssembly.
    pub async fn resolve(&self, object: &mut Object, origin: Origin<'_>) -> Result<(), FieldError> {
        let Some(pod) = pod(object) else {
            return Ok(());
        };
        for (n, container) in pod.containers.iter_mut().enumerate() {
            match self.component(container, origin).await {
                Ok(Some(image)) => container.image = image,
                Ok(None) => {}
                Err(error) => {
                    let field = format!("spec.template.spec.containers[{n}].image");
                    return Err(FieldError { field, error });
                }
            }
        }
        Ok(())
    }

    /// The files and folders whose change means other bytes for the images of an object.
    pub async fn watched(&self, object: &Object, origin: Origin<'_>) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let mut object = object.clone();
        for container in pod(&mut object).into_iter().flat_map(|pod| &pod.containers) {
            match Reference::parse(&container.image) {
                Reference::File(path) => paths.push(origin.directory.join(path)),
                Reference::Ko(package) if origin.may_build => {
                    // A package that does not even list is watched where it should be.
                    let sources = self.ko.sources(&package, origin.directory).await;
                    paths.extend(sources.unwrap_or_else(|_| vec![origin.directory.to_owned()]));
                }
                _ => {}
            }
        }
        paths
    }

    /// The image by digest; none when it needs no change.
    async fn component(
        &self,
        container: &Container,
        origin: Origin<'_>,
    ) -> Result<Option<String>, Error> {
        let image = container.image.as_str();
        let named = || image.to_owned();
        let (bytes, name, options) = match Reference::parse(image) {
            // Validation says what is wrong with an empty one.
            _ if image.is_empty() => return Ok(None),
            Reference::Content { .. } => return Ok(None),
            Reference::Registry(_) => return Err(Error::Registry { image: named() }),
            Reference::File(path) => {
                let path = origin.directory.join(path);
                let read = |source| Error::Read {
                    image: named(),
                    path: path.clone(),
                    source,
                };
                let bytes = tokio::fs::read(&path).await.map_err(read)?;
                let name = path
                    .file_stem()
                    .and_then(|stem| stem.to_str())
                    .unwrap_or_default();
                (bytes, name.to_owned(), Options::default())
            }
            Reference::Ko(_) if !origin.may_build => {
                return Err(Error::MayNotBuild { image: named() });
            }
            Reference::Ko(package) => {
                let _running = self.progress.begin(Step::Build, image);
                let protocol = protocol(container);
                let bytes = self.ko.build(&package, origin.directory, protocol).await;
                let bytes = bytes.map_err(|source| Error::Build {
                    image: named(),
                    source,
                })?;
                let name = package
                    .rsplit('/')
                    .find(|part| !part.is_empty() && *part != ".");
                (
                    bytes,
                    name.unwrap_or_default().to_owned(),
                    Options { reuse: true },
                )
            }
        };
        let _running = self.progress.begin(Step::Componentize, image);
        let digest = self.images.add(bytes, options).await;
        let digest = digest.map_err(|source| Error::Image {
            image: named(),
            source,
        })?;
        Ok(Some(reference::content(&name, &digest.hex())))
    }
}

fn protocol(container: &Container) -> Protocol {
    match container.ports.first() {
        Some(port) if port.name == "h2c" => Protocol::H2c,
        _ => Protocol::Http1,
    }
}

fn pod(object: &mut Object) -> Option<&mut PodSpec> {
    match object {
        Object::Service(service) => Some(&mut service.spec.template.spec),
        Object::Configuration(configuration) => Some(&mut configuration.spec.template.spec),
        _ => None,
    }
}
