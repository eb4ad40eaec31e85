//! Completions for shells, and the manual page.

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;
use thiserror::Error;

use crate::ending::Ending;

/// Prints a script that completes this program's words, for the shell to read.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArguments {
    /// The shell.
    pub(crate) shell: Shell,
}

/// Prints the completions of `program`.
pub(crate) fn completions(
    arguments: &CompletionsArguments,
    mut program: Command,
) -> Result<Ending, ShellError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "leasehold", &mut script);
    written(&script)
}

/// Prints the manual page of `program`, with all of its commands.
pub(crate) fn manual(program: Command) -> Result<Ending, ShellError> {
    let mut page = Vec::new();
    let mut pages = vec![program];
    while let Some(mut command) = pages.pop() {
        command.build();
        let manual = clap_mangen::Man::new(command.clone());
        manual.render(&mut page)?;
        // Pushed in reverse, so that they are printed in their order.
        let commands = command.get_subcommands().filter(|it| !it.is_hide_set());
        let commands = commands.filter(|it| it.get_name() != "help").cloned();
        let mut commands: Vec<Command> = commands.collect();
        commands.reverse();
        for command in commands {
            let name = format!("leasehold-{}", command.get_name());
            pages.push(command.display_name(name).disable_help_subcommand(true));
        }
    }
    written(&page)
}

/// A reader that stopped reading has seen enough.
fn written(text: &[u8]) -> Result<Ending, ShellError> {
    match io::Write::write_all(&mut io::stdout(), text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Ending::Kept),
    }
}

/// Why nothing was printed.
#[derive(Debug, Error)]
#[error("cannot write: {0}")]
pub(crate) struct ShellError(#[from] io::Error);

const EXAMPLES: &str = "\
Examples:
  source <(leasehold completions bash)
      For this shell; a line of ~/.bashrc keeps it.
  leasehold completions fish > ~/.config/fish/completions/leasehold.fish
      For good, in fish.";
