//! Measures `serve` beside `wasmtime serve` and a plain hyper server, on this machine.
//!
//! `cargo build --release && cargo run --release -p serve-bench -- all` runs everything;
//! `-- load cold` runs what is named. Each measurement prints one or more Markdown tables and keeps
//! them below `target/bench`; `--write` makes `docs/performance.md` of all that are there.
//!
//! Public tools only: `wrk` and `h2load` from PATH, `wasmtime` from `--wasmtime`, PATH or
//! `cargo install`. Everything listens on loopback, on free ports, and ends with this program.

#![allow(
    clippy::disallowed_methods,
    reason = "measuring is reading the clock, and no test here depends on it"
)]

mod client;
mod cold;
mod density;
mod deploy;
mod embedded;
mod guests;
mod guided;
mod herd;
mod hyper_peer;
mod idle;
mod languages;
mod load;
mod machine;
mod manifest;
mod memory;
mod neighbour;
mod objects;
mod page;
mod peer;
mod restart;
mod routes;
mod stats;
mod swaps;
mod table;
mod tools;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use crate::table::Section;

/// What is measured in this process allocates as `serve` does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures `serve` beside `wasmtime serve` and a plain hyper server.
#[derive(Debug, Parser)]
#[command(name = "serve-bench", version)]
pub struct Arguments {
    /// What to measure.
    #[arg(value_enum, required_unless_present = "write")]
    what: Vec<What>,

    /// The program under test [default: `serve` beside this program].
    #[arg(long, value_name = "PATH")]
    serve: Option<PathBuf>,

    /// `wasmtime` 48 [default: from PATH, else built by `cargo install` into target/bench].
    #[arg(long, value_name = "PATH")]
    wasmtime: Option<PathBuf>,

    /// Another guest for `load`: a wasi:http component of any language. One that is called Go,
    /// Rust, JS or Python takes the place of the one that is built.
    #[arg(long = "guest", value_name = "NAME=FILE")]
    guests: Vec<String>,

    /// Rounds of `load`; the medians over them are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Seconds of each measurement of `load`, `idle-connections` and `neighbour`.
    #[arg(long, default_value_t = 3)]
    seconds: u64,

    /// Seconds of `swaps`.
    #[arg(long, default_value_t = 60)]
    swap_seconds: u64,

    /// Divide the sizes of everything by ten, to see whether it works here.
    #[arg(long)]
    quick: bool,

    /// Make docs/performance.md of the figures of this and earlier runs.
    #[arg(long)]
    write: bool,

    /// Where the plain hyper server listens.
    #[arg(long, default_value = "127.0.0.1:0", hide = true)]
    listen: std::net::SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// All of the following but guided.
    All,
    /// Requests per second, latency and CPU per request, beside the peers.
    Load,
    /// The first request to each of 1 000 Services at zero.
    Cold,
    /// 500 requests at once to a Service at zero.
    Herd,
    /// 10 000 Services: memory, and all of them woken once.
    Density,
    /// From the start of the process to the first answer, and to all Services ready.
    Restart,
    /// 100 changes of traffic a second under load.
    Swaps,
    /// 10 000 idle connections beside 100 that are not.
    IdleConnections,
    /// From a manifest to Ready, of components that are new and that are known.
    Deploy,
    /// What an instance costs that is kept.
    Memory,
    /// A request beside 10 000 other Services.
    Routes,
    /// A Service beside one that burns CPU and one that takes memory.
    Neighbour,
    /// Measure nothing, but build `serve` with a profile of itself under this load.
    Guided,
    /// Be the plain hyper server.
    #[value(hide = true)]
    PlainHyper,
}

const EVERYTHING: [What; 11] = [
    What::Load,
    What::Cold,
    What::Herd,
    What::Deploy,
    What::Memory,
    What::Density,
    What::Routes,
    What::Restart,
    What::Swaps,
    What::IdleConnections,
    What::Neighbour,
];

/// Where things are, and how much to measure.
#[derive(Debug)]
pub struct Context {
    pub arguments: Arguments,
    pub serve: PathBuf,
    /// What this program writes.
    pub directory: PathBuf,
    /// The repository.
    pub root: PathBuf,
}

impl Context {
    fn new(arguments: Arguments) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the crate lies in the repository")?
            .to_owned();
        let own = std::env::current_exe().context("finding this program")?;
        let serve = arguments
            .serve
            .clone()
            .unwrap_or_else(|| own.with_file_name("serve"));
        let directory = root.join("target/bench");
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("making \"{}\"", directory.display()))?;
        Ok(Self {
            arguments,
            serve,
            directory,
            root,
        })
    }

    /// A size of a measurement, or a tenth of it.
    pub fn size(&self, full: usize) -> usize {
        if self.arguments.quick {
            (full / 10).max(1)
        } else {
            full
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.what == [What::PlainHyper] {
        return hyper_peer::run(arguments.listen);
    }
    machine::raise_open_files();
    let context = Context::new(arguments)?;
    if context.arguments.what.contains(&What::Guided) {
        let is_alone = context.arguments.what == [What::Guided] && !context.arguments.write;
        anyhow::ensure!(
            is_alone,
            "guided measures nothing: name it alone, without --write"
        );
        return guided::build(context);
    }
    let mut chosen = context.arguments.what.clone();
    if chosen.contains(&What::All) {
        chosen = EVERYTHING.to_vec();
    }
    if !chosen.is_empty() {
        tools::build_serve(&context)?;
    }
    println!("{}\n", machine::describe());
    for what in chosen {
        for section in measure(&context, what)? {
            println!("{section}");
            page::keep(&context, &section)?;
        }
    }
    if context.arguments.write {
        page::write(&context)?;
    }
    Ok(())
}

fn measure(context: &Context, what: What) -> Result<Vec<Section>> {
    let one = |section: Section| vec![section];
    match what {
        What::Load => load::run(context),
        What::Cold => cold::run(context).map(one),
        What::Herd => herd::run(context).map(one),
        What::Density => density::run(context).map(one),
        What::Restart => restart::run(context).map(one),
        What::Swaps => swaps::run(context).map(one),
        What::Deploy => deploy::run(context).map(one),
        What::Memory => memory::run(context).map(one),
        What::Routes => routes::run(context).map(one),
        What::IdleConnections => idle::run(context).map(one),
        What::Neighbour => neighbour::run(context).map(one),
        What::All | What::Guided | What::PlainHyper => anyhow::bail!("is named alone"),
    }
}
