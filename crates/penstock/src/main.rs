//! `penstock`: see `penstock --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(penstock::main())
}
