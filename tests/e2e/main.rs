//! The binary, as its users run it: started on port 0, asked over sockets, stopped by a signal.

mod api;
mod client;
mod datapath;
mod datapath_h2;
mod datapath_strict;
mod domains;
mod drain;
mod errors;
mod go;
mod golden;
mod hello;
mod kn;
mod kube;
mod kubectl;
mod load;
mod process;
mod python;
mod reload;
mod scale;
mod threads;
mod workloads;
