//! Volumes and their sources.

use std::collections::BTreeSet;

use super::super::{
    DownwardFile, EmptyDirVolume, KeyToPath, NamedProjection, PodSpec, Projection, Quantity, Volume,
};
use super::disallowed;
use crate::api::syntax;
use crate::field_error::{FieldError, FieldErrors};
use crate::settings::{Features, Flag, Settings};
use crate::text::quote;

pub(super) fn all(spec: &PodSpec, settings: &Settings) -> FieldErrors {
    let containers = spec.init_containers.iter().chain(&spec.containers);
    let mounts = containers.flat_map(|container| &container.volume_mounts);
    let mounted: BTreeSet<&str> = mounts.map(|mount| mount.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut errors = FieldErrors::none();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let name = quote(&volume.name);
        let mut own = check(volume, &settings.features);
        if !seen.insert(volume.name.as_str()) {
            own.add(FieldError::new(
                format!("duplicate volume name {name}"),
                ["name"],
            ));
        }
        if !mounted.contains(volume.name.as_str()) {
            own.add(FieldError::new(
                format!("volume with name {name} not mounted"),
                ["name"],
            ));
        }
        errors.add(own.via_index(index));
    }
    errors
}

/// A source that needs a feature.
struct Flagged {
    is_set: bool,
    flag: Flag,
    field: &'static str,
    /// As messages call it.
    words: &'static str,
}

fn flagged(volume: &Volume, features: &Features) -> [Flagged; 5] {
    let source = |is_set, flag, field, words| Flagged {
        is_set,
        flag,
        field,
        words,
    };
    [
        source(
            volume.empty_dir.is_some(),
            features.volumes_empty_dir,
            "emptyDir",
            "EmptyDir",
        ),
        source(
            volume.host_path.is_some(),
            features.volumes_host_path,
            "hostPath",
            "HostPath",
        ),
        source(volume.csi.is_some(), features.volumes_csi, "csi", "CSI"),
        source(
            volume.ephemeral.is_some(),
            features.volumes_ephemeral,
            "ephemeral",
            "Ephemeral",
        ),
        source(
            volume.image.is_some(),
            features.volumes_image,
            "image",
            "Image",
        ),
    ]
}

fn check(volume: &Volume, features: &Features) -> FieldErrors {
    let flagged = flagged(volume, features);
    let mut errors = support(volume, features, &flagged);
    // Upstream forgets what it found before when the name is wrong.
    if volume.name.is_empty() {
        errors = FieldError::missing("name").into();
    } else if !syntax::dns_1123_label(&volume.name).is_empty() {
        errors = FieldError::invalid_value(&volume.name, "name").into();
    }
    let claim = volume.persistent_volume_claim.is_some();
    let refused = flagged
        .iter()
        .map(|s| (s.is_set && s.flag.is_disabled(), s.field));
    let refused_claim = claim && features.persistent_volume_claim.is_disabled();
    errors.add(disallowed(
        refused.chain([(refused_claim, "persistentVolumeClaim")]),
    ));
    errors.add(sources(volume));

    let plain = [
        (volume.secret.is_some(), "secret"),
        (volume.config_map.is_some(), "configMap"),
        (volume.projected.is_some(), "projected"),
    ];
    let enabled = flagged
        .iter()
        .map(|s| (s.is_set, s.flag.is_enabled(), s.field));
    let known: Vec<(bool, bool, &str)> = plain
        .map(|(is_set, field)| (is_set, true, field))
        .into_iter()
        .chain(enabled)
        .chain([(
            claim,
            features.persistent_volume_claim.is_enabled(),
            "persistentVolumeClaim",
        )])
        .collect();
    let set: Vec<&str> = known
        .iter()
        .filter(|(set, ..)| *set)
        .map(|(.., f)| *f)
        .collect();
    match set.len() {
        0 => {
            let usable = known.iter().filter(|(_, usable, _)| *usable);
            errors.add(FieldError::missing_one_of(usable.map(|(.., field)| *field)));
        }
        1 => {}
        _ => errors.add(FieldError::multiple_one_of(set)),
    }
    errors
}

/// Sources whose feature is off.
fn support(volume: &Volume, features: &Features, flagged: &[Flagged]) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if let Some(claim) = &volume.persistent_volume_claim {
        let name = &claim.claim_name;
        if !features.persistent_volume_claim.is_enabled() {
            errors.add(FieldError::general(format!(
                "Persistent volume claim support is disabled, but found persistent volume claim {name}"
            )));
        }
        if claim.read_only != Some(true) && !features.persistent_volume_write.is_enabled() {
            errors.add(FieldError::general(format!(
                "Persistent volume write support is disabled, but found persistent volume claim \
                 {name} that is not read-only"
            )));
        }
    }
    for source in flagged
        .iter()
        .filter(|source| source.is_set && !source.flag.is_enabled())
    {
        let (words, name) = (source.words, &volume.name);
        errors.add(FieldError::general(format!(
            "{words} volume support is disabled, but found {words} volume {name}"
        )));
    }
    errors
}

fn sources(volume: &Volume) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if let Some(secret) = &volume.secret {
        errors.add(items(&secret.items));
    }
    if let Some(config_map) = &volume.config_map {
        errors.add(items(&config_map.items));
    }
    if let Some(projected) = &volume.projected {
        for (index, source) in projected.sources.iter().enumerate() {
            errors.add(projection(source).via_field_index("projected", index));
        }
    }
    if let Some(directory) = &volume.empty_dir {
        errors.add(empty_dir(directory).via_field("emptyDir"));
    }
    errors
}

fn items(items: &[KeyToPath]) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (index, item) in items.iter().enumerate() {
        let mut own = FieldErrors::none();
        for (value, name) in [(&item.key, "key"), (&item.path, "path")] {
            if value.is_empty() {
                own.add(FieldError::missing(name));
            }
        }
        errors.add(own.via_field_index("items", index));
    }
    errors
}

fn projection(source: &Projection) -> FieldErrors {
    let mut errors = FieldErrors::from(disallowed([
        (source.cluster_trust_bundle.is_some(), "clusterTrustBundle"),
        (source.pod_certificate.is_some(), "podCertificate"),
    ]));
    for (named, name) in [
        (&source.secret, "secret"),
        (&source.config_map, "configMap"),
    ] {
        if let Some(named) = named {
            errors.add(named_projection(named).via_field(name));
        }
    }
    if source
        .service_account_token
        .as_ref()
        .is_some_and(|token| token.path.is_empty())
    {
        let missing = FieldErrors::from(FieldError::missing("path"));
        errors.add(missing.via_field("serviceAccountToken"));
    }
    if let Some(downward) = &source.downward_api {
        for (index, file) in downward.items.iter().enumerate() {
            let own = downward_file(file).via_field_index("items", index);
            errors.add(own.via_field("downwardAPI"));
        }
    }
    let known = [
        (source.secret.is_some(), "secret"),
        (source.config_map.is_some(), "configMap"),
        (
            source.service_account_token.is_some(),
            "serviceAccountToken",
        ),
        (source.downward_api.is_some(), "downwardAPI"),
    ];
    let set: Vec<&str> = known
        .iter()
        .filter_map(|(set, f)| set.then_some(*f))
        .collect();
    match set.len() {
        0 => errors.add(FieldError::missing_one_of(known.map(|(_, field)| field))),
        1 => {}
        _ => errors.add(FieldError::multiple_one_of(set)),
    }
    errors
}

fn named_projection(named: &NamedProjection) -> FieldErrors {
    let missing = named.name.is_empty().then(|| FieldError::missing("name"));
    FieldErrors::from(missing).and(items(&named.items))
}

fn downward_file(file: &DownwardFile) -> FieldErrors {
    let mut errors = FieldErrors::none();
    match (&file.field_ref, &file.resource_field_ref) {
        (None, None) => errors.add(FieldError::missing_one_of(["fieldRef", "resourceFieldRef"])),
        (Some(_), Some(_)) => errors.add(FieldError::new(
            "Within a single item, cannot set both",
            ["resourceFieldRef", "fieldRef"],
        )),
        _ => {}
    }
    if file.path.is_empty() {
        errors.add(FieldError::missing("path"));
    }
    errors
}

fn empty_dir(directory: &EmptyDirVolume) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if !matches!(directory.medium.as_str(), "" | "Memory") {
        errors.add(FieldError::invalid_value(&directory.medium, "medium"));
    }
    let limit = directory.size_limit.as_ref().map(Quantity::parse);
    if let Some(limit) = limit
        .and_then(Result::ok)
        .filter(|limit| limit.is_negative())
    {
        errors.add(FieldError::invalid_value(limit, "sizeLimit"));
    }
    errors
}
