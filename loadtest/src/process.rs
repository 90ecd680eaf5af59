//! What the operating system says about a process: processor time and memory; and where it may run.

use anyhow::{Context, Result, bail};
use rustix::{
    process::{Pid, Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

/// Of `/proc/<pid>/stat`; fixed for programs on Linux.
const TICKS_PER_SECOND: u64 = 100;
/// Fields of it, after the name.
const OWN_TIME: usize = 11;
const ENDED_CHILDRENS_TIME: usize = 13;
const UNKNOWN_FORM: &str = "/proc/<pid>/stat has an unknown form";
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Any process of this machine, as the operating system accounts for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    process: u32,
    /// Those that it starts are counted with it.
    with_children: bool,
}

/// A child process that is measured; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// Which processor cores the two sides get, so that neither slows the other down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Measured,
    Generator,
}

impl Account {
    pub fn own() -> Account {
        Account::of(std::process::id())
    }

    fn of(process: u32) -> Account {
        Account { process, with_children: false }
    }

    /// The same with its children, those that have ended included.
    pub fn with_children(self) -> Account {
        Account { with_children: true, ..self }
    }

    /// Processor time used so far, in user and system mode, by all threads.
    pub fn cpu(self) -> Result<Duration> {
        let Account { process, with_children } = self;
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let mut cpu = cpu_of(&stat, OWN_TIME).context(UNKNOWN_FORM)?;
        if with_children {
            cpu += cpu_of(&stat, ENDED_CHILDRENS_TIME).context(UNKNOWN_FORM)?;
            let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
            for child in children.split_whitespace() {
                // One that has ended since is counted with those that ended the next time.
                let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
                cpu += cpu_of(&stat, OWN_TIME).context(UNKNOWN_FORM)?;
            }
        }
        Ok(cpu)
    }

    /// Memory of its own: anonymous pages, proportionally shared.
    pub fn memory_bytes(self) -> Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process))?;
        kilobytes(&rollup, "Pss_Anon:")
            .map(|kilobytes| kilobytes * 1024)
            .context("smaps_rollup lacks Pss_Anon")
    }
}

impl Process {
    /// Starts `command` on the measured side's core.
    pub fn start(command: &mut Command) -> Result<Process> {
        pin(Side::Measured)?;
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        pin(Side::Generator)?;
        let mut child =
            started.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdout = BufReader::new(child.stdout.take().context("the child has no output")?);
        Ok(Process { child, stdout })
    }

    /// The next line that the child prints.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("the process ended early: {}", self.child.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }

    pub fn account(&self) -> Account {
        Account::of(self.child.id())
    }

    /// Ends it at once, as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits; after a while it is killed.
    pub fn stop(mut self) -> Result<()> {
        if let Ok(pid) = i32::try_from(self.child.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        let deadline = std::time::Instant::now() + STOP_PATIENCE;
        while self.child.try_wait()?.is_none() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Moves the calling thread, and what it starts from now on, to its side's core. Without a second core: no change.
pub fn pin(side: Side) -> Result<()> {
    let [measured, generator, ..] = *cores() else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(match side {
        Side::Measured => measured,
        Side::Generator => generator,
    });
    sched_setaffinity(None, &set).context("cannot choose a processor core")
}

/// The processor cores that this process was allowed to use when it first asked.
pub fn cores() -> &'static [usize] {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    CORES.get_or_init(|| {
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
    })
}

/// How many tasks wanted a core over the last minute; more than two here, and the figures are not to be trusted.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|average| average.parse().ok()).unwrap_or(f64::NAN)
}

/// Raises the number of files that may be open; says how many are lacking.
pub fn allow_open_files(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum.map_or(wanted, |maximum| maximum.max(wanted));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(maximum) }).is_ok() {
        return Ok(());
    }
    bail!(
        "{wanted} open files are needed, the limit is {:?}: raise it with `ulimit -n {wanted}`",
        limit.current
    )
}

/// Two numbers next to each other: in user and in system mode.
fn cpu_of(stat: &str, field: usize) -> Option<Duration> {
    // The name in parentheses may hold anything, so fields are counted from its end.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(field)?.parse::<u64>().ok()? + fields.get(field + 1)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn kilobytes(rollup: &str, name: &str) -> Option<u64> {
    rollup.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_child_is_seen_to_be_busy() {
        let mut process =
            Process::start(Command::new("sh").args(["-c", "echo here; while :; do :; done"])).unwrap();
        assert_eq!(process.line().unwrap(), "here");
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while process.account().cpu().unwrap() < Duration::from_millis(50) {
            assert!(std::time::Instant::now() < deadline, "a busy child used no processor time");
        }
        assert!(process.account().memory_bytes().unwrap() > 4096);
    }

    #[test]
    fn children_are_counted_where_that_is_asked_for_alive_and_ended() {
        let busy = "sh -c 'n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done'; echo ended; sh -c 'echo here; while kill -0 $PPID; do :; done' & wait";
        let mut process = Process::start(Command::new("sh").args(["-c", busy])).unwrap();
        assert_eq!(
            (process.line().unwrap(), process.line().unwrap()),
            ("ended".to_owned(), "here".to_owned())
        );
        let (alone, all) = (process.account(), process.account().with_children());
        let ended = all.cpu().unwrap();
        assert!(ended >= Duration::from_millis(20), "{ended:?}");
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while all.cpu().unwrap() < ended + Duration::from_millis(50) {
            assert!(std::time::Instant::now() < deadline, "a busy child used no processor time");
        }
        assert!(alone.cpu().unwrap() < Duration::from_millis(20));
    }

    #[test]
    fn the_name_of_a_process_may_hold_parentheses() {
        let stat = "7 (a) b)) R 1 7 7 0 -1 4194304 1 2 3 4 150 25 6 7 20 0 1 0 9 10";
        assert_eq!(cpu_of(stat, OWN_TIME), Some(Duration::from_millis(1750)));
        assert_eq!(cpu_of(stat, ENDED_CHILDRENS_TIME), Some(Duration::from_millis(130)));
    }
}
