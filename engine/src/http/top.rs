//! `GET /containers/{id}/top`: the processes of a container.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;

use engine_api::ContainerTop;

use super::answer::{self, Answer};
use super::request::Request;
use super::stats::TICKS;
use crate::blocking::blocking;
use crate::clock;
use crate::container::Container;
use crate::error::{EngineError, Result};

/// What clients show when nothing is asked for.
const DEFAULT: &str = "-ef";

/// With the columns of `ps -ef`, or with those that arguments of ps(1) choose.
pub(super) async fn top(container: &Arc<Container>, request: &Request) -> Result<Answer> {
    if !container.view().state.is_up() {
        return Err(EngineError::Conflict(format!(
            "container {} is not running",
            container.id
        )));
    }
    let processes = runtime::cgroup::processes(&container.cgroup);
    let arguments = request.query.text("ps_args").unwrap_or(DEFAULT);
    if arguments != DEFAULT {
        let arguments = arguments.to_owned();
        let listed = blocking(move || Ok::<_, io::Error>(ps(&arguments, &processes)));
        return answer::ok(&listed.await??);
    }
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
    answer::ok(&ContainerTop {
        processes: processes.into_iter().filter_map(process_line).collect(),
        titles: titles.map(str::to_owned).to_vec(),
    })
}

/// The host's ps(1), and of its lines those of `processes`. The container's own
/// is not to be trusted, and may not be there. Blocking.
fn ps(arguments: &str, processes: &[u32]) -> Result<ContainerTop> {
    let run = Command::new("ps")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output();
    let output = run.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => EngineError::NotImplemented(
            "docker top with arguments needs the program ps on the host: install procps".to_owned(),
        ),
        _ => EngineError::internal("run ps", error),
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(EngineError::bad(format!("ps: {}", text.trim())));
    }
    select(&String::from_utf8_lossy(&output.stdout), processes)
}

/// The lines of `text` whose PID is one of `processes`. The last column holds
/// what is left of a line.
fn select(text: &str, processes: &[u32]) -> Result<ContainerTop> {
    let mut lines = text.lines();
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let titles = words(lines.next().unwrap_or_default());
    let position = titles.iter().position(|title| title == "PID");
    let position =
        position.ok_or_else(|| EngineError::bad("Couldn't find PID field in ps output"))?;
    let rows = lines.map(words).filter(|row| {
        let pid = row.get(position).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: u32| processes.contains(&pid)) && row.len() >= titles.len()
    });
    let processes = rows.map(|mut row| {
        let last = row.split_off(titles.len() - 1).join(" ");
        row.push(last);
        row
    });
    Ok(ContainerTop {
        processes: processes.collect(),
        titles: titles.clone(),
    })
}

/// One process as `ps -ef` shows it; `None` when it is gone.
fn process_line(pid: u32) -> Option<Vec<String>> {
    use std::os::unix::fs::MetadataExt;
    let dir = std::path::PathBuf::from(format!("/proc/{pid}"));
    let stat = std::fs::read_to_string(dir.join("stat")).ok()?;
    // The name is in parentheses and may hold any byte, also parentheses.
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok());
    let seconds = (number(11)? + number(12)?) / TICKS;
    let uid = std::fs::metadata(&dir).ok()?.uid();
    let command = std::fs::read(dir.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command)
        .replace('\0', " ")
        .trim_end()
        .to_owned();
    let user = if uid == 0 {
        "root".to_owned()
    } else {
        uid.to_string()
    };
    Some(vec![
        user,
        pid.to_string(),
        number(1)?.to_string(),
        "0".to_owned(),
        started(number(19)?),
        if number(4)? == 0 { "?" } else { "pts/0" }.to_owned(),
        format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ),
        if command.is_empty() {
            format!("[{name}]")
        } else {
            command
        },
    ])
}

/// Wall-clock time of a start that is given in ticks since boot.
fn started(ticks: u64) -> String {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: f64 = uptime
        .split_whitespace()
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0);
    let ago = uptime - ticks as f64 / TICKS as f64;
    let at = clock::now() - time::Duration::seconds_f64(ago.max(0.0));
    format!("{:02}:{:02}", at.hour(), at.minute())
}

#[cfg(test)]
#[path = "top/tests.rs"]
mod tests;
