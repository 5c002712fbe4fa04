//! How hosts are named: Knative's settings and this host's listener, for one Route at a time.

use serve_core::meta::ObjectMeta;
use serve_core::settings::{CLUSTER_LOCAL_DOMAIN, Template, Values};
use serve_core::traffic::hosts;
use tokio::sync::watch;

use super::settings::Current;

/// Names hosts. Cheap to clone.
#[derive(Clone)]
pub struct Naming {
    pub settings: Current,
    /// The port in public URLs; none leaves it out.
    pub url_port: watch::Receiver<Option<u16>>,
}

impl Naming {
    /// Calls `with` with the naming of one Route.
    pub fn with<T>(&self, route: &ObjectMeta, with: impl FnOnce(hosts::Naming<'_>) -> T) -> T {
        let settings = self.settings.borrow().clone();
        let network = &settings.network;
        let domain = settings.domain.of(&route.labels);
        let render = |template: &Template, name: &str, tag: &str| {
            Ok(template.render(&Values {
                name,
                namespace: &route.namespace,
                domain,
                tag,
                annotations: &route.annotations,
                labels: &route.labels,
            }))
        };
        with(hosts::Naming {
            tag_name: &|name, tag| render(&network.tag_template, name, tag),
            public_host: &|name| render(&network.domain_template, name, ""),
            local_domain: domain == CLUSTER_LOCAL_DOMAIN,
            scheme: &network.default_external_scheme,
            url_port: *self.url_port.borrow(),
        })
    }
}
