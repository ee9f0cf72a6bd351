//! Updates under systemd: to the next version, back again, and to one that is bad.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::sticks::{BAD, NEXT, Sticks};
use super::story::{LONG, LOOK, REPO, Story};
use crate::shell::{relay, say};

/// The bundle with a program that exits as soon as it is to serve.
const BAD_BUNDLE: &str = "/media/lab-stable-000003";
/// Seconds that the bad program is on trial. It never serves, so a slow host cannot make it pass,
/// and a short trial shows how soon the way back is over.
const BAD_TRIAL: u32 = 10;

impl Story {
    /// Switches, goes back, and is brought back.
    pub(super) fn updates(&mut self, sticks: &Sticks) -> Result<()> {
        self.applies(sticks)?;
        let back = self.guest.ok_within("cofferdam update rollback", LONG)?;
        relay(&back);
        if self.program()?["current"]["sha256"] != sticks.program_sha256.as_str() {
            bail!("the version before did not take its place back");
        }
        self.is_brought_back(sticks)?;
        self.guest.ok("umount /media").map(drop)
    }

    fn applies(&mut self, sticks: &Sticks) -> Result<()> {
        let applied = self.guest.run("cofferdam update apply", LONG)?;
        relay(&applied.text);
        if applied.code != 0 {
            bail!("the next version did not stay; code {}", applied.code);
        }
        say(&format!(
            "switched and healthy in {:.0} s by the host's clock",
            applied.seconds
        ));
        let status = self.program()?;
        for which in ["current", "running"] {
            let told = &status[which];
            if told["version"] != NEXT || told["sha256"] != sticks.next_sha256.as_str() {
                bail!("{which} is not the next version: {status:#}");
            }
        }
        if status["last"]["state"] != "healthy" {
            bail!("the status tells no healthy end: {status:#}");
        }
        self.dispatch()?;
        let receipt = self.guest.ok(&format!("cofferdam run show {REPO}"))?;
        if !receipt.contains(NEXT) || !receipt.contains(&sticks.next_sha256[..12]) {
            bail!("the receipt does not name the program that ran the job:\n{receipt}");
        }
        Ok(())
    }

    /// A program that is bad in one way: it is gone back from with nobody's help.
    fn is_brought_back(&mut self, sticks: &Sticks) -> Result<()> {
        self.guest
            .ok_within(&format!("cofferdam bundle import {BAD_BUNDLE}"), LONG)?;
        let line = format!("cofferdam update apply --trial {BAD_TRIAL}");
        let applied = self.guest.run(&line, LONG)?;
        relay(&applied.text);
        if applied.code != 1 {
            bail!("a bad version was not told so; code {}", applied.code);
        }
        say(&format!(
            "tried for {BAD_TRIAL} s and gone back from, {:.0} s in all by the host's clock",
            applied.seconds
        ));
        let status = self.program()?;
        let last = &status["last"];
        let why = last["reason"].as_str().unwrap_or_default();
        if last["state"] != "rolled_back" || last["to"]["version"] != BAD || why.is_empty() {
            bail!("the status does not say why: {status:#}");
        }
        if status["running"]["sha256"] != sticks.program_sha256.as_str() {
            bail!("another version runs: {status:#}");
        }
        relay(&self.guest.ok("cofferdam update status")?);
        self.guest
            .ok("systemctl is-active cofferdam cofferdam-launcher")?;
        self.dispatch()
    }

    /// A job, green under whatever version runs.
    fn dispatch(&mut self) -> Result<()> {
        self.guest
            .ok(&format!("cofferdam run dispatch {REPO} {LOOK}"))?;
        self.verdict(0)
    }

    /// What `update status` tells.
    fn program(&mut self) -> Result<Value> {
        let text = self.guest.ok("cofferdam --json update status")?;
        serde_json::from_str(&text).with_context(|| format!("the status is no JSON: {text}"))
    }
}
