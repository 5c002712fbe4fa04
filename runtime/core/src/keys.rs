//! Every header, label and annotation name, once.

// Labels of the serving group.
pub const SERVICE_LABEL: &str = "serving.knative.dev/service";
pub const SERVICE_UID_LABEL: &str = "serving.knative.dev/serviceUID";
pub const CONFIGURATION_LABEL: &str = "serving.knative.dev/configuration";
pub const CONFIGURATION_UID_LABEL: &str = "serving.knative.dev/configurationUID";
pub const CONFIGURATION_GENERATION_LABEL: &str = "serving.knative.dev/configurationGeneration";
pub const REVISION_LABEL: &str = "serving.knative.dev/revision";
pub const ROUTE_LABEL: &str = "serving.knative.dev/route";
pub const ROUTING_STATE_LABEL: &str = "serving.knative.dev/routingState";
pub const VISIBILITY_LABEL: &str = "networking.knative.dev/visibility";

// Annotations of the serving group.
pub const CREATOR_ANNOTATION: &str = "serving.knative.dev/creator";
pub const LAST_MODIFIER_ANNOTATION: &str = "serving.knative.dev/lastModifier";
pub const ROUTES_ANNOTATION: &str = "serving.knative.dev/routes";
pub const ROUTING_STATE_MODIFIED_ANNOTATION: &str = "serving.knative.dev/routingStateModified";
pub const NO_GC_ANNOTATION: &str = "serving.knative.dev/no-gc";
pub const ROLLOUT_DURATION_ANNOTATION: &str = "serving.knative.dev/rollout-duration";
pub const ROLLOUT_ANNOTATION: &str = "networking.internal.knative.dev/rollout";
pub const PROGRESS_DEADLINE_ANNOTATION: &str = "serving.knative.dev/progress-deadline";
pub const KUBECTL_LAST_APPLIED_ANNOTATION: &str =
    "kubectl.kubernetes.io/last-applied-configuration";

// Our own extension annotations; inert on a cluster.
pub const ISOLATION_ANNOTATION: &str = "serve.wasm/isolation";
