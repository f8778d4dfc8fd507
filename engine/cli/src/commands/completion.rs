//! `completion`.

use clap::Args;
use clap_complete::Shell;

use super::Context;
use crate::{error::CliError, output};

/// Print a completion script for a shell.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    carrack completion bash > /etc/bash_completion.d/carrack\n  \
    carrack completion zsh > \"${fpath[1]}/_carrack\"\n  \
    carrack completion fish > ~/.config/fish/completions/carrack.fish\n  \
    carrack completion powershell | Out-String | Invoke-Expression")]
pub struct Completion {
    /// bash, zsh, fish, powershell or elvish
    shell: Shell,
}

impl Completion {
    pub(super) fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let mut command = match ctx.root {
            Some(root) => root(),
            None => crate::command(),
        };
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "carrack", &mut script);
        output::print(script)?;
        Ok(0)
    }
}
