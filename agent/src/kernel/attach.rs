//! Climbs each probe's ladder of hooks: the first rung whose programs all load and attach wins.

use anyhow::{Context as _, Result, anyhow};
use aya::programs::{BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramType, RawTracePoint};
use aya::{Btf as Types, Ebpf, Endianness};
use serde::Serialize;
use weir_ebpf::field::Fields;

use super::Options;
use super::btf::Btf;
use super::probes::{Hook, PROBES, Probe, Rung};

/// What became of a probe.
#[derive(Clone, Debug, Serialize)]
pub struct Attached {
    /// Its name.
    pub probe: &'static str,
    /// What it is for.
    pub fact: &'static str,
    /// The rung that runs, if any.
    pub rung: Option<&'static str>,
    /// Its programs that run.
    pub programs: Vec<&'static str>,
    /// What that rung does not see.
    pub blind: &'static str,
    /// Rungs that were tried and failed, and why.
    pub failed: Vec<Attempt>,
    /// Whether it is off to keep within the overhead budget.
    pub shed: bool,
}

/// A rung that could not be had.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Its name.
    pub rung: &'static str,
    /// Why not.
    pub why: String,
}

impl Attempt {
    /// Why not, in one line: the kernel's verifier writes pages, and the first says what happened.
    pub fn reason(&self) -> &str {
        self.why.lines().next().unwrap_or_default()
    }
}

/// Names of all tracepoints and functions.
pub(super) fn hook_names() -> Vec<&'static str> {
    PROBES
        .iter()
        .flat_map(|probe| probe.rungs)
        .flat_map(|rung| rung.programs.iter().chain(rung.extra))
        .map(|(_, hook)| hook.target())
        .collect()
}

/// The machine's side of the climb.
struct Ladder<'a> {
    ebpf: &'a mut Ebpf,
    btf: &'a Btf,
    /// The kernel's types in aya's form, read when the first rung needs them.
    types: Option<Result<Types, String>>,
    tracing: bool,
}

/// Attaches every probe that can be.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    btf: &Btf,
    fields: &Fields,
    options: &Options,
) -> Vec<Attached> {
    // Asked of EXT, which is allowed where TRACING is: to ask of TRACING itself makes aya read all
    // of the kernel's types, 25 ms for nothing where it is refused (lockdown).
    let tracing = aya::sys::is_program_supported(ProgramType::Extension).unwrap_or(false);
    let mut ladder = Ladder {
        ebpf,
        btf,
        types: None,
        tracing,
    };
    PROBES
        .iter()
        .map(|probe| ladder.climb(probe, fields, options))
        .collect()
}

/// Lets go of a probe's programs.
pub(super) fn detach(ebpf: &mut Ebpf, attached: &mut [Attached], probe: &str) -> Result<()> {
    let entry = attached
        .iter_mut()
        .find(|entry| entry.probe == probe)
        .with_context(|| format!("no probe {probe}"))?;
    for program in &entry.programs {
        unload(ebpf, program);
    }
    entry.shed = true;
    Ok(())
}

/// Attaches a shed probe again, on the rung it had.
pub(super) fn again(ebpf: &mut Ebpf, attached: &mut [Attached], probe: &str) -> Result<()> {
    let entry = attached
        .iter_mut()
        .find(|entry| entry.probe == probe && entry.shed)
        .with_context(|| format!("probe {probe} is not shed"))?;
    let hooks = PROBES.iter().flat_map(|probe| probe.rungs);
    let hooks: Vec<_> = hooks
        .flat_map(|rung| rung.programs.iter().chain(rung.extra))
        .filter(|(program, _)| entry.programs.contains(program))
        .collect();
    let types = if hooks.iter().any(|(_, hook)| hook.needs_tracing()) {
        Types::from_sys_fs().ok()
    } else {
        None
    };
    for (program, hook) in &hooks {
        if let Err(why) = attach(ebpf, types.as_ref(), program, *hook) {
            for program in &entry.programs {
                unload(ebpf, program);
            }
            return Err(why);
        }
    }
    entry.shed = false;
    Ok(())
}

impl Ladder<'_> {
    fn climb(&mut self, probe: &'static Probe, fields: &Fields, options: &Options) -> Attached {
        let mut result = Attached {
            probe: probe.name,
            fact: probe.fact,
            rung: None,
            programs: Vec::new(),
            blind: "",
            failed: Vec::new(),
            shed: false,
        };
        let refused = if options.disabled.iter().any(|name| name == probe.name) {
            Some("switched off in the configuration".to_owned())
        } else {
            let missing = probe
                .needs
                .iter()
                .find(|name| fields.has(name) != Some(true));
            missing.map(|name| format!("this kernel has no field {name}"))
        };
        for rung in probe.rungs {
            let unwanted = probe.name == "tcp_send"
                && options
                    .send_rung
                    .as_deref()
                    .is_some_and(|wanted| wanted != rung.name);
            if unwanted {
                continue;
            }
            let outcome = match &refused {
                Some(why) => Err(anyhow!("{why}")),
                None => self.try_rung(rung),
            };
            match outcome {
                Ok(programs) => {
                    result.rung = Some(rung.name);
                    result.blind = rung.blind;
                    result.programs = programs;
                    break;
                }
                Err(why) => {
                    result.failed.push(Attempt {
                        rung: rung.name,
                        why: format!("{why:#}"),
                    });
                }
            }
        }
        result
    }

    fn has(&self, hook: Hook) -> bool {
        if hook.is_tracepoint() {
            self.btf.tracepoint(hook.target()).is_some()
        } else {
            self.btf.has_function(hook.target())
        }
    }

    /// Loads and attaches all of a rung's programs, or none.
    fn try_rung(&mut self, rung: &'static Rung) -> Result<Vec<&'static str>> {
        for (_, hook) in rung.programs {
            if !self.has(*hook) {
                return Err(anyhow!("this kernel has no {}", hook.target()));
            }
            if hook.needs_tracing() && !self.tracing {
                return Err(anyhow!("this kernel refuses programs of type TRACING"));
            }
        }
        let extra = rung.extra.iter().filter(|(_, hook)| self.has(*hook));
        let wanted: Vec<_> = rung.programs.iter().chain(extra).copied().collect();
        let mut done: Vec<&'static str> = Vec::new();
        for (program, hook) in wanted {
            if let Err(why) = self.attach(program, hook) {
                for program in &done {
                    unload(self.ebpf, program);
                }
                return Err(why);
            }
            done.push(program);
        }
        Ok(done)
    }

    fn attach(&mut self, program: &'static str, hook: Hook) -> Result<()> {
        if !hook.needs_tracing() {
            return attach(self.ebpf, None, program, hook);
        }
        let types = self.types.get_or_insert_with(|| {
            Types::parse_file(super::btf::VMLINUX, Endianness::default())
                .map_err(|why| why.to_string())
        });
        let types = types
            .as_ref()
            .map_err(|why| anyhow!("cannot read the kernel's types: {why}"))?;
        attach(self.ebpf, Some(types), program, hook)
    }
}

fn attach(ebpf: &mut Ebpf, types: Option<&Types>, name: &str, hook: Hook) -> Result<()> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("no kernel program {name}"))?;
    let is_loaded = program.fd().is_ok();
    let context = || format!("cannot attach {name} to {}", hook.target());
    let types = || types.context("the kernel's types are not at hand");
    match hook {
        Hook::Raw(tracepoint) => {
            let program: &mut RawTracePoint = program.try_into()?;
            if !is_loaded {
                program.load().with_context(context)?;
            }
            program.attach(tracepoint).with_context(context)?;
        }
        Hook::Btf(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            if !is_loaded {
                program.load(tracepoint, types()?).with_context(context)?;
            }
            program.attach().with_context(context)?;
        }
        Hook::Fentry(function) => {
            let program: &mut FEntry = program.try_into()?;
            if !is_loaded {
                program.load(function, types()?).with_context(context)?;
            }
            program.attach().with_context(context)?;
        }
        Hook::Fexit(function) => {
            let program: &mut FExit = program.try_into()?;
            if !is_loaded {
                program.load(function, types()?).with_context(context)?;
            }
            program.attach().with_context(context)?;
        }
        Hook::Kprobe(function) | Hook::Kretprobe(function) => {
            let program: &mut KProbe = program.try_into()?;
            if !is_loaded {
                program.load().with_context(context)?;
            }
            program.attach(function, 0).with_context(context)?;
        }
    }
    Ok(())
}

/// Unloading also detaches. A program that is not loaded needs nothing.
fn unload(ebpf: &mut Ebpf, name: &str) {
    let unloaded = match ebpf.program_mut(name) {
        Some(Program::RawTracePoint(program)) => program.unload(),
        Some(Program::BtfTracePoint(program)) => program.unload(),
        Some(Program::FEntry(program)) => program.unload(),
        Some(Program::FExit(program)) => program.unload(),
        Some(Program::KProbe(program)) => program.unload(),
        _ => Ok(()),
    };
    if let Err(why) = unloaded {
        tracing::debug!(program = name, %why, "was not loaded");
    }
}
