//! Every header, label and annotation name, once.

// Labels of the serving group.
pub const SERVICE_LABEL: &str = "serving.knative.dev/service";
pub const SERVICE_UID_LABEL: &str = "serving.knative.dev/serviceUID";
pub const CONFIGURATION_LABEL: &str = "serving.knative.dev/configuration";
pub const CONFIGURATION_UID_LABEL: &str = "serving.knative.dev/configurationUID";
pub const CONFIGURATION_GENERATION_LABEL: &str = "serving.knative.dev/configurationGeneration";
pub const REVISION_LABEL: &str = "serving.knative.dev/revision";
pub const REVISION_UID_LABEL: &str = "serving.knative.dev/revisionUID";
pub const ROUTE_LABEL: &str = "serving.knative.dev/route";
pub const ROUTING_STATE_LABEL: &str = "serving.knative.dev/routingState";
pub const VISIBILITY_LABEL: &str = "networking.knative.dev/visibility";
/// The one value that the visibility label may have.
pub const CLUSTER_LOCAL_VISIBILITY: &str = "cluster-local";

// Annotations of the serving group.
pub const CREATOR_ANNOTATION: &str = "serving.knative.dev/creator";
pub const LAST_MODIFIER_ANNOTATION: &str = "serving.knative.dev/lastModifier";
pub const ROUTES_ANNOTATION: &str = "serving.knative.dev/routes";
pub const ROUTING_STATE_MODIFIED_ANNOTATION: &str = "serving.knative.dev/routingStateModified";
pub const NO_GC_ANNOTATION: &str = "serving.knative.dev/no-gc";
pub const ROLLOUT_DURATION_ANNOTATION: &str = "serving.knative.dev/rollout-duration";
/// The older spelling of [`ROLLOUT_DURATION_ANNOTATION`], which still counts.
pub const ROLLOUT_DURATION_ALIAS_ANNOTATION: &str = "serving.knative.dev/rolloutDuration";
/// Holds a DomainMapping until its claim is cleaned up.
pub const DOMAIN_MAPPING_FINALIZER: &str = "domainmappings.serving.knative.dev";
pub const ROLLOUT_ANNOTATION: &str = "networking.internal.knative.dev/rollout";
pub const PROGRESS_DEADLINE_ANNOTATION: &str = "serving.knative.dev/progress-deadline";
pub const DRY_RUN_ANNOTATION: &str = "features.knative.dev/podspec-dryrun";
pub const AUTOSCALING_GROUP: &str = "autoscaling.knative.dev";

// Annotations about the queue proxy; they are checked, and there is none.
pub const QUEUE_RESOURCE_PERCENTAGE_ANNOTATION: &str =
    "queue.sidecar.serving.knative.dev/resource-percentage";
/// The older spelling of [`QUEUE_RESOURCE_PERCENTAGE_ANNOTATION`].
pub const QUEUE_RESOURCE_PERCENTAGE_ANNOTATION_OLD: &str =
    "queue.sidecar.serving.knative.dev/resourcePercentage";
pub const QUEUE_RESOURCE_ANNOTATIONS: [&str; 6] = [
    "queue.sidecar.serving.knative.dev/cpu-resource-request",
    "queue.sidecar.serving.knative.dev/cpu-resource-limit",
    "queue.sidecar.serving.knative.dev/memory-resource-request",
    "queue.sidecar.serving.knative.dev/memory-resource-limit",
    "queue.sidecar.serving.knative.dev/ephemeral-storage-resource-request",
    "queue.sidecar.serving.knative.dev/ephemeral-storage-resource-limit",
];
pub const KUBECTL_LAST_APPLIED_ANNOTATION: &str =
    "kubectl.kubernetes.io/last-applied-configuration";

// Our own extension annotations; inert on a cluster.
pub const ISOLATION_ANNOTATION: &str = "serve.wasm/isolation";

// Headers, in lower case as HTTP/2 sends them.
pub const ORIGINAL_HOST_HEADER: &str = "k-original-host";
pub const NETWORK_PROBE_HEADER: &str = "k-network-probe";
/// Set, to anything, by what asks as the kubelet does.
pub const KUBELET_PROBE_HEADER: &str = "k-kubelet-probe";
/// Names the component of Knative that passed a request on.
pub const PROXY_REQUEST_HEADER: &str = "k-proxy-request";
pub const NETWORK_HASH_HEADER: &str = "k-network-hash";
pub const REVISION_HEADER: &str = "knative-serving-revision";
pub const NAMESPACE_HEADER: &str = "knative-serving-namespace";
pub const TAG_HEADER: &str = "knative-serving-tag";
pub const DEFAULT_ROUTE_HEADER: &str = "knative-serving-default-route";

// Values of the routing state label.
/// Value of [`ROUTING_STATE_LABEL`] of a Revision of which no Route has said anything yet.
pub const ROUTING_STATE_PENDING: &str = "pending";
/// Value of [`ROUTING_STATE_LABEL`] of a Revision that a Route names.
pub const ROUTING_STATE_ACTIVE: &str = "active";
/// Value of [`ROUTING_STATE_LABEL`] of a Revision that no Route names any more.
pub const ROUTING_STATE_RESERVE: &str = "reserve";

// Of the Kubernetes API.
/// On a Namespace: its name, to select it by.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Marks the bookmark after which a client has seen all that there was.
pub const INITIAL_EVENTS_END_ANNOTATION: &str = "k8s.io/initial-events-end";
pub const PART_OF_LABEL: &str = "app.kubernetes.io/part-of";
/// On an object that a host made because every cluster has it, which no file needs to have. On
/// `config-domain` it is the domain of the host's own settings, which the ConfigMap follows as long
/// as nobody changes it.
pub const MADE_OF_ANNOTATION: &str = "serve.wasm/made-of";
