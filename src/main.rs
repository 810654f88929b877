//! The command line: arguments to configuration to a running instance to an exit code.

use std::process::ExitCode;
use websocket_manager::{boot, commands, config::cli, config::cli::Command, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Something that no configuration explains.
const EXIT_FATAL: u8 = 1;

fn main() -> ExitCode {
    let invocation = match cli::from_process() {
        Ok(invocation) => invocation,
        Err(exit) => {
            exit.print();
            return ExitCode::from(exit.code());
        }
    };
    let config = invocation.config;
    telemetry::logs::start(config.log_level, config.log_format);
    let ended = match invocation.command {
        Command::Serve => boot::serve(config, |started| println!("{started}")),
        Command::Check => {
            print!("{}\n{}", config.report(), boot::backend_report(&config));
            return ExitCode::SUCCESS;
        }
        Command::Demo => commands::demo::run(config),
        Command::Tail(tail) => commands::tail::run(&config, &tail),
        Command::Types(types) => commands::types::run(&config, &types),
        Command::Healthcheck { url } => commands::healthcheck::run(&config, url.as_deref()),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("websocket-manager: {error}");
            ExitCode::from(EXIT_FATAL)
        }
    }
}
