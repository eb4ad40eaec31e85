//! The processor's own counter of ticks, and whether it can be trusted.
//!
//! # Invariant
//!
//! Where [`trusted`] says so, all processors of the machine count alike and never stop while the
//! machine runs. That is the kernel's judgement: it takes the counter off its list of clock
//! sources as soon as it sees two processors disagree, or the counter stop.

/// Ticks since some moment in the past.
#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(
    unsafe_code,
    reason = "an instruction that reads a register and has no conditions; the standard library \
              calls every intrinsic of its kind unsafe. It takes a third of CLOCK_BOOTTIME's time"
)]
pub(super) fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and it touches no memory. Where the
    // kernel forbids it to programs, it does not list the counter as a clock source of its own.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// No such counter is read here: [`trusted`] is false.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) const fn ticks() -> u64 {
    0
}

/// Whether the kernel would tell the time by this counter.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) fn trusted() -> bool {
    let sources = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    let sources = std::fs::read_to_string(sources);
    sources.is_ok_and(|names| names.split_whitespace().any(|name| name == "tsc"))
}

/// Nobody says so here.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) const fn trusted() -> bool {
    false
}
