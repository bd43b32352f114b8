//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

pub const USAGE: &str = "\
A small payments service under supervision, with a saboteur in its tree.

Usage: payments --config FILE [--for TIME] [--report FILE] [--data DIR] [--metrics ADDR]
                [--aggressive] [--check]

  --config FILE  the tree, as YAML
  --for TIME     stop after this time (10s, 1m); without it, at Ctrl-C
  --report FILE  write what was seen as JSON
  --data DIR     keep the database there and go on with what is in it, and the journal and the audit, too;
                 without it, a temporary directory
  --metrics ADDR show metrics for Prometheus there, for instance at 127.0.0.1:9187; port 0 for any that is free
  --aggressive   the saboteur strikes twenty times a second with all it has; no limit is in its way
  --check        validate the configuration, print the resulting tree, and leave

Exit code: 0 success, 1 other failure (also: metrics, journal, audit and events do not agree),
           2 bad configuration or command line, 3 unclean shutdown,
4 orders lost or left unsettled";

#[derive(Debug, Default)]
pub struct Options {
    pub config: PathBuf,
    pub time: Option<Duration>,
    pub report: Option<PathBuf>,
    pub data: Option<PathBuf>,
    pub metrics: Option<SocketAddr>,
    pub aggressive: bool,
    pub check: bool,
    pub help: bool,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut arguments = arguments.into_iter();
        let mut options = Self::default();
        while let Some(flag) = arguments.next() {
            let flag = flag.to_string_lossy();
            let mut value = || arguments.next().ok_or(format!("{flag} needs a value"));
            match &*flag {
                "--config" => options.config = value()?.into(),
                "--for" => options.time = Some(time(&value()?.to_string_lossy())?),
                "--report" => options.report = Some(value()?.into()),
                "--data" => options.data = Some(value()?.into()),
                "--metrics" => options.metrics = Some(address(&value()?.to_string_lossy())?),
                "--aggressive" => options.aggressive = true,
                "--check" => options.check = true,
                "--help" | "-h" => options.help = true,
                _ => return Err(format!("{flag} is not an option")),
            }
        }
        if options.config.as_os_str().is_empty() && !options.help {
            return Err("--config is missing".to_owned());
        }
        Ok(options)
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("--metrics {text}: an address and a port, as 127.0.0.1:9187"))
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("--for {text}: {error}"))
}
