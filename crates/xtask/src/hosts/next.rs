//! The second stick: shown, pulled out half-way through, plugged in again, taken in, undone.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::guest::device;
use super::sticks::Sticks;
use super::story::{LONG, Story};
use crate::shell::{relay, say};

/// The bundle with the next version of the program, and samples.
const BUNDLE: &str = "/media/lab-stable-000002";

impl Story {
    /// The import of a bundle that is interrupted as by a hand.
    pub(super) fn next_bundle(&mut self, sticks: &Sticks) -> Result<()> {
        self.plug_next()?;
        let diff = self.guest.ok(&format!("cofferdam bundle diff {BUNDLE}"))?;
        relay(&diff);
        for word in ["sample-0.bin", "brings the program and runner 0.2.0"] {
            if !diff.contains(word) {
                bail!("the diff does not say {word:?}");
            }
        }
        let before = self.active()?;
        self.guest.begin(&format!(
            "cofferdam bundle import {BUNDLE} > /root/import.txt 2>&1 & \
             timeout 300 sh -c 'until test $(({READ})) -gt {}; do sleep 0.05; done'",
            sticks.new_bytes / 5 * 3
        ))?;
        let half = self.guest.end(LONG)?;
        if half.code != 0 {
            bail!("the stick was not read so far: {}", half.text);
        }
        say("more than half of it is read; the stick is pulled out");
        self.guest.pull("next")?;
        let failed = self.guest.run("wait $!", LONG)?;
        let words = self.guest.ok("cat /root/import.txt")?;
        relay(&words);
        if failed.code != 1 || !words.contains("E_MEDIUM") || !words.contains("vol-0001") {
            bail!("the import does not say that the stick is gone: {words}");
        }
        if self.active()? != before {
            bail!("an import that failed changed what is served");
        }
        let history = self.guest.ok("cofferdam bundle history")?;
        if !history.contains("unfinished: lab stable 2") {
            bail!("the history does not name what is unfinished:\n{history}");
        }
        self.guest.ok("umount -l /media")?;
        self.plug_next()?;
        let done = self
            .guest
            .ok_within(&format!("cofferdam bundle import {BUNDLE}"), LONG)?;
        relay(&done);
        let read: u64 = self.guest.ok(&format!("echo $(({READ}))"))?.parse()?;
        if read > sticks.new_bytes / 5 * 4 {
            bail!(
                "the import began anew: it read {read} bytes of {} once more",
                sticks.new_bytes
            );
        }
        if self.active()? != before + 1 {
            bail!("the import made no generation");
        }
        self.undo_and_redo(before)
    }

    fn undo_and_redo(&mut self, before: i64) -> Result<()> {
        let undone = self.guest.ok("cofferdam bundle undo")?;
        relay(&undone);
        if self.active()? != before {
            bail!("undo did not go back");
        }
        self.guest
            .ok_within(&format!("cofferdam bundle import {BUNDLE}"), LONG)?;
        relay(&self.guest.ok("cofferdam bundle history")?);
        if self.active()? <= before {
            bail!("after an undo the same bundle was not taken in again");
        }
        Ok(())
    }

    /// Plugs the second stick in and mounts it.
    fn plug_next(&mut self) -> Result<()> {
        self.guest.plug("next")?;
        self.guest
            .ok(&format!("mount -o ro {} /media", device("next")))
            .map(drop)
    }

    /// The generation that is served.
    fn active(&mut self) -> Result<i64> {
        let text = self.guest.ok("cofferdam --json bundle history")?;
        let told: Value = serde_json::from_str(&text)
            .with_context(|| format!("the history is no JSON: {text}"))?;
        let rows = told["generations"].as_array();
        let active = rows.and_then(|rows| rows.iter().find(|row| row["active"] == true));
        active
            .and_then(|row| row["generation"].as_i64())
            .with_context(|| format!("nothing is active: {text}"))
    }
}

/// For a shell: bytes that were read from the second stick since it was plugged in.
const READ: &str = "512 * $(set -- $(cat /sys/block/$(basename $(readlink -f \
                    /dev/disk/by-id/virtio-next))/stat); echo $3)";
