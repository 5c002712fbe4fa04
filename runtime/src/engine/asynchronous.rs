//! Which parts of a component are of the component model's asynchronous part: a component that has
//! none runs in an engine that does without it.
//!
//! # Source
//! What wasmparser's validator refuses without its feature `cm_async`.

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentDefinedType, ComponentType,
    ComponentTypeDeclaration, InstanceTypeDeclaration,
};

/// Whether a type is, or declares, one that only asynchronous components have.
pub(super) fn is_type(declared: &ComponentType<'_>) -> bool {
    match declared {
        ComponentType::Defined(
            ComponentDefinedType::Future(_) | ComponentDefinedType::Stream(_),
        ) => true,
        ComponentType::Func(function) => function.async_,
        ComponentType::Component(parts) => parts
            .iter()
            .any(|part| matches!(part, ComponentTypeDeclaration::Type(inner) if is_type(inner))),
        ComponentType::Instance(parts) => parts
            .iter()
            .any(|part| matches!(part, InstanceTypeDeclaration::Type(inner) if is_type(inner))),
        ComponentType::Defined(_) | ComponentType::Resource { .. } => false,
    }
}

/// Whether a function passes values asynchronously, or is one of those that deal with tasks.
pub(super) fn is_function(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            let is_async = |option| {
                matches!(
                    option,
                    &CanonicalOption::Async | &CanonicalOption::Callback(_)
                )
            };
            options.iter().any(is_async)
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => false,
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::{Config, Engine, InstanceSpec};

    /// A section of a component: its number and its content.
    type Section = (u8, &'static [u8]);
    const TYPES: u8 = 7;
    const FUNCTIONS: u8 = 8;

    #[tokio::test]
    async fn components_start_in_the_engine_that_has_what_they_use() {
        let engine = Engine::new(&Config {
            pooling: false,
            ..Config::default()
        })
        .unwrap();
        let cases: [(&str, Option<Section>, bool); 8] = [
            ("nothing_more", None, false),
            ("a_list", Some((TYPES, &[1, 0x70, 0x7d])), false),
            ("a_function", Some((TYPES, &[1, 0x40, 0, 1, 0])), false),
            ("a_stream", Some((TYPES, &[1, 0x66, 1, 0x7d])), true),
            ("a_future", Some((TYPES, &[1, 0x65, 0])), true),
            (
                "an_asynchronous_function",
                Some((TYPES, &[1, 0x43, 0, 1, 0])),
                true,
            ),
            (
                "a_stream_in_an_instance",
                Some((TYPES, &[1, 0x42, 1, 1, 0x66, 1, 0x7d])),
                true,
            ),
            (
                "a_function_about_back_pressure",
                Some((FUNCTIONS, &[1, 0x24])),
                true,
            ),
        ];
        let wat = include_bytes!("../../../tests/guests/hello.wat");
        let hello = crate::image::componentize(wat).unwrap();
        for (name, section, want) in cases {
            let mut bytes = hello.clone();
            if let Some((number, content)) = section {
                bytes.extend([number, u8::try_from(content.len()).unwrap()]);
                bytes.extend(content);
            }
            let component = engine.prepare(bytes).await;
            let component = component.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(component.facts().is_async, want, "{name}");
            let spec = InstanceSpec::new("test");
            let started = engine.start(&component, &spec, 0).await;
            assert!(started.is_ok(), "{name}");
        }
        let wat = include_bytes!("../../../tests/guests/echo-p3.wat");
        let component = engine
            .prepare(crate::image::componentize(wat).unwrap())
            .await
            .unwrap();
        assert!(component.facts().is_async);
    }
}
