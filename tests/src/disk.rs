//! A disk so small that it can be filled. It is a tmpfs in a mount namespace of its own, so that
//! it is gone with the process that holds it, whatever becomes of the test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A small disk.
pub struct SmallDisk {
    /// Ends when its input does.
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one over a directory, for those who [enter](Self::enter). An error says why this
    /// machine does not let us.
    pub fn mount(path: &Path, megabytes: u32) -> Result<Self, String> {
        let script =
            "mount -t tmpfs -o size=\"$2\"m,mode=0777 tmpfs \"$1\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(path)
            .arg(megabytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        let output = holder.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        if line == "mounted\n" {
            return Ok(Self { holder, path: path.to_owned() });
        }
        let output = holder.wait_with_output().map_err(|error| error.to_string())?;
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// How a program starts for which the disk is there.
    #[must_use]
    pub fn enter(&self) -> Vec<String> {
        ["nsenter", "--target", &self.holder.id().to_string(), "--mount", "--"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Where the disk is for everybody else.
    #[must_use]
    pub fn outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.path.strip_prefix("/").unwrap_or(&self.path))
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file");
        // In ever smaller pieces, down to the last page.
        for size in [1 << 20, 1 << 12] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn clear(&self) {
        fs::remove_file(self.ballast()).expect("the ballast");
    }

    /// Mounts it anew, `ro` or `rw`.
    pub fn remount(&self, mode: &str) {
        let words = self.enter();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["mount", "-o", &format!("remount,{mode}")]).arg(&self.path);
        assert!(command.status().is_ok_and(|status| status.success()), "mounted {mode}");
    }

    fn ballast(&self) -> PathBuf {
        self.outside().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
