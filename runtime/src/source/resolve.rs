//! Images of a manifest to bytes in the content store, before admission.
//!
//! An image that is a path or a Go package becomes `serve.local/<name>@sha256:<digest>` of the
//! component that it holds, so that new bytes are a new template, and a Revision always runs the
//! bytes that it was made with.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serve_core::api::podspec::{Container, PodSpec};
use serve_core::object::Object;

use crate::config;
use crate::image::reference::{self, Reference};
use crate::image::{self, Digest, Images, Options};
use crate::inode;
use crate::progress::{self, Step};
use crate::source::allowed;
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
    /// A client of the API may not name any file of this host.
    #[error("image \"{image}\": there is no such file beneath the folders of setting images.roots")]
    NotBeneathRoots { image: String },
}

impl Error {
    /// The same for a client of the API, who is not told about files of this host.
    #[must_use]
    pub fn for_client(&self) -> String {
        match self {
            Self::Image {
                source: image::images::Error::Componentize(_),
                ..
            }
            | Self::Registry { .. }
            | Self::NotBeneathRoots { .. } => self.to_string(),
            Self::Read { image, .. } => format!("image \"{image}\": its file cannot be read"),
            Self::Image { image, .. } | Self::Build { image, .. } => {
                format!("image \"{image}\": it cannot be kept")
            }
            Self::MayNotBuild { image } => format!(
                "image \"{image}\": Go packages are not built for clients of the API; run the \
                 manifest with `serve`, or give the path of a .wasm file"
            ),
        }
    }
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

/// The files that were read for one look at manifests: many objects may name the same one.
#[derive(Debug, Default)]
pub struct Known(HashMap<PathBuf, Digest>);

/// Finds images. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolver {
    pub images: Images,
    pub ko: Ko,
    pub progress: progress::Reporter,
    pub config: config::Images,
}

impl Resolver {
    /// The same as [`Resolver::resolve`] for an object that a client of the API sends: a file must
    /// lie beneath the roots, nothing is built, and the name of an image that is not here is left
    /// as it is, for its Revision to fail as on a cluster.
    ///
    /// # Errors
    /// The first image that is refused; [`Error::for_client`] is what to tell.
    pub async fn resolve_for_client(&self, object: &mut Object) -> Result<(), FieldError> {
        let Some(pod) = pod(object) else {
            return Ok(());
        };
        for (n, container) in pod.containers.iter_mut().enumerate() {
            match self.component_for_client(&container.image).await {
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

    async fn component_for_client(&self, image: &str) -> Result<Option<String>, Error> {
        let named = || image.to_owned();
        match Reference::parse(image) {
            _ if image.is_empty() => Ok(None),
            Reference::Content { .. } => Ok(None),
            Reference::Registry(_) => self.named(image).await,
            Reference::Ko(_) => Err(Error::MayNotBuild { image: named() }),
            Reference::File(path) => {
                let name = stem(&path).to_owned();
                let roots = self.config.roots.clone();
                let reading =
                    tokio::task::spawn_blocking(move || allowed::read_beneath(&roots, &path));
                let read = reading
                    .await
                    .unwrap_or_else(|error| Err(io::Error::other(error)));
                let bytes = read.map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => Error::NotBeneathRoots { image: named() },
                    _ => Error::Read {
                        image: named(),
                        path: PathBuf::new(),
                        source,
                    },
                })?;
                let digest = self.add(image, bytes, Options::default()).await?;
                Ok(Some(reference::content(&name, &digest.hex())))
            }
        }
    }

    /// The image by digest, for a name that the settings give a file; none for any other.
    async fn named(&self, image: &str) -> Result<Option<String>, Error> {
        let Some(path) = allowed::named(&self.config.names, image) else {
            return Ok(None);
        };
        let digest = self.file(image, path).await?;
        // The tag goes: which bytes it stood for is said by the digest. A colon before a slash is
        // that of a port.
        let repository = match image.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => image,
        };
        Ok(Some(format!("{repository}@sha256:{}", digest.hex())))
    }

    /// Makes a component of a file and keeps it.
    async fn file(&self, image: &str, path: &Path) -> Result<Digest, Error> {
        if let Some(digest) = self.images.seen(path).await {
            return Ok(digest);
        }
        let of_task = path.to_owned();
        let reading = tokio::task::spawn_blocking(move || inode::read(&of_task));
        let read = reading
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        let (bytes, file) = read.map_err(|source| Error::Read {
            image: image.to_owned(),
            path: path.to_owned(),
            source,
        })?;
        let digest = self.add(image, bytes, Options::default()).await?;
        self.images.note(path, file, digest).await;
        Ok(digest)
    }

    /// Makes a component of bytes and keeps it.
    async fn add(&self, image: &str, bytes: Vec<u8>, options: Options) -> Result<Digest, Error> {
        let _running = self.progress.begin(Step::Componentize, image);
        let added = self.images.add(bytes, options).await;
        added.map_err(|source| Error::Image {
            image: image.to_owned(),
            source,
        })
    }

    /// Puts the bytes of all images of an object into the store and names them by digest.
    ///
    /// Objects without a template are left as they are.
    ///
    /// # Errors
    /// The first image whose bytes are not there or are not WebAssembly.
    pub async fn resolve(&self, object: &mut Object, origin: Origin<'_>) -> Result<(), FieldError> {
        self.resolve_known(object, origin, &mut Known::default())
            .await
    }

    /// The same as [`Resolver::resolve`], without reading what is known, which becomes more.
    ///
    /// # Errors
    /// As [`Resolver::resolve`].
    pub async fn resolve_known(
        &self,
        object: &mut Object,
        origin: Origin<'_>,
        known: &mut Known,
    ) -> Result<(), FieldError> {
        let Some(pod) = pod(object) else {
            return Ok(());
        };
        for (n, container) in pod.containers.iter_mut().enumerate() {
            match self.component(container, origin, known).await {
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
        known: &mut Known,
    ) -> Result<Option<String>, Error> {
        let image = container.image.as_str();
        let named = || image.to_owned();
        let (bytes, name, options) = match Reference::parse(image) {
            // Validation says what is wrong with an empty one.
            _ if image.is_empty() => return Ok(None),
            Reference::Content { .. } => return Ok(None),
            Reference::Registry(_) => {
                let found = self.named(image).await?;
                let missing = || Error::Registry { image: named() };
                return found.map(Some).ok_or_else(missing);
            }
            Reference::File(path) => {
                let path = origin.directory.join(path);
                if let Some(digest) = known.0.get(&path) {
                    return Ok(Some(reference::content(stem(&path), &digest.hex())));
                }
                let digest = self.file(image, &path).await?;
                let content = reference::content(stem(&path), &digest.hex());
                known.0.insert(path, digest);
                return Ok(Some(content));
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
        let digest = self.add(image, bytes, options).await?;
        Ok(Some(reference::content(&name, &digest.hex())))
    }
}

fn protocol(container: &Container) -> Protocol {
    match container.ports.first() {
        Some(port) if port.name == "h2c" => Protocol::H2c,
        _ => Protocol::Http1,
    }
}

/// The name of a file without its extension.
fn stem(path: &Path) -> &str {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.unwrap_or_default()
}

fn pod(object: &mut Object) -> Option<&mut PodSpec> {
    match object {
        Object::Service(service) => Some(&mut service.spec.template.spec),
        Object::Configuration(configuration) => Some(&mut configuration.spec.template.spec),
        _ => None,
    }
}
