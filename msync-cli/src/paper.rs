//! `msync completion` and `msync man`: made of the definition of the command line, so that they cannot say anything else.

use clap_complete::Shell;
use clap_mangen::Man;

use crate::{exit::Failure, show};

/// Writes a completion script.
pub(crate) fn completion(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::command(), "msync", &mut script);
    show::print(&String::from_utf8_lossy(&script))
}

/// Writes the man page of the program, or of one verb.
pub(crate) fn man(verb: Option<&str>) -> Result<(), Failure> {
    let mut command = crate::command();
    command.build();
    let page = match verb {
        None => command,
        Some(verb) => {
            let found = command.find_subcommand(verb).cloned();
            let known: Vec<_> = command.get_subcommands().map(|known| known.get_name().to_owned()).collect();
            found.ok_or_else(|| {
                Failure::usage(format_args!("there is no verb {verb}; verbs are {}", known.join(", ")))
            })?
        }
    };
    let mut text = Vec::new();
    Man::new(page).render(&mut text)?;
    // clap_mangen leaves out that what comes last stands behind `--`.
    let text = String::from_utf8_lossy(&text).replace("> <\\fICOMMAND\\fR>", "> \\-\\- <\\fICOMMAND\\fR>...");
    show::print(&text)
}
