//! A network namespace and the thread that lives in it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use enforcer_core::model::PodId;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::oneshot;

use super::LabError;
use super::error::Context as _;
use super::sandbox::{NETNS_DIR, is_inside};

type Job = Box<dyn FnOnce() + Send>;

/// A named network namespace. Namespaces belong to threads, so one thread stays inside and runs
/// everything that has to happen there: it opens sockets, which then work from anywhere, writes
/// sysctls, and starts processes.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// The name of a pod's namespace for `ip netns exec` inside the lab.
pub fn namespace_name(id: &PodId) -> String {
    format!("{}.{}", id.namespace, id.name)
}

impl Namespace {
    /// Creates a namespace that `ip netns exec <name>` finds inside the sandbox.
    ///
    /// # Errors
    /// Outside of the sandbox, if the name is taken, or without CAP_SYS_ADMIN.
    pub fn new(name: &str) -> Result<Self, LabError> {
        if !is_inside() {
            return Err(LabError::NoSandbox);
        }
        let path = Path::new(NETNS_DIR).join(name);
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .stack_size(512 * 1024)
            .spawn(move || live(&path, &ready, &queue))
            .context("start a thread")?;
        let file = made
            .recv()
            .map_err(|_| LabError::Gone(name.to_owned()))?
            .context(format!("create network namespace {name}"))?;
        Ok(Self { name: name.to_owned(), file, jobs: Some(jobs), thread: Some(thread) })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that names the namespace inside the sandbox.
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.name)
    }

    /// Runs a short function on the thread inside the namespace and returns its result.
    ///
    /// # Errors
    /// The thread has ended, which only a panic in an earlier function causes.
    pub async fn run<T, F>(&self, job: F) -> Result<T, LabError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let gone = || LabError::Gone(self.name.clone());
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move || {
            let _ = reply.send(job());
        });
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Like [`Self::run`] for functions that do I/O; `what` becomes the error's context.
    pub async fn io<T, F>(&self, what: &str, job: F) -> Result<T, LabError>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let context = || format!("{} in {}", what, self.name);
        self.run(job).await?.context(context())
    }

    /// Sets sysctls below `/proc/sys/net`, which shows the writing thread's own namespace. Settings
    /// that this kernel lacks are ignored.
    pub async fn sysctl(&self, settings: Vec<(String, &'static str)>) -> Result<(), LabError> {
        self.io("set a sysctl", move || {
            for (key, value) in settings {
                match fs::write(Path::new("/proc/sys/net").join(&key), value) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(io::Error::new(e.kind(), format!("{key}={value}: {e}")));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// The descriptor's number, for netlink messages.
    pub fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's main function: enters a new namespace, runs jobs, and finally removes the name.
fn live(path: &Path, ready: &mpsc::SyncSender<io::Result<File>>, queue: &mpsc::Receiver<Job>) {
    let made = make(path);
    let failed = made.is_err();
    if ready.send(made).is_err() || failed {
        return;
    }
    while let Ok(job) = queue.recv() {
        job();
    }
    let _ = umount2(path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(path);
}

fn make(path: &Path) -> io::Result<File> {
    const OWN: &str = "/proc/thread-self/ns/net";
    unshare(CloneFlags::CLONE_NEWNET)?;
    File::create_new(path)?;
    let none: Option<&str> = None;
    mount(Some(OWN), path, none, MsFlags::MS_BIND, none)?;
    File::open(OWN)
}
