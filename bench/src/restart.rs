//! How soon a `serve` that had many Services serves them again.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Context;
use crate::guests;
use crate::manifest::{self, INITIAL_SCALE, ISOLATION};
use crate::peer::Serve;
use crate::table::{Section, Table};

const COMPONENTS: usize = 100;
const STARTUP: Duration = Duration::from_secs(120);

pub fn run(context: &Context) -> Result<Section> {
    let components = guests::distinct_hellos(context, COMPONENTS)?;
    let mut table = Table::new(&[
        "Services",
        "listening after ms",
        "first 200 after ms",
        "all ready after ms",
    ]);
    for count in [1000, 10_000] {
        let count = context.size(count);
        let at_zero = [(INITIAL_SCALE, "0"), (ISOLATION, "revision")];
        let mut documents = vec![manifest::zero_allowed()];
        let paths = components.iter().cycle().take(count).enumerate();
        documents
            .extend(paths.map(|(n, path)| manifest::service(&format!("r-{n}"), path, &at_zero)));
        let name = format!("restart-{count}");
        let manifest = manifest::write(context, &name, &documents)?;
        // Another port would be another URL for each Route, which is a change of its own.
        let serve = |port: u16, arguments: &[&str]| Serve {
            context,
            home: &name,
            manifest: &manifest,
            port,
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
        };
        let earlier = serve(0, &["--fresh"]).start()?;
        earlier.ready(count)?;
        let port = earlier.address.port();
        drop(earlier);
        let begin = Instant::now();
        let again = serve(port, &[]).start()?;
        let listening = begin.elapsed();
        again.wait_for(&manifest::host("r-0"), begin + STARTUP)?;
        let first = begin.elapsed();
        again.ready(count)?;
        let all = begin.elapsed();
        table.row([
            count.to_string(),
            listening.as_millis().to_string(),
            first.as_millis().to_string(),
            all.as_millis().to_string(),
        ]);
    }
    Ok(Section {
        name: "restart",
        about: format!(
            "`serve` with the state and the code of an earlier run: from the start of the process \
             to the first 200 of the first Service, and until every Service was reported ready. \
             {COMPONENTS} components, all Services at zero."
        ),
        table,
        notes: vec![],
    })
}
